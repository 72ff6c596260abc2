"""The agents of this process that were made over the API."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from agents.catalog.kinds import Resources
from agents.catalog.posted import AllowedSecrets, OutsideClients, PostedEntry, posted_agent
from agents.catalog.registry import Registered, Registry, replace_posted
from agents.net.outside import PrivateHosts
from app.journal.stores.posted import PostedAgents
from app.settings import Settings
from celery_agents.errors import AgentsError
from celery_agents.noted import note

log = logging.getLogger(__name__)
_ENTRY: TypeAdapter[Any] = TypeAdapter(PostedEntry)


class Posted:
    """Learns of them: by each heartbeat, and when a name is asked that nobody knows.

    Args:
        registry: the agents of this process.
        stored: those of the API.
        settings: what they may use, and where they may go.
        tell: is called when they have changed.
    """

    def __init__(
        self,
        registry: Registry,
        stored: Callable[[], PostedAgents],
        settings: Settings,
        tell: Callable[[], None],
    ) -> None:
        self._registry, self._stored, self._tell = registry, stored, tell
        self._secrets = AllowedSecrets.of(settings.api_secrets)
        self._resources: Resources = replace(
            registry.resources,
            clients=OutsideClients(
                registry.resources.clients, PrivateHosts.of(settings.private_hosts)
            ),
        )
        self._seen = (0, 0)
        self._lock = threading.Lock()

    def heard(self, mark: tuple[int, int]) -> None:
        """Look at them if a heartbeat says that they are others."""
        if mark != self._seen:
            self.look()

    def look(self) -> None:
        """Have those that there are now."""
        with self._lock:
            mark, rows = self._stored().read()
            if mark == self._seen:
                return
            made = [self._made(row["name"], row["entry"]) for row in rows]
            replace_posted(self._registry, [agent for agent in made if agent is not None])
            self._seen = mark
        self._tell()

    def _made(self, name: str, told: dict[str, Any]) -> Registered | None:
        try:
            entry = _ENTRY.validate_python(self._stored().opened(name, told))
            self._secrets.check(entry)
            return posted_agent(name, entry, self._registry.kinds, self._resources)
        except (AgentsError, ValidationError) as error:  # of other settings, or another version
            note(log, "posted_agent", "The agent %s is not offered here", name, error=error)
            return None
