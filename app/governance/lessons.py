"""Lessons of agents in the journal: read once, and written now and then, by nobody who waits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from agents.governance.lessons import Own
from agents.governance.sizes import Observed, Sizes
from app.concurrency.fibers import in_thread
from app.concurrency.loop import process_loop
from app.journal import Journal
from celery_agents.errors import AgentsError
from celery_agents.noted import note

log = logging.getLogger(__name__)

#: They are written when what is new is this share of what is known, and at the latest after so many
#: requests: often at first, when each one tells much.
_SHARE, _MOST = 8, 32
#: More than that is not kept while the journal is away.
_KEPT = 256


class SharedLessons(Own):
    """The lessons of one agent and its model, which all workers share."""

    def __init__(self, about: str, journal: Callable[[], Journal]) -> None:
        super().__init__()
        self._key = f"sizes:{about}"
        self._journal = journal
        self._read = False
        self._new: list[Observed] = []  # what the journal has not heard of
        self._writing = False
        self._turn = asyncio.Lock()  # between reading and writing nothing is counted twice

    async def known(self, *, newest: bool = False) -> Sizes:
        """The lessons up to now; those of other workers come along when they are read."""
        if newest or not self._read:
            async with self._turn:
                self._take(await in_thread(self._journal().memos.read, self._key))
        return self._sizes

    def add(self, seen: Observed) -> None:
        """Learn from a request; the journal hears of it later."""
        super().add(seen)
        if len(self._new) < _KEPT:
            self._new.append(seen)
        due = min(max(self._sizes.calls // _SHARE, 1), _MOST)
        if len(self._new) >= due and not self._writing:
            self._writing = True
            process_loop().submit(self._write())

    def _take(self, found: dict[str, Any]) -> None:
        """Go on from what the journal has, with what it has not heard of yet."""
        self._sizes = _after(Sizes.read(found), self._new)
        self._read = True

    async def _write(self) -> None:
        journal = self._journal()
        try:
            async with self._turn:
                new = [*self._new]
                told = await in_thread(journal.memos.change, self._key, lambda m: _with(m, new))
                del self._new[: len(new)]
                self._take(told)
        except AgentsError as error:
            note(log, "lessons", "What requests taught was not written", error=error)
        finally:
            self._writing = False


def _after(sizes: Sizes, seen: list[Observed]) -> Sizes:
    for one in seen:
        sizes = sizes.after(one)
    return sizes


def _with(memo: dict[str, Any], seen: list[Observed]) -> dict[str, Any]:
    return _after(Sizes.read(memo), seen).compact()
