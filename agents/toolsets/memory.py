"""Tools by which a model keeps texts and finds them again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import Executor
from typing import Any

from agents.tools.base import CallContext, Tool, tool
from agents.tools.toolset import FixedToolset
from celery_agents.contracts.memory import Importance, MemoryText
from celery_agents.contracts.nearest import meant
from celery_agents.errors import ConfigurationError


def memory_tools(
    names: Sequence[str], known: Collection[str], executor: Executor | None = None
) -> list[FixedToolset]:
    """The toolset of an agent with memories of these names; of several each tool says whose it is.

    Raises:
        ConfigurationError: there is no such memory.
    """
    for name in names:
        if name not in known:
            near = meant(name, known, repr)
            raise ConfigurationError(f"memory: there is no [memory.{name}]{near}")
    if not names:
        return []
    several = len(names) > 1
    tools = [made for name in names for made in _of(name, f"_{name}" if several else "")]
    return [FixedToolset("memory", *tools, executor=executor)]


def _of(name: str, end: str) -> list[Tool]:
    return [_remember(name, end), _recall(name, end), _forget(name, end)]


def _remember(name: str, end: str) -> Tool:
    # Pure: each attempt does it anew, since what it keeps is written with the step's end.
    @tool(name=f"remember{end}", effects="pure")
    async def remember(
        text: MemoryText,
        call: CallContext,
        importance: Importance = 1.0,
        replaces: str | None = None,
    ) -> dict[str, str]:
        """Keep a text for later conversations: one fact, in words that make sense alone.

        importance: less than 1 for what may be forgotten first. replaces: the id of a memory that
        this one corrects.
        """
        about: Any = {"importance": importance, "replaces": replaces or None}
        return {"id": call.step.memory(name).remember(text, **about)}

    return remember


def _recall(name: str, end: str) -> Tool:
    @tool(name=f"recall{end}", effects="idempotent", untrusted=True)
    async def recall(question: MemoryText, call: CallContext) -> list[dict[str, Any]]:
        """Look up what was kept in earlier conversations; ask in the words that may stand there."""
        found = await call.step.memory(name).look(question)
        return [{"id": memory.id, "text": memory.text, "at": memory.at} for memory in found]

    return recall


def _forget(name: str, end: str) -> Tool:
    @tool(name=f"forget{end}", effects="pure")
    async def forget(memory: str, call: CallContext) -> str:
        """Let a memory hold no more, by its id, where it is wrong."""
        call.step.memory(name).forget(memory)
        return "forgotten"

    return forget
