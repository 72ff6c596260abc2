"""``agents.sessions``: conversations that runs have added to, as the journal has them."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from typing import Any

from celery_agents import names
from celery_agents.client.control import Control
from celery_agents.contracts.base import PLACES_MAX, tenant_of, whole_of
from celery_agents.contracts.session import SessionExchange, SessionInfo, session_of


class Sessions:
    """Reads sessions, copies and deletes them; a worker does it.

    Each belongs to a tenant; without one, to nobody in particular.
    """

    def __init__(self, control: Control) -> None:
        self._control = control

    def list(
        self, *, tenant: str = "", limit: int = 100, timeout: float = 10.0
    ) -> builtins.list[SessionInfo]:
        """Sessions, the last one changed first."""
        asked = self._control.ask(names.SESSIONS, tenant_of(tenant), limit)
        found: builtins.list[dict[str, Any]] = asked.get(timeout=timeout)
        return [SessionInfo.model_validate(session) for session in found]

    def read(
        self, name: str, *, after: int = -1, tenant: str = "", timeout: float = 10.0
    ) -> Iterator[SessionExchange]:
        """The exchanges of a session in their order, those after a place, read page by page.

        ``timeout`` is for each page.

        Raises:
            InvalidPayloadError: there is no such session.
        """
        place: int | None = whole_of(after, "after", least=-1, most=PLACES_MAX)
        while place is not None:
            about = (session_of(name), place, tenant_of(tenant))
            asked = self._control.ask(names.SESSION, *about)
            page: dict[str, Any] = asked.get(timeout=timeout)
            asked.forget()
            yield from map(SessionExchange.model_validate, page["exchanges"])
            place = page["more"]

    def fork(
        self,
        name: str,
        copy: str,
        *,
        upto: int | None = None,
        tenant: str = "",
        timeout: float = 10.0,
    ) -> int:
        """Begin a session with the exchanges of another one, or with its first ``upto``.

        Returns how many those are. From there on they are two.

        Raises:
            InvalidPayloadError: there is no such session, or one of the copy's name.
        """
        most = None if upto is None else whole_of(upto, "upto", least=0, most=PLACES_MAX)
        about = (session_of(name), session_of(copy, "copy"), most, tenant_of(tenant))
        return int(self._control.ask(names.FORK, *about).get(timeout=timeout))

    def delete(self, name: str, *, tenant: str = "", timeout: float = 10.0) -> bool:
        """Delete a session with all its exchanges; False when there was none.

        Raises:
            InvalidPayloadError: a run is adding to it.
        """
        asked = self._control.ask(names.FORGET, session_of(name), tenant_of(tenant))
        return bool(asked.get(timeout=timeout))
