"""Calls whose answers may be kept: what an answer depends on, and whether it is whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agents.values import digest
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.caching import CachePolicy
from celery_agents.contracts.outcome import Answer

if TYPE_CHECKING:
    from agents.base import Turn

#: Dollars that a second of work is worth, beside what it cost: about what the machine does. Of
#: answers that cost no dollars, those are kept that took long.
USD_A_SECOND = 1e-5


def _whole(_: Answer) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Caching:
    """How the answers of an agent are kept, and the name under which that is told."""

    name: str
    policy: CachePolicy

    def of(
        self,
        about: Any,
        good: Callable[[Answer], bool] = _whole,
        meaning: Meaning | None = None,
    ) -> Cacheable:
        """A call that is ``about`` this; an answer that is not ``good`` is not kept."""
        return Cacheable(self, about, good, None if self.policy.semantic is None else meaning)


def _value_of(answer: Answer) -> JsonValue:
    return answer.value


@dataclass(frozen=True, slots=True)
class Meaning:
    """A question as a text, with all else that its answer depends on."""

    text: str
    rest: Any
    #: What an answer says, as answers are compared; None: nothing that a similar question may have.
    said: Callable[[Answer], JsonValue] = _value_of


@dataclass(frozen=True, slots=True)
class Cacheable:
    """A call whose answer may be known, by all that it depends on, as JSON."""

    caching: Caching
    about: Any
    good: Callable[[Answer], bool]
    meaning: Meaning | None = None

    def key(self, tenant: str) -> str:
        """The key of its answer, for whoever asks."""
        return self._digest(tenant, self.about)

    def partition(self, tenant: str) -> str:
        """The key of those questions that may be similar: nobody else's, and the same but for text.

        The vectors of one agent say nothing to those of another.
        """
        assert self.meaning is not None
        assert self.caching.policy.semantic is not None
        rest = [self.caching.name, self.caching.policy.semantic.embed, self.meaning.rest]
        return self._digest(tenant, rest)

    def _digest(self, tenant: str, about: Any) -> str:
        policy = self.caching.policy
        whose = None if policy.scope == "all" else tenant
        return digest([policy.version, whose, about])


def worth_usd(answer: Answer, elapsed_s: float) -> float:
    """The worth of having an answer again: its price, and the time that it took."""
    return (answer.usage.cost_usd or 0.0) + elapsed_s * USD_A_SECOND


def meaning_of(turn: Turn, whose: str) -> Meaning | None:
    """The meaning of a turn whose input is a text."""
    if not isinstance(turn.input, str):
        return None
    return Meaning(turn.input, [whose, turn.model_copy(update={"input": None})], said_of(turn))


def said_of(turn: Turn) -> Callable[[Answer], JsonValue]:
    """How the answers to a turn are compared: of a ballot its option counts."""

    def said(answer: Answer) -> JsonValue:
        value = answer.value
        ballot = turn.choices is not None and isinstance(value, dict)
        return value.get("option") if ballot and isinstance(value, dict) else value

    return said
