"""The calls of an attempt that are under way."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Open:
    """A call under way."""

    within: str  # the identity of the call that it stands in, if it does
    once: str  # its name, if it is made once at the most


class OpenCalls:
    """The calls of an attempt that are under way."""

    def __init__(self) -> None:
        self._open: dict[str, _Open] = {}  # by their identities
        self._closed = asyncio.Event()

    @contextmanager
    def entered(self, identity: str, within: str, once: str) -> Iterator[None]:
        """Have a call under way, within another one; ``once`` is its name if it is made once."""
        self._open[identity] = _Open(within, once)
        try:
            yield
        finally:
            del self._open[identity]
            self._closed.set()

    def around(self, within: str) -> tuple[tuple[str, ...], str]:
        """The calls round this one and itself, innermost first.

        Beside them the name of one of them that is made once at the most, if there is one.
        """
        found: list[str] = []
        once = ""
        while within in self._open:
            found.append(within)
            one = self._open[within]
            within, once = one.within, once or one.once
        return tuple(found), once

    async def still(self, *, beside: Collection[str]) -> bool:
        """Return whether no call is under way but these; if one is, wait until one has ended."""
        if self._open.keys() <= {*beside}:
            return True
        self._closed.clear()
        await self._closed.wait()
        return False
