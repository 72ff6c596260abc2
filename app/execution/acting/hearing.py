"""An actor's part of a flow: what it hears, and who is woken when it has answered."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from agents.flows.history import Line
from agents.flows.instance import Instance
from agents.flows.pattern import Advanced
from app.execution.runtime import Runtime
from app.journal.actors.store import ActorStore
from app.journal.schema.rows import Claimed
from app.journal.stores.flows import NewSignal
from app.settings import Settings
from celery_agents.contracts.flows.actors import ACTOR, BATCH, REPLY
from celery_agents.contracts.flows.entries import ANSWERS
from celery_agents.contracts.flows.flow import Flow
from celery_agents.contracts.flows.history import EventKind
from celery_agents.contracts.outcome import State
from celery_agents.errors import AgentsError
from celery_agents.noted import note

log = logging.getLogger(__name__)
#: Messages and answers are kept for so long, whatever the settings say: what is told may come once
#: more, and who asked has to read the answer.
KEPT_LEAST_S = 3_600.0
#: Before the ids of messages whose answer a step waits for: behind it comes that step's id.
CALLED = "call:"


def is_actor(request: Flow) -> bool:
    """Return whether a flow is an actor."""
    return request.flow.startswith(ACTOR)


def most_of(request: Flow, instance: Instance) -> int | None:
    """So many messages are told to an actor now; None: it is none, and hears all."""
    if not is_actor(request):
        return None
    return BATCH if instance.inbox.hears else 0


def told_now(signals: Sequence[NewSignal], most: int | None) -> list[NewSignal]:
    """Those of a flow's signals that it is told now: of others than cancellations so many."""
    left, told = len(signals) if most is None else most, list[NewSignal]()
    for one in signals:
        if one.kind == "cancel":
            told.append(one)
        elif left:
            left -= 1
            told.append(one)
    return told


def keeps_s(claim: Claimed, settings: Settings) -> float | None:
    """The seconds for which an actor's messages and answers are kept; None: it is none."""
    mine = claim.agent is not None and claim.agent.startswith(ACTOR)
    return max(settings.keep_days * 86_400.0, KEPT_LEAST_S) if mine else None


def line_of(request: Flow, one: NewSignal, now: float) -> Line:
    """The line of a signal; that of a message has happened when it is taken up.

    What an actor is sent as a signal is no message, whatever it says.
    """
    if one.kind == "cancel" or not is_actor(request):
        kind: EventKind = "cancel" if one.kind == "cancel" else "signal"
        return Line(kind, one.name, one.at, one.value, place=one.seq)
    value = one.value if one.kind == "message" else None
    return Line("signal", one.name, now, value, place=one.seq)


def failed(found: Advanced) -> bool:
    """Return whether the code of a flow has ended by an error, and not since it was cancelled."""
    return found.outcome is not None and found.outcome.state is not State.CANCELLED


def stopped_by(found: Advanced) -> dict[str, Any]:
    """Tell why an actor does not go on: it never ends by itself."""
    error = None if found.outcome is None else found.outcome.error
    told = "its code has ended" if error is None else error.message
    return {"missing": told, "told": told}


def callers_of(found: Advanced) -> tuple[str, ...]:
    """The steps that wait for what an actor has answered."""
    mine = [one for one in found.emits if one.kind == REPLY and one.stream.startswith(ANSWERS)]
    keys = [one.key for one in mine if one.key is not None]
    return tuple(key.removeprefix(CALLED) for key in keys if key.startswith(CALLED))


def wake_callers(runtime: Runtime, steps: Iterable[str]) -> None:
    """Let steps look for the answer that they wait for; they look by themselves, too, but late."""
    store = ActorStore(runtime.journal)
    for step_id in steps:
        try:
            runtime.follow(store.wake(step_id))
        except AgentsError as error:
            note(log, "actor_wake", "%s was not woken with its answer", step_id, error=error)
