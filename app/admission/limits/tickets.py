"""Requests that ask limits for something, and the answers that they may get."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from agents.catalog.registry import Registered
from agents.governance.limits import Concurrency, Pause, Rate
from agents.governance.wants import Wanted, refused_by
from agents.needs import Needs
from app.admission.limits.plans import Plan
from celery_agents.errors import NotAdmittedError

#: A step that waits for a slot looks by itself after so long, in case nobody wakes it; and one
#: that waits longer than that.
UNKNOWN_WAIT_S, LONGEST_WAIT_S = 60.0, 3600.0
#: A slot that is counted, and refuses nobody.
_ANY = 10**9


class Asker(NamedTuple):
    """The step that asks, and its place among others that wait."""

    step_id: str
    tenant: str = ""
    priority: int = 5
    again: bool = False  # it was claimed before, so something may have been granted to it


class Ticket:
    """A request: the things that it wants, or has taken, of the limits that cover it.

    Args:
        deployment: where it may be one of several that answer, which of them.
    """

    __slots__ = ("_plan", "asker", "deployment", "needs")

    def __init__(self, asker: Asker, needs: Needs, plan: Plan, deployment: str = "") -> None:
        self.asker = asker
        self.needs = needs
        self.deployment = deployment
        self._plan = plan

    @property
    def text(self) -> str:
        """The wants of its plan, as the scripts read them."""
        return self._plan.text

    @property
    def counts_tokens(self) -> bool:
        """True when it matters how many tokens it takes."""
        return self._plan.counts_tokens

    @property
    def costs(self) -> str:
        """The costs of its own."""
        return self._plan.costs(self.needs)

    @property
    def wanted(self) -> tuple[Wanted, ...]:
        """The things that it wants: pauses, slots, then rates."""
        return self._plan.wants(self.needs)

    @property
    def held(self) -> tuple[str, ...]:
        """The keys under which it holds slots."""
        return self._plan.held

    def wrong(self, real: Needs | None) -> list[int]:
        """By how much each want's cost was wrong; without real tokens nothing was asked at all."""
        return self._plan.wrong(self.needs, real)


@dataclass(frozen=True, slots=True)
class NotAdmitted:
    """The answer to a ticket that gets nothing for now."""

    ticket: Ticket
    place: int  # of what refused, in ``wanted``
    wait_s: float | None  # None: nobody knows
    before: int  # so many wait already
    parks: bool = True  # False: there is no Redis to wait in
    #: The same request to others that may answer: it waits for whoever is free first.
    others: tuple[NotAdmitted, ...] = ()

    @property
    def by(self) -> Wanted:
        """The want that was refused."""
        return self.ticket.wanted[self.place]

    @property
    def lasts(self) -> bool:
        """True when it cannot be sooner: a pause."""
        return isinstance(self.by.want, Pause)

    @property
    def expected_s(self) -> float | None:
        """Seconds until its turn, with those that stand before it."""
        want = self.by.want
        if self.wait_s is None or not isinstance(want, Rate):
            return self.wait_s
        return self.wait_s + self.before * want.cost * want.unit_ms / 1000

    @property
    def unwoken_s(self) -> float:
        """Seconds after which nobody seems to wake it."""
        expected_s = self.expected_s
        return UNKNOWN_WAIT_S if expected_s is None else min(2 * expected_s, LONGEST_WAIT_S)

    @property
    def event(self) -> tuple[str, dict[str, Any]]:
        """The event of a step that waits for it: what it waits for, and about how long."""
        told: dict[str, Any] = {"limit": self.by.limit, "place": self.before + 1}
        if (expected_s := self.expected_s) is not None:
            told["expected_s"] = round(expected_s, 3)
        return "paused" if self.lasts else "limited", told

    def error(self) -> NotAdmittedError:
        """The error for the step; it leads to the queue."""
        expected_s = self.expected_s
        about = "" if expected_s is None else f", about {expected_s:.0f} s"
        text = f"waits for limit {self.by.limit}, place {self.before + 1}{about}"
        details: dict[str, Any] = {"limit": self.by.limit, "place": self.before + 1}
        if expected_s is not None:
            details["retry_after_s"] = round(expected_s, 3)
        error = NotAdmittedError(text, details)
        error.refusal = self
        return error


@dataclass(frozen=True, slots=True)
class Pumped:
    """Steps that were granted what they want, and queues to be pumped again, in so many seconds."""

    woken: tuple[str, ...] = ()
    again: Mapping[str, float] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.woken or self.again)


def load_of(agent: Registered) -> Wanted:
    """The slot by which requests that are under way at a deployment are counted."""
    return Wanted("load", Concurrency(f"load:{agent.target}", _ANY))


def beside(agent: Registered, *, counted: bool) -> tuple[Wanted, ...]:
    """The wants of one of several, beside those of its limits: that its account is not refused."""
    open_ = Wanted(agent.target, Pause(refused_by(agent.target)))
    return (open_, load_of(agent)) if counted else (open_,)
