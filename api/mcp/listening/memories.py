"""Spaces of memories as resources: ``memory://SPACE``, of the tenant of whoever asks."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote, unquote

from mcp import types

from api.mcp.callers import Caller
from api.tasks import tenant_for
from app.access.permissions import Permission
from celery_agents.visible import visible

#: Spaces that a list shows, the newest; characters of the memories of one resource.
NEWEST = 100
_TEXT_MAX = 500_000
_FORM = re.compile(r"memory://([^/?#]+)(?:\?after=(\d{1,12}))?")
_FIELDS = frozenset({"id", "text", "importance", "at", "until", "agent", "run_id", "trust"})


def may_read(caller: Caller) -> bool:
    """Return whether somebody reads memories.

    They are of all agents, so nobody does who may ask some alone.
    """
    return caller.who.may(Permission.SESSIONS_READ) and caller.who.agents is None


async def listed(caller: Caller) -> list[types.Resource]:
    """The spaces that somebody may read; of nobody who may not, none."""
    if not may_read(caller):
        return []
    tenant = tenant_for(caller.who, None)
    found = await caller.services.read(caller.services.memories.spaces, tenant, NEWEST)
    return [
        types.Resource(
            uri=f"memory://{quote(name, safe='')}",
            name=f"memory {visible(name)}",
            description=f"{number:,} memories",
            mime_type="application/json",
        )
        for name, number in found
    ]


async def stamp(caller: Caller, uri: str) -> Any:
    """Figures that change with a space; None: there is none, or it is not for whoever asks."""
    match = _FORM.fullmatch(uri)
    if match is None or not may_read(caller) or "\0" in (name := unquote(match[1])):
        return None
    tenant = tenant_for(caller.who, None)
    return await caller.services.read(caller.services.memories.stamp, tenant, name)


async def shown(caller: Caller, uri: str) -> dict[str, Any] | None:
    """A page of a space, with the address of the next one; None: as of ``stamp``."""
    match = _FORM.fullmatch(uri)
    if match is None or await stamp(caller, uri) is None:
        return None
    name, after = unquote(match[1]), int(match[2] or -1)
    work = caller.services.memories.page
    page, more = await caller.services.read(work, tenant_for(caller.who, None), name, after)
    told: list[dict[str, Any]] = []
    room = _TEXT_MAX
    for one in page:
        entry = one.model_dump(mode="json", include=set(_FIELDS))
        room -= len(json.dumps(entry))
        if room < 0:
            told.append({"id": one.id, "left_out": "it does not fit"})
        else:
            told.append(entry)
    following = {} if more is None else {"next": f"memory://{match[1]}?after={more}"}
    return {"space": name, "memories": told, **following}
