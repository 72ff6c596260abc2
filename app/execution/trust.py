"""Distrust that goes along: of what a step has read, those know that follow it or go on with it.

Within a run its root's row knows. What goes on behind it, by Celery's canvas, is a run of its own:
messages say so, and the rows that they become.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agents.guarding.untrusted import marked
from app.concurrency.fibers import blocking
from app.execution.runtime import Runtime
from app.execution.submission import Submission, following
from app.journal.schema.rows import Claimed, Finished
from celery_agents import names

if TYPE_CHECKING:
    from app.execution.telling import Telling


def tell_on(runtime: Runtime, message: Any, step: Claimed | Finished, known: bool | None) -> None:
    """Have what follows a step know what that, or a member of its run, had read.

    ``known``: whether they had; None: the journal says.

    What Celery sends within a task looks at that one's request (app/messaging/producer.py).
    """
    if not following(message):
        return
    if message.get(names.UNTRUSTED) or _untrusted(runtime, step, known):
        setattr(message, names.UNTRUSTED, 1)
        if (first := message.root_id) not in {None, step.id}:
            blocking(runtime.journal.memories.distrust, first)


def begun_within(runtime: Runtime, message: Any, submission: Submission) -> Submission:
    """Return what a message asks for; one that a task of another app sent does not say it all.

    The first step of what it belongs to knows; see above.
    """
    first = None if message.parent_id is None else message.root_id
    if submission.untrusted or first in {None, message.id}:
        return submission
    return replace(submission, untrusted=blocking(runtime.journal.memories.untrusted, first))


def _untrusted(runtime: Runtime, step: Claimed | Finished, known: bool | None) -> bool:
    if known or marked(step.payload):
        return True
    return known is None and blocking(runtime.journal.memories.untrusted, step.id)


def goes_on_with(step: Telling, step_id: str) -> None:
    """Take note that a step goes on with what another run had read. It blocks."""
    memories = step.runtime.journal.memories
    if not step.distrusted and memories.untrusted(step_id):
        memories.distrust(step.run_id)
        step.distrusted = True
