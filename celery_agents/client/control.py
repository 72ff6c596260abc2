"""Questions that a worker answers beside its work."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

from celery_agents import names
from celery_agents.client.connection import Connection
from celery_agents.client.run import Reader, Run
from celery_agents.contracts.base import JsonValue

#: The actor and its role, if it has one.
_ACTOR: ContextVar[tuple[str, str]] = ContextVar("agents_actor", default=("", ""))


@contextmanager
def acting_as(actor: str, role: str = "") -> Iterator[None]:
    """Ask on behalf of somebody meanwhile, as the API does for whoever has a key."""
    token = _ACTOR.set((actor, role))
    try:
        yield
    finally:
        _ACTOR.reset(token)


def who() -> str:
    """Return the actor, as an audit names it: the user of this process, and its machine."""
    return _ACTOR.get()[0] or _user()


@cache
def _user() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


class Control:
    """Sends the service's control tasks, whose answers are read as those of runs are."""

    def __init__(self, connection: Connection, reader: Reader) -> None:
        self._connection = connection
        self._reader = reader

    def ask(
        self,
        task: str,
        *args: JsonValue,
        recorded: bool = False,
        options: dict[str, JsonValue] | None = None,
    ) -> Run[Any]:
        """Send a question; it may be lost, unless it is ``recorded``."""
        draft = self._connection.draft(
            task,
            options or {},
            queue=names.CONTROL_QUEUE,
            recorded=recorded,
            actor=who(),
            role=_ACTOR.get()[1],
        )
        message = draft.message([*args])
        self._connection.publish([message])
        return Run(self._reader, message.id, message)
