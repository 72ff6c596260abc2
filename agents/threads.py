"""Calls that block, made in threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class InThread(Protocol):
    """Makes a call of ours that blocks; ``slow``: for more than a moment.

    The service has threads for them that agents' code, which may fill its own for long, does not
    use (:func:`app.concurrency.fibers.in_thread`).
    """

    async def __call__(self, call: Callable[..., T], *args: Any, slow: bool = False) -> T: ...


async def in_thread(call: Callable[..., T], *args: Any, slow: bool = False) -> T:  # noqa: ARG001 - the protocol's
    """The same in the loop's default threads."""
    return await asyncio.to_thread(call, *args)
