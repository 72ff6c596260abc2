"""The calls that earlier attempts at a step have finished."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection
from typing import Any

from app.concurrency.fibers import in_thread
from app.execution.calls.identity import place_in
from app.journal import Journal
from app.journal.schema.rows import Claimed
from celery_agents.contracts.outcome import Answer, Usage


class EarlierCalls:
    """The calls that earlier attempts have finished, read once."""

    def __init__(self, journal: Journal, claim: Claimed) -> None:
        self._journal = journal
        self._claim = claim
        self._told: dict[str, dict[str, Any]] | None = None
        #: Their identities, by the place within another call that they begin with.
        self._inner: defaultdict[str, list[str]] = defaultdict(list)
        self._reading = asyncio.Lock()
        #: Those of this attempt, where it may begin anew.
        self.here: dict[str, Answer] = {}

    async def told(self, *, anew: bool = False) -> dict[str, dict[str, Any]]:
        """The answers that they gave, by their identities.

        ``anew``: another attempt has finished one since.
        """
        if self._claim.token == 1:  # the first claim of a step has no earlier calls
            return {}
        async with self._reading:  # one for all calls that begin at once
            if self._told is None or anew:
                self._told = await in_thread(self._journal.finished_calls, self._claim.id)
                self._inner = defaultdict(list)
                for identity in self._told:
                    self._inner[identity.rpartition("/")[0]].append(identity)
            return self._told

    async def newest_by(self) -> str | None:
        """Return who gave the newest one, where that is written down."""
        found = (answer.get("deployment") for answer in reversed((await self.told()).values()))
        return next((by for by in found if by), None)

    async def usage_within(self, identity: str) -> Usage:
        """The usage of the calls that one of them has made within itself, however deep.

        They are not asked for again, and have cost something.
        """
        told = await self.told()
        total, left = Usage(), [identity]
        while left:
            inner = self._inner.get(place_in(left.pop()), ())
            left += inner
            for one in inner:
                total += Usage.model_validate(told[one].get("usage") or {})
        return total

    async def usage_of(self, identity: str) -> Usage:
        """The usage of one of them, with that of what it made within itself."""
        told = (await self.told())[identity]
        own = Usage.model_validate(told.get("usage") or {})
        return own + await self.usage_within(identity)

    async def unused(self, asked: Collection[str]) -> list[str]:
        """Find those that are not among these identities.

        What an answered call asked for within itself is not asked for again, rightly.
        """
        before = await self.told()
        within = {place_in(identity) for identity in before}
        return [
            identity
            for identity in before
            if identity not in asked and identity.rpartition("/")[0] not in within
        ]
