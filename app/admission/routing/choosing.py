"""The choice among several that may answer: made and reserved in one script, so there is no herd.

Each has its breakers and its limits. The script takes the first that all of them let through; where
none is, it says of each what refuses it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import Any

from agents.catalog.registry import Registered
from agents.governance.routing import Order
from app.admission import breakers
from app.admission.breakers import Change, Switch, changes_of, encoded, key_of
from app.admission.limits.lua.texts import COMMON
from app.admission.limits.shared import OWN_SHARE, SharedLimits
from app.admission.limits.tickets import NotAdmitted, Ticket, load_of
from app.admission.limits.wires import seconds_of, wires
from app.admission.routing.lua import CHOOSE
from app.admission.scripts import OwnWords, Query
from celery_agents.errors import BreakerOpenError, NotAdmittedError

#: A wait that nobody knows counts as so long where one of several is to be told to people.
_UNKNOWN_S = 60.0


@dataclass(frozen=True, slots=True)
class Option:
    """One of those that may answer."""

    agent: Registered
    switches: tuple[Switch, ...]
    ticket: Ticket
    #: What one request is of its load: 1 ÷ how many it bears at once.
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class OpenBreaker:
    """A deployment whose breaker is open."""

    breaker: str
    wait_s: float


@dataclass(frozen=True, slots=True)
class Chosen:
    """The option that is reserved; its request goes out in so many seconds."""

    option: Option
    early_s: float = 0.0
    probe: bool = False
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class NoneFree:
    """The answer where none of several is free: what refuses each."""

    refused: tuple[NotAdmitted, ...] = ()
    closed: tuple[OpenBreaker, ...] = ()

    def error(self) -> NotAdmittedError | BreakerOpenError:
        """The error for the step. It leads to the queues of all, the shortest of which it tells."""
        if self.refused:
            return in_all_queues(self.refused).error()
        first = min(self.closed, key=lambda one: one.wait_s)
        return BreakerOpenError(
            f"All that could answer have failed too often; {first.breaker} is tried first.",
            {"retry_after_s": first.wait_s, "breaker": first.breaker},
        )


def in_all_queues(refused: Sequence[NotAdmitted]) -> NotAdmitted:
    """One refusal of several: that with the shortest wait, with the others beside it."""
    by_wait = sorted(refused, key=lambda one: _UNKNOWN_S if (s := one.expected_s) is None else s)
    return replace(by_wait[0], others=tuple(replace(one, others=()) for one in by_wait[1:]))


@dataclass(slots=True)
class Chooser:
    """Chooses in the Redis of the limits; without it, by this process's share of each limit."""

    limits: SharedLimits
    _script: str = ""
    _turn: Any = field(default_factory=count)

    def __post_init__(self) -> None:
        texts = (breakers.COMMON, breakers.ASKING, COMMON, CHOOSE)
        self._script = self.limits.scripts.register(self.limits.clock + "".join(texts))

    def asking(self, options: Sequence[Option], order: Order, *, call: str, router: str) -> Query:
        """The question for the first of these options that is free; they stand in that order."""
        asker = options[0].ticket.asker
        lease_ms, again = self.limits.lease_ms, "1" if asker.again else "0"
        told = json.dumps([_told(one) for one in options])
        about = (asker.step_id, lease_ms, call, again, order.there, router, told)

        def read(found: Any) -> Chosen | NoneFree:
            if found[0] == 0:
                return _none_free(options, found[1])
            place, early_ms, probe, changes = found
            option = options[place - 1]
            self.limits.hold(option.ticket)
            made = changes_of(option.switches, changes)
            return Chosen(option, early_ms / 1000, bool(probe), made)

        command, here = (self._script, 0, *about), partial(self._here, options, order)
        return Query(command, read, here, OWN_SHARE, OwnWords(asker.step_id))

    def _here(self, options: Sequence[Option], order: Order) -> Chosen | NoneFree:
        """Choose without Redis, where breakers let everything through."""
        refused: list[NotAdmitted] = []
        for option in self._in_turn(options, order):
            answer = self.limits.ask_here(option.ticket)
            if not isinstance(answer, NotAdmitted):
                return Chosen(option, answer)
            refused.append(answer)
        return NoneFree(tuple(refused))

    def _in_turn(self, options: Sequence[Option], order: Order) -> list[Option]:
        match order.there:
            case "load":
                share = self.limits.share
                keys = {id(one): load_of(one.agent).want.key for one in options}
                return sorted(options, key=lambda one: share.load(keys[id(one)]) * one.share)
            case "turns":
                first = next(self._turn) % len(options)
                return [*options[first:], *options[:first]]
            case "order":
                return list(options)


def _told(option: Option) -> dict[str, Any]:
    return {
        "c": option.agent.deployment,
        "b": [key_of(one) for one in option.switches],
        "y": [encoded(one.policy) for one in option.switches],
        "w": wires(option.ticket.wanted),
        "l": load_of(option.agent).want.key,
        "s": option.share,
    }


def _none_free(options: Sequence[Option], found: Any) -> NoneFree:
    refused, closed = list[NotAdmitted](), list[OpenBreaker]()
    for option, (place, *of) in zip(options, found, strict=True):
        if place:
            wait_ms, before = of
            refused.append(NotAdmitted(option.ticket, place - 1, seconds_of(wait_ms), before))
        else:
            at, wait_ms = of
            closed.append(OpenBreaker(option.switches[at].name, wait_ms / 1000))
    return NoneFree(tuple(refused), tuple(closed))
