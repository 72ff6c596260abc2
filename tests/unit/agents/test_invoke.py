from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agents.invoke import failure, invoke, is_async, place_of


def test_a_sync_function_may_return_an_awaitable() -> None:
    async def later() -> int:
        return 5

    assert asyncio.run(invoke(lambda: later())) == 5  # noqa: PLW0108 - a sync function is wanted


@pytest.mark.parametrize("error", [SystemExit(2), StopIteration(), asyncio.CancelledError()])
def test_errors_that_would_stop_the_loop_become_plain_ones(error: BaseException) -> None:
    def fails() -> Any:
        raise error

    async def bounded() -> None:
        await asyncio.wait_for(invoke(fails), 20)

    with pytest.raises(RuntimeError, match=type(error).__name__):
        asyncio.run(bounded())


def test_is_async() -> None:
    class Both:
        async def __call__(self) -> None: ...

    assert is_async(Both())
    assert is_async(Both().__call__)
    assert not is_async(Both)
    assert not is_async(print)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionError("x"), "unavailable"),
        (TimeoutError("x"), "unavailable"),
        (FileNotFoundError("x"), "agent_failed"),
        (PermissionError("x"), "agent_failed"),
        (ValueError("x"), "agent_failed"),
    ],
)
def test_errors_of_users_code_become_ours(error: Exception, kind: str) -> None:
    found = failure("mine", error)
    assert (found.kind, found.message) == (kind, f"mine raised {type(error).__name__}: x")
    assert found.details == {"where": "unknown"}


def test_place_of() -> None:
    def fails() -> None:
        raise ValueError

    with pytest.raises(ValueError, match=r"^$") as caught:
        fails()
    assert place_of(caught.value).startswith("test_invoke.py:")
    assert place_of(caught.value).endswith("in fails")
    assert place_of(ValueError("never raised")) == "unknown"
