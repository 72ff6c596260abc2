"""A memory as the code of a step uses it: what it keeps goes with the step's end."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from agents.base import Answer
from agents.guarding.untrusted import marked
from agents.plain import plain_json
from agents.values import digest
from app.concurrency.fibers import in_thread
from app.execution.calls.calling import Calling
from app.execution.memories import NamedMemory
from app.journal.schema.rows import NewMemory, TextVector
from celery_agents.contracts.base import id_of
from celery_agents.contracts.memory import (
    RECALL_TOKENS,
    MemoryPolicy,
    MemoryRecord,
    Trust,
    importance_of,
    links_of,
    memory_text_of,
    trust_of,
)
from celery_agents.errors import AgentsError, BlockedError
from celery_agents.noted import note

log = logging.getLogger(__name__)

#: Of the ids of memories, which follow from who learned what.
IDS = uuid.UUID("6b1fd4c3-3b53-5a0c-9d4f-1f0e6f0c7a52")


async def embed_learned(step: Calling) -> None:
    """Have vectors made of what a step has learned; where none is, it is kept all the same."""
    for new in [*step.learned.values()]:
        if (agent := new.policy.embed) is not None and new.text and new.vector is None:
            vector = await _embedded(step, agent, new.text)
            step.learned[new.id] = replace(new, vector=vector)


async def _embedded(step: Calling, agent: str, text: str) -> TextVector | None:
    try:
        vector = await step.helpers().vector(agent, text)
    except AgentsError as error:
        note(log, "embedding", "%s made no vector, and words alone count", agent, error=error)
        return None
    return None if vector is None else TextVector(agent, vector)


class SpaceMemory:
    """A memory of the configuration in the space of one step."""

    def __init__(self, step: Calling, name: str, policy: MemoryPolicy, thread: str) -> None:
        self._step = step
        self._name = name
        self._thread = thread
        self._memory = NamedMemory(step.claim.tenant, policy.filled(step.scope, name), policy)

    def remember(
        self,
        text: str,
        *,
        importance: float = 1.0,
        replaces: str | None = None,
        about: Sequence[str] = (),
        caused_by: Sequence[str] = (),
        vouched: bool = False,
    ) -> str:
        """Keep a text when this step succeeds; returns its id."""
        told = memory_text_of(text)
        wanted = None if replaces is None else id_of(replaces, "replaces")
        more: Any = {"importance": importance_of(importance), "vouched": vouched}
        more["links"] = links_of(about, caused_by)
        return self._learn(told, replaces=wanted, **more)

    def forget(self, memory: str, *, vouched: bool = False) -> None:
        """Let a memory hold no more when this step succeeds."""
        self._learn("", replaces=id_of(memory, "memory"), vouched=vouched)

    async def recall(
        self, question: str, *, tokens: int = RECALL_TOKENS, trust: Trust = 1
    ) -> list[MemoryRecord]:
        """Recall what fits a question, within so many tokens; a journaled call."""

        async def perform() -> Answer:
            found = await self.look(question, tokens=tokens, trust=trust)
            return Answer(value=plain_json([memory.compact() for memory in found]))

        # As before there was trust, where it says none: a journaled call stays the same.
        asked = [self._name, self._memory.space, question, tokens]
        about = digest([*asked, trust] if trust > 1 else asked)
        answer = await self._step.call("recall", perform, fingerprint=about)
        read = answer.value if isinstance(answer.value, list) else []
        found = [MemoryRecord.model_validate(memory) for memory in read]
        if any(memory.trust == 1 for memory in found):
            await self._step.distrust()
        return found

    async def look(
        self, question: str, *, tokens: int = RECALL_TOKENS, trust: Trust = 1
    ) -> list[MemoryRecord]:
        """Recall the same, and journal nothing: for what is a call already."""
        own = [m for m in self._step.learned.values() if m.space == self._memory.space]
        asked = self._memory.question(question, tokens)
        about: Any = {"run_id": self._step.claim.run_id, "own": own, "trust": trust_of(trust)}
        asked = replace(asked, **about)
        if (agent := self._memory.policy.embed) is not None:
            asked = replace(asked, vector=await _embedded(self._step, agent, question))
        return await in_thread(self._step.runtime.journal.memories.recall, asked)

    def about(self, text: str, memory_id: uuid.UUID, agent: str) -> NewMemory:
        """The input of this step as a memory, which is kept however it ends.

        Raises:
            PayloadTooLargeError: the space has no room for it.
        """
        return self._memory.one(memory_id, text, agent=agent, run_id=self._step.run_id)

    def _learn(self, text: str, *, replaces: str | None, vouched: bool, **more: Any) -> str:
        claim, policy = self._step.claim, self._memory.policy
        read = not vouched and (self._step.distrusted or marked(claim.payload))
        if read and policy.write_untrusted == "deny":
            raise BlockedError(
                "Nothing is remembered now: this run has read what others wrote, and "
                f'[memory.{self._name}] has write_untrusted = "deny".'
            )
        known = [claim.id, claim.tenant, self._memory.space, text, replaces]
        about = {"thread": self._thread, "agent": claim.agent, "run_id": claim.run_id, **more}
        about |= {"replaces": replaces, "vouched": vouched, "trust": 1 if read else 2}
        new = self._memory.one(uuid.uuid5(IDS, digest(known)), text, **about)
        self._step.learned[new.id] = new
        return new.id
