from __future__ import annotations

import asyncio
import time
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


async def at_once(error: BaseException | None = None) -> str:
    if error is not None:
        raise error
    return "done"


def test_what_waits_for_nothing() -> None:
    async def timers() -> int:
        loop: Any = asyncio.get_running_loop()
        assert await in_time(30.0, at_once(), LateError) == "done"
        return len(loop._scheduled)

    assert asyncio.run(timers()) == 0
    for error in (TimeoutError("its own"), KeyError("its own")):
        with pytest.raises(type(error), match="its own"):
            asyncio.run(in_time(30.0, at_once(error), LateError))


def test_time_that_passes_before_it_waits_counts() -> None:
    async def busy() -> None:
        time.sleep(0.02)  # noqa: ASYNC251 - it holds the loop up
        await asyncio.sleep(30)

    with pytest.raises(LateError):
        asyncio.run(in_time(0.01, busy(), LateError))


def test_what_waits_often() -> None:
    """What is thrown in where it waits is its own to handle; what it waits for tells it values."""

    async def main() -> list[Any]:
        seen: list[Any] = []

        async def act() -> str:
            told = asyncio.get_running_loop().create_future()
            told.set_result(5)
            seen.append(await asyncio.shield(told))
            failed = asyncio.get_running_loop().create_future()
            failed.set_exception(KeyError("its own"))
            try:
                await asyncio.shield(failed)
            except KeyError:
                seen.append("caught")
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                seen.append("cancelled")
            await asyncio.sleep(0)
            return "done"

        task = asyncio.create_task(in_time(30, act(), LateError))
        while len(seen) < 2:  # noqa: ASYNC110 - the loop's turns are what is waited for
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        seen.append(await task)
        return seen

    assert asyncio.run(main()) == [5, "caught", "cancelled", "done"]


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
