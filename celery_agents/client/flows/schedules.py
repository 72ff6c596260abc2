"""``agents.schedules``: runs that start by the calendar, at intervals, or at a time."""

from __future__ import annotations

import builtins
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from celery import Signature

from celery_agents import names
from celery_agents.client.control import Control
from celery_agents.client.flows.described import described_run
from celery_agents.client.run import Reader, Run
from celery_agents.contracts.base import tenant_of
from celery_agents.contracts.flows.schedules import (
    CatchUp,
    Overlap,
    ScheduleInfo,
    ScheduleRule,
    schedule_of,
)
from celery_agents.errors import InvalidPayloadError


class Schedules:
    """Makes schedules, lists, pauses, triggers and deletes them; a worker does it.

    Each belongs to a tenant, as its runs do; without one, to nobody in particular.
    """

    def __init__(self, control: Control, reader: Reader) -> None:
        self._control = control
        self._reader = reader

    def put(
        self,
        name: str,
        run: Signature,
        *,
        cron: str | None = None,
        tz: str = "UTC",
        every_s: float | None = None,
        at: datetime | float | None = None,
        overlap: Overlap = "skip",
        catchup: CatchUp = "latest",
        tenant: str = "",
        timeout: float = 10.0,
    ) -> ScheduleInfo:
        """Make a schedule, or change the one of that name; how it stands then.

        One whose times stay the same goes on with its next one, and a pause stays: so it may be
        said again with each deployment.

        Args:
            name: under which it is known; with its tenant.
            run: what is started, as a signature: ``agents.start.s("digest", {"of": "sales"})``.
            cron: five fields, in the time zone ``tz``.
            tz: as the IANA names it.
            every_s: seconds from one slot to the next.
            at: its one time; without a zone of its own it is of ``tz``. Or seconds since 1970.
            overlap: what happens when a run of it is still under way: the slot is left out
                (``skip``), waits (``queue``), the run is cancelled (``replace``), or both go on.
            catchup: which of the slots are made up for that were missed while no worker was up.
            tenant: whose it is, and whose its runs are.
            timeout: seconds to wait for a worker.

        Raises:
            InvalidPayloadError: a part of it is wrong.
        """
        moment = _moment(at, tz)
        given = {"cron": cron, "every_s": every_s, "at": moment}
        about = {"tz": "UTC" if at is not None else tz, "overlap": overlap, "catchup": catchup}
        rule = ScheduleRule.read({**given, **about})
        told = (schedule_of(name), rule.compact(), described_run(run, tenant), tenant_of(tenant))
        found = self._control.ask(names.PUT_SCHEDULE, *told).get(timeout=timeout)
        return ScheduleInfo.model_validate(found)

    def list(
        self, *, tenant: str = "", limit: int = 1_000, timeout: float = 10.0
    ) -> builtins.list[ScheduleInfo]:
        """Schedules in the order of their names."""
        asked = self._control.ask(names.SCHEDULES, None, tenant_of(tenant), limit)
        return [ScheduleInfo.model_validate(one) for one in asked.get(timeout=timeout)]

    def get(self, name: str, *, tenant: str = "", timeout: float = 10.0) -> ScheduleInfo | None:
        """A schedule with its last runs; None when there is none of that name."""
        asked = self._control.ask(names.SCHEDULES, schedule_of(name), tenant_of(tenant))
        found: builtins.list[Any] = asked.get(timeout=timeout)
        return ScheduleInfo.model_validate(found[0]) if found else None

    def pause(self, name: str, *, tenant: str = "", timeout: float = 10.0) -> None:
        """Let a schedule start nothing until it is resumed; runs of it that are under way go on.

        Raises:
            InvalidPayloadError: there is none of that name.
        """
        self._said(names.PAUSE_SCHEDULE, name, tenant, timeout)

    def resume(self, name: str, *, tenant: str = "", timeout: float = 10.0) -> None:
        """Let it go on with its next slot; those of the pause are not made up for.

        Raises as :meth:`pause`.
        """
        self._said(names.RESUME_SCHEDULE, name, tenant, timeout)

    def trigger(self, name: str, *, tenant: str = "", timeout: float = 10.0) -> Run[Any]:
        """Start a run of it now, whatever is under way; its slots stay as they are.

        Raises as :meth:`pause`.
        """
        run_id: str = self._said(names.TRIGGER, name, tenant, timeout)
        return Run(self._reader, run_id)

    def delete(self, name: str, *, tenant: str = "", timeout: float = 10.0) -> bool:
        """Delete a schedule; its runs stay. False when there was none."""
        return bool(self._said(names.DELETE_SCHEDULE, name, tenant, timeout))

    def _said(self, task: str, name: str, tenant: str, timeout: float) -> Any:
        asked = self._control.ask(task, schedule_of(name), tenant_of(tenant))
        return asked.get(timeout=timeout)


def _moment(at: datetime | float | None, tz: str) -> float | None:
    """Seconds since 1970."""
    if not isinstance(at, datetime):
        return None if at is None else float(at)
    if at.tzinfo is None:
        try:
            at = at.replace(tzinfo=ZoneInfo(tz))
        except (KeyError, ValueError, OSError):
            raise InvalidPayloadError(f"schedule: tz: there is no zone {tz!r}.") from None
    return at.timestamp()
