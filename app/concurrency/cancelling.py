"""Cancelling what runs on an event loop."""

from __future__ import annotations

import asyncio
from typing import Any

#: Seconds between two times that something is cancelled.
_CANCEL_S = 0.2


async def let_go(work: asyncio.Future[Any]) -> None:
    """Cancel what nobody waits for any more, until it has ended."""
    while not work.done():  # a client of Redis may swallow the first one
        work.cancel()
        await asyncio.wait({work}, timeout=_CANCEL_S)
