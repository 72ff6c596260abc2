"""Memories of the configuration, as they are named from outside."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from agents.memory.backends import DEFAULT
from agents.memory.sizes import tokens_of
from app.journal.memory.weighing import MemoryQuestion
from app.journal.schema.rows import NewMemory, TextVector
from celery_agents.contracts.base import name_of, tenant_of, whole_of
from celery_agents.contracts.memory import (
    RECALL_TOKENS_MAX,
    MemoryPolicy,
    NewMemories,
    links_of,
    memory_text_of,
    moment_of,
    scope_of,
)
from celery_agents.contracts.nearest import meant
from celery_agents.contracts.outcome import Outcome
from celery_agents.errors import ConfigurationError, InvalidPayloadError


@dataclass(frozen=True, slots=True)
class NamedMemory:
    """A memory with the space of a scope, of one tenant."""

    tenant: str
    space: str
    policy: MemoryPolicy

    def question(self, text: object, tokens: object, at: object = None) -> MemoryQuestion:
        """A question to the space, whose answer has so many tokens at the most, as it was ``at``.

        Raises:
            InvalidPayloadError: the text is empty or too long, or a number is none.
        """
        most = whole_of(tokens, "tokens", least=1, most=RECALL_TOKENS_MAX)
        words = memory_text_of(text, "question")
        return MemoryQuestion(
            self.tenant,
            self.space,
            words,
            most,
            self.policy.language,
            backend=self.policy.backend or DEFAULT,
            at=moment_of(at),
        )

    @property
    def model(self) -> str:
        """The agent that makes its vectors.

        Raises:
            ConfigurationError: none does.
        """
        if self.policy.embed is None:
            raise ConfigurationError("It has no vectors: [memory.…] names no agent in embed.")
        return self.policy.embed

    def vectors(self, ids: Sequence[str], said: Mapping[int, Outcome]) -> dict[str, TextVector]:
        """The vectors that a run has made of memories, by their ids; what is none is left out."""
        from agents.caching.near import normalised

        found: dict[str, TextVector] = {}
        for place, memory_id in enumerate(ids):
            if (outcome := said.get(place)) is not None:
                with suppress(ValueError):  # it has none then, and is found by its words
                    found[memory_id] = TextVector(self.model, normalised(outcome.value))
        return found

    def new(self, told: NewMemories, of: uuid.UUID) -> list[NewMemory]:
        """The memories of one message, whose ids follow from the message's.

        Raises:
            PayloadTooLargeError: the space has no room for one of them.
        """
        about: dict[str, Any] = {"importance": told.importance, "thread": told.thread}
        about |= {"trust": told.trust, "links": links_of(told.about, told.caused_by)}
        return [
            self.one(
                uuid.uuid5(of, str(place)),
                text,
                replaces=told.replaces if place == 0 else None,
                **about,
            )
            for place, text in enumerate(told.texts)
        ]

    def one(self, memory_id: uuid.UUID, text: str, **about: Any) -> NewMemory:
        """A memory of the space; ``about`` are the fields that are its own.

        Raises:
            PayloadTooLargeError: the space has no room for it.
        """
        return NewMemory(
            id=str(memory_id),
            tenant=self.tenant,
            space=self.space,
            text=text,
            tokens=tokens_of(text, self.policy),
            policy=self.policy,
            **about,
        )


def named(
    policies: Mapping[str, MemoryPolicy], name: object, scope: object, tenant: object
) -> NamedMemory:
    """The memory that somebody names.

    Raises:
        InvalidPayloadError: there is none of that name here, or the scope lacks a value.
    """
    if (policy := policies.get(known := name_of(name))) is None:
        near = meant(known, policies, repr)
        raise InvalidPayloadError(f"There is no [memory.{known}] in this worker{near}")
    return NamedMemory(tenant_of(tenant), policy.filled(scope_of(scope), known), policy)
