"""A limit of time around what is awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from types import CoroutineType, coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def in_time(limit_s: float | None, act: Awaitable[T], late: Callable[[], Exception]) -> T:
    """Give what an act gives; cancel it after ``limit_s`` (None: never), and raise ``late()``.

    A ``TimeoutError`` of the act itself stays one. What ends without waiting needs no timer, which
    takes as long as a small step of ours.
    """
    if limit_s is None:
        return await act
    until = asyncio.get_running_loop().time() + limit_s
    if isinstance(act, CoroutineType):
        try:
            waits_for = act.send(None)
        except StopIteration as end:
            found: T = end.value
            return found
        act = _rest_of(act, waits_for)
    limit = asyncio.timeout_at(until)
    try:
        async with limit:
            return await act
    except TimeoutError:
        if not limit.expired():
            raise
        raise late() from None


@coroutine
def _rest_of(begun: CoroutineType[Any, Any, T], waits_for: Any) -> Generator[Any, Any, T]:
    """A coroutine that has begun, from where it waits."""
    while True:
        try:
            try:
                told = yield waits_for
            except BaseException as error:  # noqa: BLE001 - the coroutine's to handle
                waits_for = begun.throw(error)
            else:
                waits_for = begun.send(told)
        except StopIteration as end:
            found: T = end.value
            return found


class RenewedLimit:
    """A limit of time that begins anew with each sign of life, up to one for all of it."""

    def __init__(self, limit_s: float, most_s: float) -> None:
        self._limit_s, self._most_s = limit_s, most_s
        self._begun = asyncio.get_running_loop().time()
        self._timeout = asyncio.timeout_at(self._next())

    @property
    def waited_s(self) -> float:
        """Seconds that were waited so far, in whole ones when there are some."""
        waited = asyncio.get_running_loop().time() - self._begun
        return round(waited) if waited >= 1 else round(waited, 3)

    def renew(self) -> None:
        """Take note of a sign of life."""
        if self._timeout.when() is not None and not self._timeout.expired():
            self._timeout.reschedule(self._next())

    async def hold(self, act: Awaitable[T], late: Callable[[], Exception]) -> T:
        """Give what an act gives; cancel it after the limit, and raise ``late()``."""
        try:
            async with self._timeout:
                return await act
        except TimeoutError:
            if not self._timeout.expired():
                raise
            raise late() from None

    def _next(self) -> float:
        now = asyncio.get_running_loop().time()
        return min(now + self._limit_s, self._begun + self._most_s)
