"""Callers: whoever sends messages, over HTTP or as the program at the other end of a pipe."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Protocol

from fastapi import Request

from api.access import forbidden
from api.events import refusal
from api.problems import ProblemError
from api.services import Services
from app.access.keys import PREFIX
from app.access.permissions import ANYBODY, Permission, Principal
from celery_agents.errors import AgentsError
from celery_agents.noted import note

log = logging.getLogger(__name__)


class Caller(Protocol):
    """Somebody who sent a message."""

    @property
    def services(self) -> Services:
        """The parts of this process."""

    @property
    def who(self) -> Principal:
        """The principal of its key or token, as that was when the message came."""

    async def refusal(self) -> ProblemError | None:
        """Why it may wait no longer; None: its key or token holds, or nobody can say."""


@dataclass(frozen=True, slots=True)
class HttpCaller:
    """The sender of a request, which the route has let in."""

    request: Request

    @property
    def services(self) -> Services:
        """The parts of this process."""
        found: Services = self.request.app.state.services
        return found

    @property
    def who(self) -> Principal:
        """The principal of its key or token."""
        found: Principal = self.request.state.who
        return found

    async def refusal(self) -> ProblemError | None:
        """Why it may wait no longer."""
        return await refusal(self.request, self.services, self.who)


@dataclass(frozen=True, slots=True)
class PipedCaller:
    """The program that started this one, with the key that it gave."""

    services: Services
    key: str | None
    who: Principal = ANYBODY

    async def identified(self) -> PipedCaller:
        """The same, with the principal that its key has now.

        Raises:
            ProblemError: the key does not hold (401), or has asked too often (429).
        """
        who = await self._principal()
        await self.services.rates.take(who, "requests", who.requests_per_s)
        return PipedCaller(self.services, self.key, who)

    async def refusal(self) -> ProblemError | None:
        """Why it may wait no longer."""
        try:
            await self._principal()
        except ProblemError as error:
            return error
        except AgentsError as error:
            note(log, "mcp_held", "Whether the keys of calls hold is not known", error=error)
        return None

    async def _principal(self) -> Principal:
        if self.services.settings.api_auth == "none":
            return ANYBODY
        key = self.key or ""
        check = self.services.ring.check if key.startswith(PREFIX) else self.services.tokens.check
        who = await check(key)
        if who is None:
            raise ProblemError(401, "unauthorized", "The key or token holds no longer.")
        return who


def check_may(caller: Caller, permission: Permission) -> None:
    """Refuse what a principal may not.

    Raises:
        ProblemError: it may not (403).
    """
    if not caller.who.may(permission):
        raise forbidden(f"It needs the permission {permission}.")
