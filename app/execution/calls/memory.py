"""A memory as the code of a step uses it: what it keeps goes with the step's end."""

from __future__ import annotations

import uuid
from dataclasses import replace

from agents.base import Answer
from agents.plain import plain_json
from agents.values import digest
from app.concurrency.fibers import in_thread
from app.execution.calls.calling import Calling
from app.execution.memories import NamedMemory
from celery_agents.contracts.base import id_of
from celery_agents.contracts.memory import (
    RECALL_TOKENS,
    MemoryPolicy,
    MemoryRecord,
    importance_of,
    memory_text_of,
)

#: Of the ids of memories, which follow from who learned what.
_IDS = uuid.UUID("6b1fd4c3-3b53-5a0c-9d4f-1f0e6f0c7a52")


class SpaceMemory:
    """A memory of the configuration in the space of one step."""

    def __init__(self, step: Calling, name: str, policy: MemoryPolicy, thread: str) -> None:
        self._step = step
        self._name = name
        self._thread = thread
        self._memory = NamedMemory(step.claim.tenant, policy.filled(step.scope, name), policy)

    def remember(self, text: str, *, importance: float = 1.0, replaces: str | None = None) -> str:
        """Keep a text when this step succeeds; returns its id."""
        told = memory_text_of(text)
        wanted = None if replaces is None else id_of(replaces, "replaces")
        return self._learn(told, importance_of(importance), wanted)

    def forget(self, memory: str) -> None:
        """Let a memory hold no more when this step succeeds."""
        self._learn("", 1.0, id_of(memory, "memory"))

    async def recall(self, question: str, *, tokens: int = RECALL_TOKENS) -> list[MemoryRecord]:
        """Recall what fits a question, within so many tokens; a journaled call."""

        async def perform() -> Answer:
            found = await self.look(question, tokens=tokens)
            return Answer(value=plain_json([memory.compact() for memory in found]))

        about = digest([self._name, self._memory.space, question, tokens])
        answer = await self._step.call("recall", perform, fingerprint=about)
        found = answer.value if isinstance(answer.value, list) else []
        return [MemoryRecord.model_validate(memory) for memory in found]

    async def look(self, question: str, *, tokens: int = RECALL_TOKENS) -> list[MemoryRecord]:
        """Recall the same, and journal nothing: for what is a call already."""
        own = [m for m in self._step.learned.values() if m.space == self._memory.space]
        asked = self._memory.question(question, tokens)
        asked = replace(asked, run_id=self._step.claim.run_id, own=own)
        return await in_thread(self._step.runtime.journal.memories.recall, asked)

    def _learn(self, text: str, importance: float, replaces: str | None) -> str:
        claim = self._step.claim
        known = [claim.id, claim.tenant, self._memory.space, text, replaces]
        about = {"thread": self._thread, "agent": claim.agent, "run_id": claim.run_id}
        new = self._memory.one(
            uuid.uuid5(_IDS, digest(known)),
            text,
            importance=importance,
            replaces=replaces,
            **about,
        )
        self._step.learned[new.id] = new
        return new.id
