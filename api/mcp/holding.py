"""Calls that wait for the end of a run: so many of a key, and no longer than it holds."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from api.events import LOOK_S, end_within
from api.mcp.callers import Caller
from api.problems import ProblemError
from app.concurrency.cancelling import let_go
from celery_agents.contracts.outcome import Outcome

#: A call is held for so long; its run goes on, and can be read.
HELD_S = 600.0
#: One that may become a task is answered itself where its run ends so soon: nobody asks again.
QUICK_S = 0.5
#: Calls that one principal holds in one process at a time.
HELD_MAX = 64
_TOO_MANY = f"This key waits for {HELD_MAX} calls already: ask for a task, or wait."
#: Seconds before the first look whether its tool asks the client; then twice as many each time.
_ASKS_S = 0.05
#: Seconds between two words that a call is still under way: clients and proxies give up on silence.
PROGRESS_S = 5.0


class HeldCalls:
    """Counts what is held, by whoever holds it; ``text`` is for one who holds too much."""

    def __init__(self, most: int = HELD_MAX, text: str = _TOO_MANY) -> None:
        self._most, self._text = most, text
        self._held: Counter[str] = Counter()

    @contextmanager
    def place(self, who_id: str) -> Iterator[None]:
        """Hold one more.

        Raises:
            ProblemError: it is one too many (429).
        """
        if self._held[who_id] >= self._most:
            raise ProblemError(429, "too_many_held", self._text, {"Retry-After": "1"})
        self._held[who_id] += 1
        try:
            yield
        finally:
            self._held[who_id] -= 1
            if not self._held[who_id]:
                del self._held[who_id]


async def end_of(
    caller: Caller,
    run_id: str,
    *,
    look: bool,
    tell: Callable[[float], Awaitable[None]],
    most_s: float = HELD_S,
    asks: Callable[[], Awaitable[bool]] | None = None,
    resumable: bool = False,
) -> Outcome | None:
    """How a run ended; None: it has not, for as long as a call is held, or until it ``asks``.

    Whoever waits is looked at again and again; ``tell`` is told how long it has been.
    ``resumable``: its client goes on elsewhere once this process ends.

    Raises:
        ProblemError: the key or token holds no longer.
    """
    began = told_at = looked_at = time.monotonic()
    pause_s = LOOK_S if asks is None else _ASKS_S
    work = end_within(caller.services, caller.who, run_id, most_s, look=look)
    coming = asyncio.ensure_future(work)
    try:
        while not coming.done():
            await asyncio.wait({coming}, timeout=pause_s)
            if coming.done():
                break
            if asks is None or time.monotonic() >= looked_at + LOOK_S:
                looked_at = time.monotonic()
                if (why := await caller.refusal()) is not None:
                    raise why
            if asks is not None and await asks():
                return None
            if resumable and caller.services.under_way.leaving:
                return None
            pause_s = min(2 * pause_s, LOOK_S)
            if time.monotonic() >= told_at + PROGRESS_S:
                told_at = time.monotonic()
                await tell(told_at - began)
        return coming.result()
    finally:
        await let_go(coming)
