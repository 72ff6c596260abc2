"""Short tasks about memories, for clients that do not see the journal."""

from __future__ import annotations

import uuid
from typing import Any

from celery import shared_task

from agents.memory import experience
from app.execution.memories import NamedMemory, named
from app.execution.runtime import runtime_of
from app.journal.queries import tallies
from app.maintenance.acts import recorded
from celery_agents import names
from celery_agents.contracts.base import PLACES_MAX, id_of, name_of, whole_of
from celery_agents.contracts.memory import (
    RECALL_TOKENS,
    NewMemories,
    ToEmbed,
)
from celery_agents.errors import InvalidPayloadError

#: Memories that one message may name.
IDS_MAX = 1_000


@shared_task(name=names.REMEMBER, bind=True, acks_late=True)
def remember(self: Any, told: Any, scope: Any = None, tenant: str = "") -> list[str]:
    """Keep texts; return their ids. Its message may come twice: it is done once."""
    new = NewMemories.read(told)
    runtime = runtime_of(self.app, self.request.hostname)
    memories = _named(self, new.name, scope, tenant).new(new, uuid.UUID(self.request.id))
    runtime.journal.memories.keep(memories)
    runtime.intake.forget([self.request.id])
    return [memory.id for memory in memories]


@shared_task(name=names.RECALL, bind=True)
def recall(
    self: Any,
    name: str,
    question: str,
    scope: Any = None,
    *,
    tokens: int = RECALL_TOKENS,
    tenant: str = "",
    at: float | None = None,
) -> list[dict[str, Any]]:
    """Recall what fits a question, within so many tokens."""
    memory = _named(self, name, scope, tenant)
    asked = memory.question(question, tokens, at)
    found = runtime_of(self.app, self.request.hostname).journal.memories.recall(asked)
    return [one.compact() for one in found]


@shared_task(name=names.MEMORIES, bind=True)
def memories(
    self: Any, name: str, scope: Any = None, after: int = -1, tenant: str = ""
) -> dict[str, Any]:
    """A page of a space, behind a place, with those that are over."""
    memory = _named(self, name, scope, tenant)
    place = whole_of(after, "after", least=-1, most=PLACES_MAX)
    store = runtime_of(self.app, self.request.hostname).journal.memories
    found, more = store.page(memory.tenant, memory.space, place)
    return {"memories": [one.compact() for one in found], "more": more}


@shared_task(name=names.UNEMBEDDED, bind=True)
def unembedded(
    self: Any, name: str, scope: Any = None, after: int = -1, tenant: str = ""
) -> dict[str, Any]:
    """A portion of a space's memories that lack a vector, behind a place."""
    memory = _named(self, name, scope, tenant)
    place = whole_of(after, "after", least=-1, most=PLACES_MAX)
    store = runtime_of(self.app, self.request.hostname).journal.memories
    found, more = store.lacking(memory.tenant, memory.space, memory.model, place)
    ids, texts = tuple(m.id for m in found), tuple(m.text for m in found)
    return ToEmbed(agent=memory.model, ids=ids, texts=texts, more=more).compact()


@shared_task(name=names.EFFECT, bind=True)
def effect(
    self: Any, name: str, scope: Any = None, agent: str | None = None, tenant: str = ""
) -> dict[str, Any]:
    """Compare runs that were told of earlier ones with those that were held out."""
    memory = _named(self, name, scope, tenant)
    of = None if agent is None else name_of(agent, "agent")
    store = runtime_of(self.app, self.request.hostname).journal.memories
    return experience.effect(store.outcomes(memory.tenant, memory.space, of)).compact()


@shared_task(name=names.EMBED, bind=True, acks_late=True)
def embed(
    self: Any, name: str, run_id: str, ids: list[str], scope: Any, *, tenant: str = ""
) -> int:
    """Take over the vectors that a run has made of memories; return how many there are."""
    memory, made = _named(self, name, scope, tenant), id_of(run_id)
    journal = runtime_of(self.app, self.request.hostname).journal
    said = journal.read(lambda c: tallies.answers(c, made, memory.tenant))
    vectors = memory.vectors([id_of(one, "ids") for one in ids[:IDS_MAX]], said)
    return journal.memories.embed(memory.tenant, memory.space, vectors)


@shared_task(name=names.ERASE, bind=True, acks_late=True)
def erase(
    self: Any, name: str, scope: Any = None, ids: list[str] | None = None, tenant: str = ""
) -> int:
    """Delete memories of a space, or all of it; return how many there were."""
    memory = _named(self, name, scope, tenant)
    if ids is not None and (not isinstance(ids, list) or len(ids) > IDS_MAX):
        raise InvalidPayloadError(f"ids: a list of {IDS_MAX} at the most.")
    which = None if ids is None else [id_of(one, "ids") for one in ids]
    number = "all" if which is None else len(which)
    runtime = recorded(self, "memory.forget", memory.space, memory.tenant, memories=number)
    return runtime.journal.memories.erase(memory.tenant, memory.space, which)


def _named(task: Any, name: str, scope: Any, tenant: str) -> NamedMemory:
    registry = runtime_of(task.app, task.request.hostname).agents.registry
    return named(registry.memories, name, scope, tenant)
