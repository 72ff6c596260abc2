"""Calls that block are bounded, in number and in time."""

from __future__ import annotations

import asyncio
import threading

import pytest

from api.serving.threads import BoundedThreads
from celery_agents.errors import JournalUnavailableError

FOR_EVER = 600.0


def threads(most: int = 10, within_s: float = FOR_EVER) -> BoundedThreads:
    return BoundedThreads(1, "t", most=most, within_s=within_s, refusal=JournalUnavailableError)


def test_what_a_call_gives_and_raises() -> None:
    async def main() -> None:
        made = threads()
        assert await made.run(lambda: 5) == 5
        with pytest.raises(ZeroDivisionError):
            await made.run(lambda: 1 // 0)
        made.shutdown()

    asyncio.run(main())


def test_one_too_many_is_refused_and_the_others_are_not() -> None:
    async def main() -> None:
        made, goes_on = threads(most=3), threading.Event()
        calls = [asyncio.ensure_future(made.run(goes_on.wait)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(JournalUnavailableError):
            await made.run(goes_on.wait)
        goes_on.set()
        assert await asyncio.gather(*calls) == [True] * 3
        assert await made.run(lambda: 5) == 5
        made.shutdown()

    asyncio.run(main())


def test_one_that_hangs_is_given_up_and_still_counted() -> None:
    """Those behind it are not begun any more once nobody waits for them."""

    async def main() -> None:
        made, goes_on, begun = threads(most=2, within_s=0.05), threading.Event(), []
        hanging = made.run(goes_on.wait), made.run(lambda: begun.append(1))
        found = await asyncio.gather(*hanging, return_exceptions=True)
        assert [type(one) for one in found] == [JournalUnavailableError] * 2
        with pytest.raises(JournalUnavailableError):
            await made.run(lambda: 5)
        goes_on.set()
        made.shutdown()
        assert begun == []

    asyncio.run(main())
