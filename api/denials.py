"""Requests that were refused for who asked, on their way to the audit.

Whoever has no key can ask as often as he likes, so equal refusals are counted: the first one is
written down at once, those that follow once a minute, with how many they were.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import NamedTuple

from starlette.types import Scope

from app.access.permissions import Principal, named
from app.journal.tables.audit import Act

#: Statuses that tell somebody that he is not known, or may not.
STATUSES = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
#: Of somebody whose key is none that holds, and of all others once too many are known.
NOBODY, OTHERS = "nobody", "others"
#: Seconds between two entries of equal refusals; different ones that are known at a time.
AGAIN_S, KINDS_MAX = 60.0, 200


class DeniedRequest(NamedTuple):
    """A refusal, as equal ones have it."""

    actor: str
    tenant: str
    target: str
    status: int


@dataclass(slots=True)
class _Counted:
    times: int = 0
    due: float = 0.0


class Denials:
    """Counts refusals, and hands them on as acts.

    Args:
        write: writes acts down.
        clock: seconds.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Act]], Awaitable[None]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write, self._clock = write, clock
        self._counted: dict[DeniedRequest, _Counted] = {}

    def add(self, scope: Scope, route: str, status: int) -> None:
        """Count the refusal of a request, by the template of its route."""
        state = scope.get("state") or {}
        who: Principal | None = state.get("who")
        actor, tenant = state.get("claims") or NOBODY, ""
        if who is not None:
            actor, tenant = who.id, named(who.tenant)
        found = DeniedRequest(actor, tenant, f"{scope['method']} {route}", status)
        if found not in self._counted and len(self._counted) >= KINDS_MAX:
            found = DeniedRequest(OTHERS, "", "", status)
        self._counted.setdefault(found, _Counted()).times += 1

    async def flush(self, *, all_of_them: bool = False) -> None:
        """Write down what is due; what cannot be is kept for the next time.

        Raises:
            JournalUnavailableError: the journal is away.
        """
        now = self._clock()
        due = {d: c for d, c in self._counted.items() if c.times and (all_of_them or now >= c.due)}
        told = {denial: counted.times for denial, counted in due.items()}
        if told:
            await self._write([_act(denial, times) for denial, times in told.items()])
        for denial, times in told.items():
            due[denial].times -= times
            due[denial].due = now + AGAIN_S
        self._counted = {d: c for d, c in self._counted.items() if c.times or now < c.due}


def _act(denial: DeniedRequest, times: int) -> Act:
    data = {"status": denial.status, "times": times}
    return Act(denial.actor, "denied", denial.target, denial.tenant, data)
