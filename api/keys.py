"""Checking keys: each is looked up every few seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from hmac import compare_digest
from typing import Any

from app.access.keys import FORM, digest, principal_of
from app.access.permissions import Principal
from app.journal.stores.keys import ApiKeys

#: Seconds for which a key that was looked up is known: one that is revoked holds no longer, with
#: the time that a look takes, than five.
KNOWN_S = 4.0
#: Keys that are known at once; of others, and of ids that there are not, the oldest is forgotten.
_KNOWN_MAX = 10_000
#: Seconds between two notes of when keys were used.
USED_S = 60.0


class KeyRing:
    """Checks keys, each looked up every few seconds.

    ``call`` runs a function that blocks in a thread.
    """

    def __init__(
        self,
        keys: ApiKeys,
        call: Callable[..., Any],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys, self._call, self._clock = keys, call, clock
        self._known: dict[str, tuple[float, asyncio.Future[dict[str, Any] | None]]] = {}
        self._looks: set[asyncio.Future[None]] = set()
        self._used: set[str] = set()

    async def check(self, given: str) -> Principal | None:
        """Return the principal of this key; None when it is none that holds."""
        match = FORM.fullmatch(given)
        if match is None:
            return None
        key_id, secret = match.groups()
        hashed = digest(secret)
        row = await self._row(key_id)
        if row is None or not compare_digest(hashed, row["hash"]):
            return None
        self._used.add(key_id)
        return principal_of(row)

    async def _row(self, key_id: str) -> dict[str, Any] | None:
        """The row of a key; who asks at the same time waits for the same look."""
        now = self._clock()
        until, found = self._known.get(key_id, (0.0, None))
        if found is None or now >= until:
            found = asyncio.get_running_loop().create_future()
            self._known.pop(key_id, None)
            self._known[key_id] = (now + KNOWN_S, found)
            while len(self._known) > _KNOWN_MAX:
                del self._known[next(iter(self._known))]
            look = asyncio.ensure_future(self._look(key_id, found))  # who asks first may go away
            self._looks.add(look)
            look.add_done_callback(self._looks.discard)
        return await asyncio.shield(found)

    async def _look(self, key_id: str, found: asyncio.Future[dict[str, Any] | None]) -> None:
        try:
            row = await self._call(self._keys.find, key_id)
        except Exception as error:  # noqa: BLE001 - whoever waits is told
            self._known.pop(key_id, None)
            found.set_exception(error)
            found.exception()  # nobody may wait any more
            return
        left = None if row is None else row["left_s"]
        if left is not None and left < KNOWN_S:
            self._known[key_id] = (self._clock() + left, found)
        found.set_result(row)

    async def note_used(self) -> None:
        """Write down which keys were used since the last time."""
        used, self._used = self._used, set()
        if used:
            await self._call(self._keys.used, sorted(used))
