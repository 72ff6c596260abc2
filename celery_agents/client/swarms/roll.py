"""The roll of a swarm: who is in it, and which work is under way, by the entries of its stream."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from celery_agents.contracts.base import id_of, name_of
from celery_agents.contracts.flows.entries import StreamEntry
from celery_agents.contracts.teams.swarm import ASKED, BEGAN, ENDED, JOINED, LEFT, MEMBERS_MAX
from celery_agents.errors import InvalidPayloadError


@dataclass(slots=True)
class SwarmRoll:
    """A swarm by the entries of its stream; those that say nothing of it are passed over."""

    #: The run whose members are wanted, as they were when it was asked for.
    of: str | None = None
    members: dict[str, str] = field(default_factory=dict)
    length: int = 0
    #: Runs that share work, by when they began.
    runs: dict[str, None] = field(default_factory=dict)
    #: The members of the run that is wanted; None: it was not asked for yet.
    then: dict[str, str] | None = None

    def add(self, entry: StreamEntry) -> None:
        """Take note of an entry. Whoever may append to streams may have written anything."""
        self.length = entry.seq + 1
        try:
            self._take(entry.kind, entry.data)
        except InvalidPayloadError:
            return

    def _take(self, kind: str, data: dict[str, Any]) -> None:
        if kind == JOINED:
            name, agent = (name_of(data.get(what), what) for what in ("member", "agent"))
            if name in self.members or len(self.members) < MEMBERS_MAX:
                self.members[name] = agent
        elif kind == LEFT:
            self.members.pop(name_of(data.get("member"), "member"), None)
        elif kind in (BEGAN, ASKED):
            run_id = id_of(data.get("run_id"))
            if kind == BEGAN:
                self.runs[run_id] = None
            if run_id == self.of and self.then is None:
                self.then = dict(self.members)
        elif kind == ENDED:
            self.runs.pop(id_of(data.get("run_id")), None)
