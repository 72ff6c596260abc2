from __future__ import annotations

import asyncio
import functools
import threading
from datetime import date
from typing import Any

import pytest
from pydantic import BaseModel

from agents.performing import performed
from celery_agents.contracts.outcome import Answer, Usage
from celery_agents.errors import AgentFailedError, ProviderUnavailableError


class Charge(BaseModel):
    number: int


def perform(act: Any) -> Any:
    return asyncio.run(performed("pay", act, "key-1"))


async def keyed(key: str) -> Answer:
    return Answer(value=key, usage=Usage(calls=1))


async def keyless() -> str:
    return "paid"


async def with_default(key: str = "none") -> str:
    return key


async def with_rest(*args: Any) -> int:
    return len(args)


async def by_name(*, amount: int = 3) -> int:
    return amount


async def adds(first: int, key: str) -> str:
    return f"{first} {key}"


def plain(key: str) -> str:
    return f"{key} in a thread: {threading.current_thread() is not threading.main_thread()}"


class Service:
    async def pay(self, key: str) -> str:
        return key

    async def look(self) -> str:
        return "looked"

    async def __call__(self, key: str) -> str:
        return f"called {key}"


@pytest.mark.parametrize(
    ("act", "value"),
    [
        (keyed, "key-1"),
        (keyless, "paid"),
        (with_default, "key-1"),
        (with_rest, 1),
        (by_name, 3),
        (functools.partial(adds, 3), "3 key-1"),
        (Service().pay, "key-1"),
        (Service().look, "looked"),
        (Service(), "called key-1"),
        (plain, "key-1 in a thread: True"),
        (lambda: 5, 5),
        (lambda key: {"key": key}, {"key": "key-1"}),
        (lambda key: adds(3, key), "3 key-1"),  # gives an awaitable
        (lambda: None, None),
        (str, "key-1"),
        (lambda: Answer(value=7), 7),
    ],
)
def test_whatever_its_form(act: Any, value: Any) -> None:
    assert perform(act).value == value


@pytest.mark.parametrize(
    ("given", "value"),
    [
        (Charge(number=7), {"number": 7}),
        (date(2026, 1, 2), "2026-01-02"),
        ((1, {2}), [1, [2]]),
        ([None, True, 1.5], [None, True, 1.5]),
    ],
)
def test_a_value_gets_its_json_form(given: Any, value: Any) -> None:
    assert perform(lambda: given) == Answer(value=value)


@pytest.mark.parametrize("given", [object(), float("nan"), {"a": {1: object()}}])
def test_a_value_without_one_is_said_so(given: Any) -> None:
    with pytest.raises(AgentFailedError, match="'pay' gave what has no JSON form"):
        perform(lambda: given)


def test_a_cost_is_kept() -> None:
    assert perform(keyed).usage == Usage(calls=1)


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (ProviderUnavailableError("down"), ProviderUnavailableError),
        (KeyError("x"), KeyError),
        (StopIteration(1), RuntimeError),  # its future would wait for ever
        (SystemExit(1), RuntimeError),
    ],
)
def test_what_it_raises_passes(error: BaseException, raised: type[BaseException]) -> None:
    def act() -> None:
        raise error

    with pytest.raises(raised):
        perform(act)
