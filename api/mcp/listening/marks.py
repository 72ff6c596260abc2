"""Marks of lists and resources: they change when what a principal is shown does."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote

from redis.exceptions import RedisError

from api.mcp.callers import Caller
from api.mcp.configured import ADDRESS_MAX, Configured
from api.mcp.listening import memories
from api.mcp.offered import callable_tools
from api.openai.catalog import OfferedModel
from api.problems import ProblemError
from api.runs import find
from app.access.permissions import Permission
from celery_agents.contracts.base import id_of
from celery_agents.errors import AgentsError, InvalidPayloadError
from celery_agents.noted import noting

log = logging.getLogger(__name__)

#: Seconds between two looks: a change is told within these and the time of one look.
LOOK_S = 0.5
TOOLS, PROMPTS, RESOURCES = "tools", "prompts", "resources"
LISTS = (TOOLS, PROMPTS, RESOURCES)
_DIGITS = 32
#: The mark of what there is not, or is not for whoever asks: both are the same.
_NONE = ""
#: Of an agent's row what changes without that it does.
_VOLATILE = frozenset({"seen_at", "health"})


class Watch:
    """Looks at what a principal may see; ``known`` are marks of earlier looks, by name."""

    def __init__(
        self, caller: Caller, configured: Callable[[], Configured], known: dict[str, str]
    ) -> None:
        self.known = known
        self._caller, self._configured = caller, configured
        #: Runs that are the principal's, and those that have ended: their marks stay.
        self._own: set[str] = set()
        self._over: dict[str, str] = {}

    async def look(self, lists: Iterable[str], uris: Iterable[str]) -> list[str]:
        """Return the lists and addresses whose marks are others than before.

        What is looked at for the first time has not changed; while the journal is away nothing has.
        """
        changed: list[str] = []
        text = "Whether lists and resources have changed is not known"
        with noting(log, "mcp_watch", text, AgentsError, RedisError, OSError):
            found = {**await self._of_lists([*lists]), **await self._of_uris([*uris])}
            changed = [name for name, mark in found.items() if self.known.get(name, mark) != mark]
            self.known.update(found)
        return changed

    async def mark(self, uri: str) -> str:
        """The mark of one resource."""
        return (await self._of_uris([uri]))[uri]

    async def _of_lists(self, lists: list[str]) -> dict[str, str]:
        if not lists:
            return {}
        caller, configured = self._caller, self._configured()
        await caller.services.models.refresh(LOOK_S)
        offers = await caller.services.models.offers(caller.who)
        spaces = [one.uri for one in await memories.listed(caller)] if RESOURCES in lists else []
        shown: dict[str, Callable[[], Any]] = {
            TOOLS: lambda: _tools(offers),
            PROMPTS: lambda: _dumped(configured.prompts),
            RESOURCES: lambda: [
                _dumped(configured.resources),
                [(m.name, m.description) for m in offers if m.is_agent],
                sorted(spaces),
            ],
        }
        return {name: digest(shown[name]()) for name in lists}

    async def _of_uris(self, uris: list[str]) -> dict[str, str]:
        rows: list[dict[str, Any]] | None = None
        found: dict[str, str] = {}
        for uri in uris:
            kind, _, rest = uri[:ADDRESS_MAX].partition("://")
            name = unquote(rest).rstrip("/")
            if (own := self._configured().resource(uri)) is not None:
                found[uri] = digest(own[0].model_dump(mode="json"))
            elif kind == "run":
                found[uri] = await self._of_run(uri, name)
            elif kind == "memory":
                stamp = await memories.stamp(self._caller, uri)
                found[uri] = _NONE if stamp is None else digest(stamp)
            elif kind == "agent" and self._caller.who.may_ask(name):
                if rows is None:
                    rows = await self._caller.services.read(self._caller.services.posted.offered)
                found[uri] = _of_agent(rows, name)
            else:
                found[uri] = _NONE
        return found

    async def _of_run(self, uri: str, name: str) -> str:
        caller = self._caller
        if uri in self._over:
            return self._over[uri]
        if not caller.who.may(Permission.RUNS_READ):
            return _NONE
        if uri not in self._own:
            try:
                await find(caller.services, caller.who, id_of(name))
            except (ProblemError, InvalidPayloadError):
                return _NONE
            self._own.add(uri)
        pulse = await caller.services.read(caller.services.desk.pulse, name)
        mark = digest(pulse)
        if pulse.ended:
            self._over[uri] = mark
        return mark


def digest(shown: Any) -> str:
    """The mark of a value."""
    told = json.dumps(shown, sort_keys=True, default=str)
    return hashlib.sha256(told.encode(errors="replace")).hexdigest()[:_DIGITS]


def _tools(offers: list[OfferedModel]) -> list[Any]:
    return [
        (name, tool.spec) if tool.spec is not None else (name, *_of_model(tool.model))
        for name, tool in callable_tools(offers).items()
    ]


def _of_model(model: OfferedModel) -> tuple[Any, ...]:
    flow = None if model.flow is None else model.flow.parameters
    return (model.name, model.kind, model.description, model.effects, model.panel is None, flow)


def _of_agent(rows: list[dict[str, Any]], name: str) -> str:
    for row in rows:
        if row["name"] == name:
            state = (row.get("health") or {}).get("state")
            return digest([state, {n: v for n, v in row.items() if n not in _VOLATILE}])
    return _NONE


def _dumped(entries: Any) -> dict[str, Any]:
    return {name: one.model_dump(mode="json") for name, one in entries.items()}
