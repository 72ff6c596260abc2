"""Resources: agents by name, runs by id, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

from mcp import types
from mcp.shared.exceptions import MCPError

from api.mcp.answers import run_uri, value_of
from api.mcp.callers import Caller, check_may
from api.mcp.configured import ADDRESS_MAX, Configured, ConfiguredResource, filled
from api.mcp.failures import NO_RESOURCE
from api.mcp.listening import memories
from api.mcp.pages import page_of
from api.mcp.states import CORE
from api.problems import ProblemError
from api.runs import find, of_tree
from app.access.permissions import Permission
from celery_agents.contracts.base import id_of
from celery_agents.contracts.outcome import Outcome
from celery_agents.contracts.watching import RunFilter
from celery_agents.errors import InvalidPayloadError
from celery_agents.visible import visible

#: Runs that a list shows, the newest; characters of one resource.
_NEWEST, _TEXT_MAX = 20, 500_000
_JSON = "application/json"
TEMPLATES = (
    ("run://{id}", "run", "A run: its state, steps and, once it has ended, its answer."),
    ("memory://{space}", "memory", "A space of memories: what agents have remembered there."),
    ("agent://{name}", "agent", "An agent: its kind, and the workers that offer it."),
)


def templates(configured: Configured) -> types.ListResourceTemplatesResult:
    """The forms of addresses."""
    told = [
        *((form, name, told, _JSON) for form, name, told in TEMPLATES),
        *(
            (one.uri, name, visible(one.description) or None, one.mime_type)
            for name, one in sorted(configured.resources.items())
            if one.is_template
        ),
    ]
    made = [
        types.ResourceTemplate(uri_template=form, name=name, description=about, mime_type=kind)
        for form, name, about, kind in told
    ]
    return types.ListResourceTemplatesResult(resource_templates=made)


async def resources_of(
    caller: Caller, configured: Configured, after: str | None
) -> types.ListResourcesResult:
    """A page of agents that somebody may ask.

    The first one begins with those of the configuration, and the newest runs.
    """
    await caller.services.models.refresh()
    found = await caller.services.models.offers(caller.who)
    told = {m.name: m.description for m in found if m.is_agent}
    page, more = page_of(told, after)
    made = [_of_agent(name, told[name]) for name in page]
    if after is None and caller.who.may(Permission.RUNS_READ):
        made = [*await _newest(caller), *made]
    if after is None:
        made = [*await memories.listed(caller), *made]
        made = [*_of_configuration(configured), *made]
    return types.ListResourcesResult(resources=made, next_cursor=more)


async def read(caller: Caller, uri: str, version: str) -> types.ReadResourceResult:
    """One of them; ``version`` is that of whoever asks.

    Raises:
        MCPError: there is none of that address, or it is another tenant's.
        ProblemError: it may not be read.
    """
    kind, _, rest = uri[:ADDRESS_MAX].partition("://")
    name = unquote(rest).rstrip("/")
    found: Any = None
    if kind == "run" and name:
        check_may(caller, Permission.RUNS_READ)
        found = await _run(caller, name)
    elif kind == "memory":
        found = await memories.shown(caller, uri)
    elif kind == "agent" and name and caller.who.may_ask(name):
        rows = await caller.services.read(caller.services.posted.offered)
        found = next((row for row in rows if row["name"] == name), None)
    if found is None:
        code = types.INVALID_PARAMS if version > CORE else NO_RESOURCE
        raise MCPError(code, "There is no such resource.", {"uri": uri[:ADDRESS_MAX]})
    text = json.dumps(found, ensure_ascii=True, default=str)
    content = types.TextResourceContents(uri=uri, mime_type=_JSON, text=text)
    return types.ReadResourceResult(contents=[content])


def told(
    uri: str, resource: ConfiguredResource, given: Mapping[str, str]
) -> types.ReadResourceResult:
    """A resource of the configuration."""
    text = None if resource.text is None else filled(resource.text, given)
    return _contents(uri, resource.mime_type, text, resource.blob)


def answered(uri: str, resource: ConfiguredResource, outcome: Outcome) -> types.ReadResourceResult:
    """A resource that a tool has made: its text, or its value as JSON."""
    value = value_of(outcome)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return _contents(uri, resource.mime_type, text, None)


def _contents(uri: str, kind: str, text: str | None, blob: str | None) -> types.ReadResourceResult:
    about: Any = {"uri": uri, "mime_type": kind}
    if text is None:
        content: Any = types.BlobResourceContents(blob=blob or "", **about)
    else:
        content = types.TextResourceContents(text=text, **about)
    return types.ReadResourceResult(contents=[content])


def _of_configuration(configured: Configured) -> list[types.Resource]:
    return [
        types.Resource(
            uri=one.uri,
            name=name,
            description=visible(one.description) or None,
            mime_type=one.mime_type,
        )
        for name, one in sorted(configured.resources.items())
        if not one.is_template
    ]


async def _run(caller: Caller, run_id: str) -> dict[str, Any] | None:
    try:
        tree = await find(caller.services, caller.who, id_of(run_id))
    except (ProblemError, InvalidPayloadError):
        return None
    told = of_tree(tree, values=False)
    if len(json.dumps(told, default=str)) > _TEXT_MAX:
        left_out = told.get("steps_left_out", 0) + len(told["steps"])
        told = {**told, "steps": [], "steps_left_out": left_out}
    return told


async def _newest(caller: Caller) -> list[types.Resource]:
    wanted = RunFilter(tenant=caller.who.tenant, limit=_NEWEST)
    page = await caller.services.read(caller.services.desk.runs, wanted)
    return [
        types.Resource(
            uri=run_uri(run.id),
            name=f"run {run.id}",
            description=f"{run.task} {visible(run.agent or '')} {run.state}".replace("  ", " "),
            mime_type=_JSON,
        )
        for run in page.runs
    ]


def _of_agent(name: str, description: str) -> types.Resource:
    return types.Resource(
        uri=f"agent://{quote(name, safe='')}",
        name=visible(name),
        description=visible(description)[:_TEXT_MAX] or None,
        mime_type=_JSON,
    )
