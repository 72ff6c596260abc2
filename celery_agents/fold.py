"""Marking functions that are given the entries of streams: projections and reducers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError

from celery_agents.contracts.base import Contract, Name, Tenant, Version, wrong_option
from celery_agents.contracts.flows.subscriptions import Kind, StreamSet, SubscriptionRule
from celery_agents.errors import ConfigurationError, InvalidPayloadError

F = TypeVar("F", bound=Callable[..., Any])

_PROJECTION, _REDUCER = "__celery_projection__", "__celery_reducer__"
#: The parameter by which a projection writes in the transaction that moves its cursor.
CONNECTION = "connection"


class ProjectionMark(Contract):
    """A function's own description as a projection."""

    name: Name
    of: str
    kind: Kind | None = None
    version: Version = 1
    tenant: Tenant = ""
    rule: SubscriptionRule
    #: It writes by the journal's own connection.
    inside: bool = False
    reset: Callable[..., Any] | None = None


class ReducerMark(Contract):
    """A function's own description as a reducer."""

    name: Name
    every: Annotated[int, Field(ge=1, le=100_000, strict=True)] = 100
    version: Version = 1


def projection(
    of: str,
    *,
    kind: str | None = None,
    name: str | None = None,
    version: int = 1,
    reset: Callable[..., Any] | None = None,
    failures_max: int = 5,
    poison: Literal["skip", "stop"] = "skip",
    tenant: str = "",
) -> Callable[[F], F]:
    """Have workers give each entry of these streams to a function, in their order, from the first.

    The function takes the entry and, if it has a parameter ``connection``, the journal's own
    connection of SQLAlchemy: what it writes by that and the move of the cursor are one transaction,
    so each entry counts once. Without, it writes elsewhere, and may get an entry again.

    >>> @projection("order/*", kind="paid", version=2)
    ... def revenue(entry, connection):
    ...     connection.execute(text("UPDATE revenue SET sum = sum + :n"), {"n": entry.data["sum"]})

    Args:
        of: the streams, by their name or the beginning of their names.
        kind: of which kind the entries are; without it, of each.
        name: under which it is known; else the function's.
        version: with a greater one it is given all entries anew, once ``reset`` was called.
        reset: empties what it has written; takes ``connection`` as the function does.
        failures_max: an entry at which it raises so often is a dead letter.
        poison: it is passed over then (``skip``), or nothing more is given (``stop``).
        tenant: whose streams they are.

    Raises:
        ConfigurationError: an option is wrong, or it is an async function.
    """

    def mark(function: F) -> F:
        if inspect.iscoroutinefunction(function):
            raise ConfigurationError("@projection: it is for plain functions of (entry).")
        given = {"failures_max": failures_max, "poison": poison, "since": "start"}
        try:
            found = ProjectionMark(
                name=name or function.__name__,
                of=StreamSet.of(of).text,
                kind=kind,
                version=version,
                tenant=tenant,
                rule=SubscriptionRule.read(given),
                inside=CONNECTION in inspect.signature(function).parameters,
                reset=reset,
            )
        except ValidationError as error:
            raise wrong_option("@projection", error, ProjectionMark) from None
        except InvalidPayloadError as error:
            raise ConfigurationError(f"@projection: {error.message}") from None
        setattr(function, _PROJECTION, found)
        return function

    return mark


def reducer(*, name: str | None = None, every: int = 100, version: int = 1) -> Callable[[F], F]:
    """Offer a function of ``(state, entry)`` that makes the state of a stream of its entries.

    ``agents.events.state(stream, name)`` gives it. The first state is None. Each ``every`` entries
    the state is kept, so that it is not made of all of them each time; one of another ``version``
    is made anew.

    >>> @reducer(every=50)
    ... def balance(state, entry):
    ...     return (state or 0) + entry.data["sum"]

    Raises:
        ConfigurationError: an option is wrong, or it is an async function.
    """

    def mark(function: F) -> F:
        if inspect.iscoroutinefunction(function):
            raise ConfigurationError("@reducer: it is for plain functions of (state, entry).")
        try:
            found = ReducerMark(name=name or function.__name__, every=every, version=version)
        except ValidationError as error:
            raise wrong_option("@reducer", error, ReducerMark) from None
        setattr(function, _REDUCER, found)
        return function

    return mark


def projection_mark_of(value: object) -> ProjectionMark | None:
    """The mark of a function as a projection, if it has one."""
    found = getattr(value, _PROJECTION, None)
    return found if isinstance(found, ProjectionMark) else None


def reducer_mark_of(value: object) -> ReducerMark | None:
    """The mark of a function as a reducer, if it has one."""
    found = getattr(value, _REDUCER, None)
    return found if isinstance(found, ReducerMark) else None
