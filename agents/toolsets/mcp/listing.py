"""The tools that a server lists, as models are told of them."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from agents.schema import problem
from agents.tools.calls import ToolSpec
from agents.tools.patterns import approved, fits, refuse_unfit
from agents.tools.policy import ToolPolicy
from agents.toolsets.mcp.entries import McpTools
from agents.toolsets.pins import as_pinned
from celery_agents.agent import Effects
from celery_agents.errors import InvalidPayloadError
from celery_agents.noted import note

log = logging.getLogger(__name__)

#: Characters of a tool's name that all three providers take.
_NAME_MAX = 64
#: Hexadecimal digits in a name that was cut, or would be another's.
_DIGEST = 6


class RemoteTool(NamedTuple):
    """A tool as a model is told of it, and its name at its server."""

    name: str
    spec: ToolSpec


def tools_of(
    listed: Iterable[Any], entry: McpTools, *, who: str, pins: Mapping[str, str] | None
) -> dict[str, RemoteTool]:
    """Those that the entry takes and that are as pinned, by the names that a model uses.

    Raises:
        ConfigurationError: a pattern of ``approve`` fits none.
    """
    found: dict[str, RemoteTool] = {}
    for tool in listed:
        if not fits(tool.name, entry.include) or fits(tool.name, entry.exclude):
            continue
        name = _name(tool.name, found, entry.prefix)
        policy = ToolPolicy(effects=_effects(tool, entry), untrusted=True)
        spec = ToolSpec(
            name=name,
            description=(tool.description or tool.title or tool.name).strip(),
            parameters=_schema(tool.input_schema),
            policy=approved(name, policy, entry.approve),
        )
        if _is_whole(spec, who):
            found[name] = RemoteTool(tool.name, spec)
    refuse_unfit(entry.approve, found)
    kept = as_pinned([tool.spec for tool in found.values()], pins, who=who, where=entry.pin)
    return {spec.name: found[spec.name] for spec in kept}


def worst_of(entry: McpTools) -> Effects:
    """The worst effects that a tool of the entry may have, whatever its server lists."""
    said = set(entry.effects.values())
    if "*" not in entry.effects or "effect" in said:
        return "effect"
    return "idempotent" if "idempotent" in said else "pure"


def _effects(tool: Any, entry: McpTools) -> Effects:
    said = [word for pattern, word in entry.effects.items() if fnmatchcase(tool.name, pattern)]
    if said:
        return said[-1]
    hints = tool.annotations if entry.trust_hints else None
    harmless = hints is not None and (hints.read_only_hint or hints.idempotent_hint)
    return "idempotent" if harmless else "effect"


def _name(told: str, taken: Mapping[str, Any], prefix: str) -> str:
    """A name that all providers take, and that is no other's."""
    name = prefix + (re.sub(r"[^A-Za-z0-9_-]+", "_", told).strip("_") or "tool")
    if len(name) > _NAME_MAX or name in taken:
        digest = hashlib.sha256(told.encode()).hexdigest()[:_DIGEST]
        name = f"{name[: _NAME_MAX - _DIGEST - 1]}_{digest}"
    return name


def _schema(told: Any) -> dict[str, Any]:
    schema = dict(told) if isinstance(told, Mapping) else {}
    return {"properties": {}, **schema, "type": "object"}


def _is_whole(spec: ToolSpec, who: str) -> bool:
    try:
        problem({}, spec.parameters)
    except InvalidPayloadError as error:
        text = "A tool of %s is not offered: the schema of %s is malformed"
        note(log, "mcp_schema", text, who, spec.name, error=error)
        return False
    return True
