"""Tools by which a model keeps texts and finds them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

from agents.guarding.untrusted import as_data
from agents.tools.base import CallContext, Tool, tool
from agents.tools.policy import Approve
from agents.tools.toolset import FixedToolset
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.memory import (
    Importance,
    LinkedIds,
    MemoryPolicy,
    MemoryRecord,
    MemoryText,
)
from celery_agents.contracts.nearest import meant
from celery_agents.errors import ConfigurationError


def memory_tools(
    names: Sequence[str], known: Mapping[str, MemoryPolicy], executor: Executor | None = None
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
    ends = {name: f"_{name}" if several else "" for name in names}
    tools = [made for name, end in ends.items() for made in _of(name, end, known[name])]
    return [FixedToolset("memory", *tools, executor=executor)]


def _of(name: str, end: str, policy: MemoryPolicy) -> list[Tool]:
    # A person who was asked stands for what is kept.
    approve: Approve = "untrusted" if policy.write_untrusted == "ask" else "never"
    remember = (_linking if policy.backend == "graph" else _remember)(name, end, approve)
    return [remember, _recall(name, end), _forget(name, end, approve)]


def _remember(name: str, end: str, approve: Approve) -> Tool:
    # Pure: each attempt does it anew, since what it keeps is written with the step's end.
    @tool(name=f"remember{end}", effects="pure", approve=approve)
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
        about["vouched"] = approve == "untrusted"
        return {"id": call.step.memory(name).remember(text, **about)}

    return remember


def _linking(name: str, end: str, approve: Approve) -> Tool:
    # As above, and the same words: tools are a part of what providers cache.
    @tool(name=f"remember{end}", effects="pure", approve=approve)
    async def remember(
        text: MemoryText,
        call: CallContext,
        importance: Importance = 1.0,
        replaces: str | None = None,
        about: LinkedIds = (),
    ) -> dict[str, str]:
        """Keep a text for later conversations: one fact, in words that make sense alone.

        importance: less than 1 for what may be forgotten first. replaces: the id of a memory that
        this one corrects. about: ids of memories of whom or what it speaks, to be found with them.
        """
        more: Any = {"importance": importance, "replaces": replaces or None}
        more |= {"about": about, "vouched": approve == "untrusted"}
        return {"id": call.step.memory(name).remember(text, **more)}

    return remember


def _recall(name: str, end: str) -> Tool:
    @tool(name=f"recall{end}", effects="idempotent", untrusted=True, tells_trust=True)
    async def recall(question: MemoryText, call: CallContext) -> list[dict[str, Any]]:
        """Look up what was kept in earlier conversations; ask in the words that may stand there."""
        found = await call.step.memory(name).look(question)
        return [{"id": memory.id, "text": _said(memory), "at": memory.at} for memory in found]

    return recall


def _said(memory: MemoryRecord) -> JsonValue:
    if memory.trust > 1:
        return memory.text
    return as_data("that a run kept which had read what others wrote", memory.text)


def _forget(name: str, end: str, approve: Approve) -> Tool:
    @tool(name=f"forget{end}", effects="pure", approve=approve)
    async def forget(memory: str, call: CallContext) -> str:
        """Let a memory hold no more, by its id, where it is wrong."""
        call.step.memory(name).forget(memory, vouched=approve == "untrusted")
        return "forgotten"

    return forget
