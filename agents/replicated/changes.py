"""Changes: what each makes of the value that it was made of, as a delta that is merged anywhere."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from typing import Any

from agents.replicated.causality import CausalContext, dot_of, parts_of
from agents.replicated.values import (
    LEAVES,
    Replicated,
    Store,
    dots_in,
    element_of,
    inner_type,
)
from celery_agents.contracts.flows.replicated import DEPTH_MAX, ReplicatedChange, path_of
from celery_agents.errors import InvalidPayloadError
from celery_agents.values import problem

#: Seconds by which a register's writer is behind what he has seen, at least: a slow clock wins.
_TICK_S = 1e-6
#: A register that another journal's clock has assigned so far ahead of ours is refused.
AHEAD_MAX_S = 86_400.0
#: Changes of a delta, and the greatest number of one: there are some behind it.
_SEEN_MAX, _NUMBER_MAX = 100_000, 10**15


def delta(
    value: Replicated, changes: Sequence[ReplicatedChange], replica: str, at: float
) -> Replicated:
    """The delta of changes that a replica makes now, one after the other.

    Raises:
        InvalidPayloadError: it takes away more than another journal takes over at once.
    """
    made = Replicated(value.data_type)
    for change in changes:
        one = _delta(value, change, replica, at)
        value, made = value.merge(one), made.merge(one)
    if sum(made.context.counts().values()) > _SEEN_MAX:
        raise InvalidPayloadError(
            f"It takes away more than {_SEEN_MAX:,} changes at once: take away some of its parts."
        )
    return made


def _delta(value: Replicated, change: ReplicatedChange, replica: str, at: float) -> Replicated:
    field = value.at(change.path)
    data_type, store = field.data_type, field.store
    dot = value.context.next_of(replica)
    new: Store = {}
    seen = {dot}
    if change.act == "increment":
        mine = {one for one in store if parts_of(one)[0] == replica}
        new, seen = {dot: sum(store[one] for one in mine) + int(_number(change))}, seen | mine
    elif change.act == "assign":
        latest = max((told[0] + _TICK_S for told in store.values()), default=at)
        new, seen = {dot: [max(at, latest), change.value]}, seen | {*store}
    elif change.act == "add":
        element = element_of(change.value)
        new, seen = {element: {dot: 1}}, seen | {*store.get(element, {})}
    elif change.act == "clear":
        seen |= {*dots_in(data_type, store)}
    else:  # discard of a set, remove of a map
        name = element_of(change.value) if change.act == "discard" else str(change.value)
        seen |= {*dots_in(inner_type(data_type, name), store.get(name, {}))}
    for name in reversed(change.path):
        new = {name: new} if new else {}
    return Replicated(value.data_type, new, CausalContext.of(seen))


def _number(change: ReplicatedChange) -> int:
    assert isinstance(change.value, int), "the contract has seen to it"
    return change.value


def checked_delta(data_type: str, told: Any, now: float) -> Replicated:
    """Read a delta that another journal has made.

    Raises:
        InvalidPayloadError: it is none, or was assigned by a clock that is a day ahead.
    """
    try:
        store, context = told["store"], _context(told)
        _check(data_type, store, context, now + AHEAD_MAX_S)
        return Replicated(data_type, store, context)
    except _WRONG as error:
        raise InvalidPayloadError(f"It is no change of a {data_type}: {error}.") from None


#: Whatever is raised by data of other types and sizes.
_WRONG = (
    *(LookupError, TypeError, ValueError, ArithmeticError, AttributeError),
    RecursionError,
)


def _context(told: Any) -> CausalContext:
    vector = {} if "seen" in told else told["vector"]
    seen = told["seen"] if "seen" in told else told["cloud"]
    if not all(type(number) is int for number in vector.values()):
        raise ValueError("a version has a number that is none")
    dots = [*seen, *itertools.starmap(dot_of, vector.items())]
    if len(dots) > _SEEN_MAX or not all(isinstance(dot, str) for dot in dots):
        raise ValueError("it has seen what is no change, or too many")
    if any(parts_of(dot)[1] > _NUMBER_MAX for dot in dots):
        raise ValueError("it has seen more changes than there are")
    return CausalContext.told(told)


def _check(data_type: str, store: Any, seen: CausalContext, latest: float, depth: int = 0) -> None:
    if depth > DEPTH_MAX + 1 or not isinstance(store, dict):
        raise ValueError("it is too deep, or no object")
    for name, inner in store.items():
        if data_type not in LEAVES:
            _check_name(data_type, name)
            _check(inner_type(data_type, name), inner, seen, latest, depth + 1)
            continue
        if name not in seen:
            raise ValueError("a change counts that was not seen")
        at = inner[0] if data_type == "register" and len(inner) == 2 else inner  # noqa: PLR2004
        wanted = (int, float) if data_type == "register" else int
        if isinstance(at, bool) or not isinstance(at, wanted) or not math.isfinite(at):
            raise ValueError("a number is none")
        if data_type == "register" and at > latest:
            raise ValueError("it was assigned by a clock that is more than a day ahead")
        if data_type == "register":
            _check_value(inner[1])


def _check_name(data_type: str, name: str) -> None:
    if data_type == "set":
        element = json.loads(name)
        _check_value(element)
        if element_of(element) != name:
            raise ValueError("an element is written otherwise")
        return
    try:
        path_of([name], "map")
    except InvalidPayloadError as error:
        raise ValueError(error.message) from None


def _check_value(value: Any) -> None:
    """See that a value is one that could have been given here."""
    if (why := problem(value)) is not None:
        raise ValueError(why)
