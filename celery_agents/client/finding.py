"""RunSearch runs, and seeing how far they are; a worker reads the journal."""

from __future__ import annotations

from typing import Any

from celery_agents import names
from celery_agents.client.control import Control
from celery_agents.contracts.base import id_of
from celery_agents.contracts.outcome import State
from celery_agents.contracts.watching import MemberProgress, Order, RunFilter, RunPage


class RunSearch:
    """The part of ``agents.runs`` that finds runs."""

    _control: Control

    def list(
        self,
        *,
        state: State | str | None = None,
        agent: str | None = None,
        tenant: str | None = None,
        since_s: float | None = None,
        failed: bool = False,
        waiting: bool = False,
        stuck: bool = False,
        order: Order = "time",
        limit: int = 100,
        after: str | None = None,
        timeout: float = 10.0,
    ) -> RunPage:
        """A page of the runs that are looked for, newest or dearest first.

        ``agent``: some step asks it. ``since_s``: begun at most so long ago. ``waiting``: for a
        person. ``stuck``: something in it should have gone on for a minute. By ``order="cost"``
        those that have ended. Give ``after=page.more`` for the next page.

        Raises:
            InvalidPayloadError: a condition is wrong.
        """
        given = {"state": state, "agent": agent, "tenant": tenant, "since_s": since_s}
        which = {"failed": failed, "waiting": waiting, "stuck": stuck}
        page = {"order": order, "limit": limit, "after": after}
        wanted = RunFilter.of({**given, **which, **page})
        found = self._control.ask(names.RUNS, options=wanted.compact()).get(timeout=timeout)
        return RunPage.model_validate(found)

    def show(
        self, run_id: str, *, answers: bool = False, timeout: float = 10.0
    ) -> dict[str, Any] | None:
        """A run's tree with why it waits, calls, votes, events, progress; None when unknown.

        ``answers`` brings what agents answered, redacted.
        """
        asked = self._control.ask(names.SHOW, id_of(run_id), answers)
        found: dict[str, Any] | None = asked.get(timeout=timeout)
        return found

    def progress(self, run_id: str, *, timeout: float = 10.0) -> MemberProgress | None:
        """How far a run is with its members, those of a map say; None where it has none."""
        found = self._control.ask(names.PROGRESS, id_of(run_id)).get(timeout=timeout)
        return None if found is None else MemberProgress.model_validate(found)
