"""Projections and reducers, as modules declare them."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from agents.catalog.folds import Folds
from celery_agents import projection, reducer
from celery_agents.errors import ConfigurationError, InvalidPayloadError


def module(**functions: Any) -> ModuleType:
    made = ModuleType("shop")
    vars(made).update(functions)
    return made


@projection("order/*", kind="paid", version=3, tenant="acme", poison="stop")
def revenue(entry: Any, connection: Any) -> None:
    """Writes by the journal's connection."""


@projection("order/*", name="mails")
def mailed(entry: Any) -> None:
    """Writes elsewhere."""


@reducer(every=7)
def balance(state: Any, entry: Any) -> Any:
    """Folds."""
    return entry


def test_they_are_found_by_their_names() -> None:
    folds = Folds()
    for _ in range(2):  # packages re-export their functions
        folds.add_module(module(revenue=revenue, mailed=mailed, balance=balance, other=len))
    assert set(folds.projections) == {("acme", "revenue"), ("", "mails")}
    mark = folds.projections["acme", "revenue"].mark
    assert (mark.of, mark.kind, mark.version, mark.inside) == ("order/*", "paid", 3, True)
    assert (mark.rule.poison, mark.rule.since) == ("stop", "start")
    assert not folds.projections["", "mails"].mark.inside
    found = folds.reducer("balance")
    assert (found.function, found.mark.every, found.mark.version) == (balance, 7, 1)
    with pytest.raises(InvalidPayloadError, match=r"no reducer 'none' .* It has: balance"):
        folds.reducer("none")


def test_a_name_that_is_given_twice() -> None:
    @reducer(name="balance")
    def other(state: Any, entry: Any) -> Any:
        return state

    @projection("other/*", name="mails")
    def again(entry: Any) -> None: ...

    folds = Folds()
    folds.add_module(module(balance=balance, mailed=mailed))
    with pytest.raises(ConfigurationError, match="Two reducers are named 'balance'"):
        folds.add_module(module(other=other))
    with pytest.raises(ConfigurationError, match="Two projections are named 'mails'"):
        folds.add_module(module(again=again))


@pytest.mark.parametrize(
    ("mark", "why"),
    [
        (lambda: projection("a*b"), "@projection: of: "),
        (lambda: projection("session/*"), "service's own"),
        (lambda: projection("a", version=0), "@projection: version"),
        (lambda: projection("a", failures_max=0), "failures_max"),
        (lambda: reducer(every=0), "@reducer: every"),
    ],
)
def test_options_that_are_wrong(mark: Any, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        mark()(lambda *_: None)


@pytest.mark.parametrize("mark", [projection("a"), reducer()])
def test_async_functions_are_refused(mark: Any) -> None:
    async def waits(*_: Any) -> None: ...

    with pytest.raises(ConfigurationError, match="plain functions"):
        mark(waits)
