from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agents.timing import RenewedLimit, in_time


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


@pytest.mark.parametrize(
    ("renews", "most_s", "ends"), [(True, 600.0, True), (False, 600.0, False), (True, 1.0, False)]
)
def test_a_limit_begins_anew_with_each_sign_of_life(
    monkeypatch: pytest.MonkeyPatch, renews: bool, most_s: float, ends: bool
) -> None:
    """Ten times 0.4 s, of a clock that goes on by hand, within a limit of 0.5 s."""

    async def main() -> str:
        now = 1_000.0
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
        limit = RenewedLimit(0.5, most_s)

        async def act() -> str:
            nonlocal now
            for _ in range(10):
                now += 0.4
                if renews:
                    limit.renew()
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            return "done"

        return await limit.hold(act(), LateError)

    if ends:
        assert asyncio.run(main()) == "done"
    else:
        with pytest.raises(LateError):
            asyncio.run(main())
