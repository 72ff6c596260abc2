"""Caches: how long answers are kept, for whom, and how that turns out."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field

from celery_agents.contracts.base import Contract, Name, Seconds
from celery_agents.contracts.outcome import Outcome

#: What an ``ask`` wants of the cache: an answer from it, a new one in it, or nothing.
CacheUse = Literal["use", "refresh", "off"]


class SemanticPolicy(Contract):
    """When the answer of a similar question is served, and how that is watched."""

    #: The agent that answers a text with its vector, a list of numbers.
    embed: Name
    #: The cosine of two questions' vectors that are similar, from 0 to 1.
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.95
    #: The agent that says whether two texts say the same, where they are not equal.
    judge: Name | None = None
    #: The share of wrong answers above which none is served any more.
    max_error: Annotated[float, Field(gt=0, lt=1)] = 0.02
    #: The share that is asked all the same, and compared.
    audit: Annotated[float, Field(gt=0, le=1)] = 0.05
    #: So many are all asked and compared, before the first one is served.
    proving: Annotated[int, Field(ge=0, le=100_000)] = 100


class CachePolicy(Contract):
    """How the answers of an agent are kept; a number alone is its ``ttl_s``."""

    #: Seconds for which an answer is served.
    ttl_s: Seconds = 3600.0
    #: Whose questions an answer is for: those of the tenant who asked, or everybody's.
    scope: Literal["tenant", "all"] = "tenant"
    #: Another one forgets what was kept, as when a function's code has changed.
    version: Annotated[str, Field(max_length=100)] = ""
    #: Keep answers of models that do not answer the same each time, too.
    any: bool = False
    #: Serve answers of similar questions, too.
    semantic: SemanticPolicy | None = None


def _seconds_alone(value: Any) -> Any:
    return {"ttl_s": value} if type(value) in (int, float) else value


#: A policy as entries and ``@agent`` have it.
GivenCache = Annotated[CachePolicy, BeforeValidator(_seconds_alone)]


class CacheState(Contract):
    """The cached answers of one agent, or of a tool as ``tool:NAME``."""

    name: str
    entries: int = 0
    bytes: int = 0
    #: Questions that were answered by a worker's memory, and by Redis.
    local_hits: int = 0
    shared_hits: int = 0
    #: Those that were answered as a similar one was, and how often such an answer was compared
    #: with a new one and was another; ``semantic`` is off once that was too often.
    similar_hits: int = 0
    compared: int = 0
    wrong: int = 0
    semantic: Literal["on", "proving", "off"] | None = None
    misses: int = 0
    #: US dollars that the hits would have cost.
    saved_usd: float = 0.0

    @property
    def hit_rate(self) -> float:
        """The share of questions that were answered by the cache."""
        hits = self.local_hits + self.shared_hits + self.similar_hits
        return hits / (hits + self.misses) if hits + self.misses else 0.0


class Warmed(Contract):
    """How asking beforehand went."""

    asked: int = 0
    #: Answered by the cache already.
    known: int = 0
    failed: int = 0
    #: Not asked, since the others had cost too much.
    left: int = 0
    #: US dollars; None where a price is not known.
    cost_usd: float | None = 0.0

    def after(self, outcome: Outcome) -> Self:
        """The same with one more question, which ended so."""
        usage = outcome.usage
        known = outcome.ok and usage.calls == 0 and usage.saved_usd > 0
        unknown = self.cost_usd is None or usage.cost_usd is None
        return self.model_copy(
            update={
                "asked": self.asked + 1,
                "known": self.known + known,
                "failed": self.failed + (not outcome.ok),
                "cost_usd": None if unknown else (self.cost_usd or 0.0) + (usage.cost_usd or 0.0),
            }
        )
