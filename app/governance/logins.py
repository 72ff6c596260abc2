"""Persons' logins at MCP servers, encrypted among the journal's memos: all workers have them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from agents.threads import InThread
from agents.toolsets.mcp.logins import Login, Logins
from app.journal.stores.memos import Memos
from celery_agents import names
from celery_agents.errors import (
    ConfigurationError,
    JournalUnavailableError,
    ProviderUnavailableError,
)
from celery_agents.noted import note
from celery_agents.sealing import KEYS, Seals, opened

log = logging.getLogger(__name__)

#: Of the memos: logins, and who renews one.
_LOGIN, _TURN = "login/", "login-turn/"
#: The field of a login's memo that is encrypted: all of it.
_FIELD = "login"
#: Seconds for which one process may renew a login; one that died gives its turn away with them.
#: Above the time that an authorization server has for its answer.
_TURN_S = 45.0
#: Seconds between two looks for a turn.
_LOOK_S = 0.1
#: Seconds before each further try to keep a login: one that was renewed stands nowhere else.
_AGAIN_S = (0.5, 1.0, 2.0, 4.0)


class JournaledLogins(Logins):
    """Logins that all processes of one journal share, each with the keys to decrypt them.

    Args:
        seals: of the keys that are here; None: none are, and no login is kept.
    """

    def __init__(
        self, memos: Callable[[], Memos], seals: Seals | None, in_thread: InThread
    ) -> None:
        super().__init__()
        self._memos, self._seals, self._in_thread = memos, seals, in_thread

    async def read(self, name: str) -> Login | None:
        """The login of a toolset, if there is one. Raises as :class:`Logins` does."""
        key = _LOGIN + name
        found = await self._in_thread(self._memos().read, key)
        told: Login | None = opened(self._seals, found, key, _FIELD) if found else None
        return told

    async def keep(self, name: str, login: Login) -> None:
        """Put a login in the place of the one before.

        Raises:
            ConfigurationError: there is no key to encrypt it with.
            JournalUnavailableError: the journal was away for long.
        """
        sealed = self._sealing().seal(dict(login), _LOGIN + name, _FIELD)
        for again_s in _AGAIN_S:
            try:
                return await self._write(name, sealed)
            except JournalUnavailableError as error:
                note(log, "login_kept", "A login could not be kept yet", error=error)
                await asyncio.sleep(again_s)
        return await self._write(name, sealed)

    async def put(self, name: str, login: Login) -> None:
        """Keep a login of a person, behind a renewal of the one before. Raises as :meth:`keep`."""
        async with self.renewing(name):
            await self.keep(name, login)

    async def forget(self, name: str) -> bool:
        """Drop the login of a toolset; return whether there was one.

        A renewal that is under way is waited for: it would put its login back.
        """
        async with self.renewing(name):
            found = await self._in_thread(self._memos().read, _LOGIN + name)
            await self._write(name, {})
        return bool(found)

    def check(self) -> None:
        """Look whether logins can be kept, before anybody signs in.

        Raises:
            ConfigurationError: there is no key to encrypt them with.
        """
        self._sealing()

    @asynccontextmanager
    async def renewing(self, name: str) -> AsyncIterator[None]:
        """Hold the right to renew a login. Raises as :class:`Logins` does."""
        me, key = str(uuid4()), _TURN + name
        for _ in range(round(2 * _TURN_S / _LOOK_S)):
            if await self._in_thread(self._memos().hold, key, me, _TURN_S):
                break
            await asyncio.sleep(_LOOK_S)
        else:
            raise ProviderUnavailableError(f"Others renew the login of {name!r} for too long.")
        try:
            yield
        finally:
            await asyncio.shield(self._in_thread(self._memos().release, key, me))

    async def _write(self, name: str, data: dict[str, Any]) -> None:
        await self._in_thread(self._memos().change, _LOGIN + name, lambda _: dict(data))

    def _sealing(self) -> Seals:
        if self._seals is None:
            raise ConfigurationError(
                f"Logins are kept encrypted, and {KEYS} has no keys here: "
                f"`{names.COMMAND} encryption key` makes one."
            )
        return self._seals
