"""A limit of time around what is awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def in_time(limit_s: float | None, act: Awaitable[T], late: Callable[[], Exception]) -> T:
    """Give what an act gives; cancel it after ``limit_s`` (None: never), and raise ``late()``.

    A ``TimeoutError`` of the act itself stays one.
    """
    limit = asyncio.timeout(limit_s)
    try:
        async with limit:
            return await act
    except TimeoutError:
        if not limit.expired():
            raise
        raise late() from None
