from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agents.timing import in_time


class LateError(Exception):
    pass


async def after(seconds: float, error: Exception | None = None) -> str:
    await asyncio.sleep(seconds)
    if error is not None:
        raise error
    return "done"


@pytest.mark.parametrize("limit_s", [None, 30.0])
def test_what_ends_in_time(limit_s: float | None) -> None:
    assert asyncio.run(in_time(limit_s, after(0), LateError)) == "done"


@pytest.mark.parametrize(
    ("limit_s", "act", "raised"),
    [
        (0.01, lambda: after(30), LateError),
        (30.0, lambda: after(0, TimeoutError("its own")), TimeoutError),
        (None, lambda: after(0, TimeoutError("its own")), TimeoutError),
        (30.0, lambda: after(0, KeyError("its own")), KeyError),
    ],
)
def test_what_does_not(limit_s: float | None, act: Any, raised: type[Exception]) -> None:
    with pytest.raises(raised):
        asyncio.run(in_time(limit_s, act(), LateError))


def test_who_is_cancelled_is_not_late() -> None:
    async def main() -> None:
        task = asyncio.create_task(in_time(30, after(30), LateError))
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
