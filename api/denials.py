"""Requests that were refused for who asked, on their way to the audit.

Whoever has no key can ask as often as he likes, so equal refusals are counted: the first one is
written down at once, those that follow once a minute, with how many they were.

Different ones that are known at a time are bounded, each tenant's by themselves and those of
nobody by themselves: whoever makes names up, or asks for everything, crowds nobody else out.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import NamedTuple

from starlette.types import Scope

from app.access.permissions import Principal, named
from app.journal.tables.audit import Act

#: Statuses that tell somebody that he is not known, or may not.
STATUSES = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
#: Of somebody whose key is none that holds, and of all others of a crowd once it has too many.
NOBODY, OTHERS = "nobody", "others"
#: Seconds between two entries of equal refusals.
AGAIN_S = 60.0
#: Different ones of a crowd that are known at a time; crowds that have their own room.
KINDS_MAX, CROWDS_MAX = 200, 200


class DeniedRequest(NamedTuple):
    """A refusal, as equal ones have it."""

    actor: str
    tenant: str
    target: str
    status: int
    #: The key or token of the actor holds.
    proven: bool


#: Those whose denials share a room: those of a tenant's keys, or of nobody's.
_Crowd = tuple[bool, str]


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
        self._crowds = Counter[_Crowd]()

    def add(self, scope: Scope, route: str, status: int) -> None:
        """Count the refusal of a request, by the template of its route."""
        state = scope.get("state") or {}
        who: Principal | None = state.get("who")
        actor, tenant = state.get("claims") or NOBODY, ""
        if who is not None:
            actor, tenant = who.id, named(who.tenant)
        crowd, target = (who is not None, tenant), f"{scope['method']} {route}"
        found = DeniedRequest(actor, tenant, target, status, proven=who is not None)
        if found not in self._counted:
            if crowd not in self._crowds and len(self._crowds) >= CROWDS_MAX:
                found = DeniedRequest(OTHERS, "", "", status, proven=False)
            elif self._crowds[crowd] >= KINDS_MAX:
                found = found._replace(actor=OTHERS, target="")
            else:
                self._crowds[crowd] += 1
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
        known = (d for d in self._counted if d.actor != OTHERS)
        self._crowds = Counter((d.proven, d.tenant) for d in known)


def _act(denial: DeniedRequest, times: int) -> Act:
    data = {"status": denial.status, "times": times}
    return Act(denial.actor, "denied", denial.target, denial.tenant, data)
