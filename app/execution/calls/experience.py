"""Learned experience: a step is told what did well where something similar was asked.

How it went itself is kept with its end. Nothing of it is asked of a model.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from contextlib import suppress

from agents.base import Answer, Turn
from agents.memory import experience
from agents.memory.experience import TriedTimes
from agents.values import digest, text_of
from app.execution.calls.calling import Calling
from app.execution.calls.memory import IDS, SpaceMemory
from app.execution.learning import Lesson
from app.execution.memories import NamedMemory
from celery_agents.contracts.ask import Ask
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.experience import TriedWay
from celery_agents.contracts.memory import MemoryPolicy
from celery_agents.contracts.patterns import Fallback
from celery_agents.contracts.teams.solve import Solve
from celery_agents.errors import InvalidPayloadError, PayloadTooLargeError


async def experienced(step: Calling, request: Ask, turn: Turn) -> Turn:
    """Return a turn in which its agent is told what did well before; the same in each attempt.

    Raises:
        InvalidPayloadError: the scope lacks a value for the space.
    """
    agent, memories = request.agent, step.runtime.agents.registry.memories
    if not memories:
        return turn
    found = _learning(memories, {agent})
    text = text_of(request.input)[: experience.TEXT_MAX].strip()
    if found is None or not text:
        return turn
    name, policy = found
    memory = SpaceMemory(step, name, policy, "")

    async def look() -> Answer:
        seen = await memory.look(text, tokens=experience.LOOKED_AT_TOKENS)
        return Answer(value=[way.compact() for way in experience.ways(seen, agent)])

    said = (await step.call("experience", look, fingerprint=digest([name, agent, text]))).value
    told = [TriedWay.model_validate(way) for way in said] if isinstance(said, list) else []
    held = experience.held_out(step.run_id)
    with suppress(PayloadTooLargeError):  # so small a space learns nothing of so long an input
        new = memory.about(text, uuid.uuid5(IDS, f"experience\0{step.step_id}"), agent)
        step.lesson = Lesson(new, found=bool(told), held=held)
    if held or not told:
        return turn
    step.ways = tuple(told)
    parts = (turn.instructions, experience.as_instructions(told))
    return turn.model_copy(update={"instructions": "\n\n".join(p for p in parts if p)})


def seen(step: Calling, request: Fallback | Solve) -> dict[str, TriedTimes]:
    """Return how candidates did where something similar was asked, by their keys. It blocks.

    Nothing of a run that is held out, nor where no memory learns from them.
    """
    if isinstance(request, Fallback) and request.strategy != "adaptive":
        return {}
    if isinstance(request, Solve):
        named = {s.name: getattr(s.request, "agent", None) for s in request.strategies}
    else:
        named = {c.key: c.agent for c in request.candidates}
    agents = {key: agent for key, agent in named.items() if isinstance(agent, str)}
    return _seen(step, agents, request.input)


def _seen(step: Calling, agents: Mapping[str, str], asked: JsonValue) -> dict[str, TriedTimes]:
    found = _learning(step.runtime.agents.registry.memories, set(agents.values()))
    text = text_of(asked)[: experience.TEXT_MAX].strip()
    if found is None or not text or experience.held_out(step.run_id):
        return {}
    name, policy = found
    try:
        memory = NamedMemory(step.claim.tenant, policy.filled(step.scope, name), policy)
    except InvalidPayloadError:  # whoever is asked says so
        return {}
    question = memory.question(text, experience.LOOKED_AT_TOKENS)
    return experience.of_agents(step.runtime.journal.memories.recall(question), agents)


def _learning(
    memories: Mapping[str, MemoryPolicy], agents: set[str]
) -> tuple[str, MemoryPolicy] | None:
    """Return the memory that learns from most of these agents, by its name; the first one."""
    learning = [(name, p) for name, p in memories.items() if agents & {*p.learns_from}]
    return max(learning, key=lambda one: len(agents & {*one[1].learns_from}), default=None)
