"""Resources: agents by name, runs by id, as JSON."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, unquote

from mcp import types
from mcp.shared.exceptions import MCPError

from api.mcp.answers import run_uri
from api.mcp.callers import Caller, check_may
from api.mcp.failures import NO_RESOURCE
from api.problems import ProblemError
from api.runs import find, of_tree
from app.access.permissions import Permission
from celery_agents.contracts.base import id_of
from celery_agents.contracts.watching import RunFilter
from celery_agents.errors import InvalidPayloadError
from celery_agents.visible import visible

#: Runs that a list shows, the newest; agents of a page; characters of one resource.
_NEWEST, _PAGE, _TEXT_MAX = 20, 200, 500_000
_ADDRESS_MAX = 1_000
_JSON = "application/json"
TEMPLATES = (
    ("run://{id}", "run", "A run: its state, steps and, once it has ended, its answer."),
    ("agent://{name}", "agent", "An agent: its kind, and the workers that offer it."),
)


def templates() -> types.ListResourceTemplatesResult:
    """The forms of addresses."""
    made = [
        types.ResourceTemplate(uri_template=form, name=name, description=told, mime_type=_JSON)
        for form, name, told in TEMPLATES
    ]
    return types.ListResourceTemplatesResult(resource_templates=made)


async def resources_of(caller: Caller, after: str | None) -> types.ListResourcesResult:
    """A page of agents that somebody may ask; the first one begins with the newest runs."""
    found = await caller.services.models.offers(caller.who)
    left = [m for m in found if m.panel is None and (after is None or m.name > after)]
    made = [_of_agent(m.name, m.description) for m in left[:_PAGE]]
    if after is None and caller.who.may(Permission.RUNS_READ):
        made = [*await _newest(caller), *made]
    more = left[_PAGE - 1].name if len(left) > _PAGE else None
    return types.ListResourcesResult(resources=made, next_cursor=more)


async def read(caller: Caller, uri: str) -> types.ReadResourceResult:
    """One of them.

    Raises:
        MCPError: there is none of that address, or it is another tenant's.
        ProblemError: it may not be read.
    """
    kind, _, rest = uri[:_ADDRESS_MAX].partition("://")
    name = unquote(rest).rstrip("/")
    told: Any = None
    if kind == "run" and name:
        check_may(caller, Permission.RUNS_READ)
        told = await _run(caller, name)
    elif kind == "agent" and name and caller.who.may_ask(name):
        rows = await caller.services.read(caller.services.posted.offered)
        told = next((row for row in rows if row["name"] == name), None)
    if told is None:
        raise MCPError(NO_RESOURCE, "There is no such resource.", {"uri": uri[:_ADDRESS_MAX]})
    text = json.dumps(told, ensure_ascii=True, default=str)
    content = types.TextResourceContents(uri=uri, mime_type=_JSON, text=text)
    return types.ReadResourceResult(contents=[content])


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
