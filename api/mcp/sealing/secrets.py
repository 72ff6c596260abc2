"""Secrets that all processes of an installation share: made at random, once, and renewed.

They stand in the journal, so that whichever process a client comes back to knows its seals, and an
emptied Redis makes none of them void. Where there are Fernet keys, who reads the journal alone
seals nothing: the keys go into what seals, too.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from celery_agents.errors import JournalUnavailableError
from celery_agents.noted import noting

log = logging.getLogger(__name__)

#: The memo that has them.
KEY = "mcp/seals"
_BYTES, _DIGITS = 32, 32
_DAY_S = 86_400.0
#: A secret seals for so long; what it has sealed is known for as long again, twice.
RENEWED_S, KEPT_S = 30 * _DAY_S, 90 * _DAY_S
#: The journal is looked at again after so long, and for a seal that nobody knows.
_LOOK_S, _UNKNOWN_S = 60.0, 1.0

Data = dict[str, Any]


class Remembers(Protocol):
    """Memos of the journal."""

    def read(self, key: str) -> Data:
        """The memo under a key."""

    def change(self, key: str, revise: Callable[[Data], Data]) -> Data:
        """Replace it under its lock."""


class SharedSecrets:
    """Seals texts, and knows its seals and those of other processes.

    Args:
        memos: of the journal.
        read: runs what blocks on the journal.
        fernet: keys of the installation, the one that encrypts first.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        memos: Remembers,
        read: Callable[..., Awaitable[Any]],
        fernet: Sequence[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._memos, self._read, self._clock = memos, read, clock
        self._fernet = [key.encode() for key in fernet] or [b""]
        self._known: list[bytes] = []
        self._looked_at = 0.0

    async def seal(self, told: str) -> str:
        """The seal of a text.

        Raises:
            JournalUnavailableError: no secret is known here yet.
        """
        return _mac((await self._keys(_LOOK_S))[0], told)

    async def knows(self, told: str, seal: str) -> bool:
        """Return whether that is the seal of a text. Raises as :meth:`seal` does."""
        given = seal.encode(errors="replace")
        for most_s in (_LOOK_S, _UNKNOWN_S):  # another process may have a new secret
            keys = await self._keys(most_s)
            if any(hmac.compare_digest(given, _mac(key, told).encode()) for key in keys):
                return True
        return False

    async def _keys(self, most_s: float) -> list[bytes]:
        """Keys of seals, the one that seals first; looked up at most so many seconds ago."""
        if not self._known or not 0 <= self._clock() - self._looked_at < most_s:
            with noting(log, "mcp_seals", "Known secrets go on", JournalUnavailableError):
                self._known = self._made_of(await self._read(self._look))
                self._looked_at = self._clock()
        if not self._known:
            raise JournalUnavailableError("The journal has the secrets of seals, and is away.")
        return self._known

    def _look(self) -> Data:
        found = self._memos.read(KEY)
        if self._needs_new(found):
            found = self._memos.change(KEY, self._renewed)
        return found

    def _needs_new(self, found: Data) -> bool:
        kept = found.get("secrets", [])
        return not kept or kept[0]["at"] < self._clock() - RENEWED_S

    def _renewed(self, found: Data) -> Data:
        """With a new one, unless another process was quicker."""
        if not self._needs_new(found):
            return found
        now = self._clock()
        older = [one for one in found.get("secrets", []) if one["at"] >= now - KEPT_S]
        return {"secrets": [{"secret": secrets.token_hex(_BYTES), "at": now}, *older]}

    def _made_of(self, found: Data) -> list[bytes]:
        kept = [bytes.fromhex(one["secret"]) for one in found["secrets"]]
        return [
            hmac.new(secret, b"mcp" + key, hashlib.sha256).digest()
            for secret in kept
            for key in self._fernet
        ]


def _mac(key: bytes, told: str) -> str:
    return hmac.new(key, told.encode(errors="replace"), hashlib.sha256).hexdigest()[:_DIGITS]
