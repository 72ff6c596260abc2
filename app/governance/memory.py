"""Lessons in the journal: read once, and written now and then, by nobody who waits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar

from app.concurrency.fibers import in_thread
from app.concurrency.loop import process_loop
from app.journal import Journal
from celery_agents.contracts.base import Contract
from celery_agents.errors import AgentsError
from celery_agents.noted import note

log = logging.getLogger(__name__)
Known = TypeVar("Known", bound=Contract)
Seen = TypeVar("Seen")

#: They are written when what is new is this share of what is known, and at the latest after so many
#: requests: often at first, when each one tells much.
_SHARE, _MOST = 8, 32
#: More than that is not kept while the journal is away.
_KEPT = 256


class SharedMemory(Generic[Known, Seen]):
    """Lessons that all workers share: a memo of the journal, and what it has not heard of yet.

    Args:
        key: of the memo.
        read: reads lessons from their JSON object.
        after: the lessons after one more thing was seen.
        count: of how many things they are.
    """

    def __init__(
        self,
        key: str,
        journal: Callable[[], Journal],
        *,
        read: Callable[[dict[str, Any]], Known],
        after: Callable[[Known, Seen], Known],
        count: Callable[[Known], int],
    ) -> None:
        self.at_hand = read({})
        self._key = key
        self._journal = journal
        self._from_json = read
        self._after = after
        self._count = count
        self._read = False
        self._new: list[Seen] = []  # what the journal has not heard of
        self._writing = False
        self._turn = asyncio.Lock()  # between reading and writing nothing is counted twice

    async def known(self, *, newest: bool = False) -> Known:
        """The lessons up to now; those of other workers come along when they are read."""
        if newest or not self._read:
            async with self._turn:
                self._take(await in_thread(self._journal().memos.read, self._key))
        return self.at_hand

    def add(self, seen: Seen) -> None:
        """Learn; the journal hears of it later."""
        self.at_hand = self._after(self.at_hand, seen)
        if len(self._new) < _KEPT:
            self._new.append(seen)
        if self._due and not self._writing:
            self._writing = True
            process_loop().submit(self._write())

    @property
    def _due(self) -> bool:
        """True when so much is new that the journal is to hear of it."""
        due = min(max(self._count(self.at_hand) // _SHARE, 1), _MOST)
        return len(self._new) >= due

    def _take(self, found: dict[str, Any]) -> None:
        """Go on from what the journal has, with what it has not heard of yet."""
        self.at_hand = self._all(self._from_json(found), self._new)
        self._read = True

    async def _write(self) -> None:
        journal = self._journal()
        try:
            async with self._turn:
                while self._due:  # much may be new since it began
                    new = [*self._new]
                    change = partial(self._with, seen=new)
                    told = await in_thread(journal.memos.change, self._key, change)
                    del self._new[: len(new)]
                    self._take(told)
        except AgentsError as error:
            note(log, "lessons", "What requests taught was not written", error=error)
        finally:
            self._writing = False

    def _all(self, known: Known, seen: list[Seen]) -> Known:
        for one in seen:
            known = self._after(known, one)
        return known

    def _with(self, memo: dict[str, Any], seen: list[Seen]) -> dict[str, Any]:
        return self._all(self._from_json(memo), seen).compact()
