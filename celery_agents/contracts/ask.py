"""Asking: the payload of ``agents.ask``, and what all payloads have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StrictBool, ValidationError, model_validator

from celery_agents.contracts.base import (
    Contract,
    Id,
    JsonValue,
    Name,
    Option,
    Seconds,
    Whole,
    mistakes,
)
from celery_agents.contracts.budgets import RunBudget
from celery_agents.contracts.caching import CacheUse
from celery_agents.contracts.compensation import Compensated
from celery_agents.contracts.conversation import Conversation
from celery_agents.contracts.memory import Scope
from celery_agents.contracts.policies import RetryPolicy, Webhook
from celery_agents.contracts.schema import AnswerSchema
from celery_agents.contracts.teams.spec import AgentSpec
from celery_agents.errors import InvalidPayloadError
from celery_agents.values import KNOWN

#: Of the bounds of a run: above what anybody means.
_DEPTH_MAX, _STEPS_MAX = 1_000, 1_000_000
#: Tokens of a window at the most: above any model's.
WINDOW_MAX = 10_000_000


class Request(Contract):
    """A request to a step. On the wire: ``args`` is [input], ``kwargs`` the rest."""

    input: JsonValue = None

    @classmethod
    def from_message(
        cls,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        known: bool = False,
        names: Iterable[str] = (),
    ) -> Self:
        """Read a task's arguments; ``known`` ones, of a row, were values when they came in.

        ``names`` are options that whoever calls it takes beside those of the payload.

        Raises:
            InvalidPayloadError: with the place and the reason of each mistake, without its value.
        """
        if len(args) > 1:
            raise InvalidPayloadError(
                f"{cls.__name__} takes one positional argument, its input; got {len(args)}."
            )
        if args and "input" in kwargs:
            raise InvalidPayloadError("The input was given twice, positionally and by name.")
        try:
            told = {**kwargs, **({"input": args[0]} if args else {})}
            return cls.model_validate(told, context=KNOWN if known else None)
        except ValidationError as error:
            raise InvalidPayloadError(
                f"{cls.__name__}: {_told(mistakes(error, cls, names=names))}"
            ) from None

    def message_options(self) -> dict[str, JsonValue]:
        """The ``kwargs`` of a message, defaults left out."""
        return self.model_dump(mode="json", exclude={"input"}, exclude_defaults=True)


def _told(found: list[tuple[str, str]]) -> str:
    places = [f"{place}: {why}" for place, why in found]
    more = f" (and {len(places) - 5} more)" if len(places) > 5 else ""  # noqa: PLR2004 - enough
    return "; ".join(places[:5]) + more


#: The options that bound a step with all that hangs below it.
CAPS = ("max_depth", "max_width", "max_steps", "max_handoffs", "max_cost")


class StepOptions(Request):
    """Options of every step.

    ``timeout_s`` bounds one attempt, ``deadline_s`` the step with all its attempts and waits.
    """

    #: Tell what it does while it works (``run.events``); its members do too.
    stream: StrictBool = False

    retry: RetryPolicy = RetryPolicy()
    timeout_s: Seconds | None = None
    deadline_s: Seconds | None = None

    #: Below this step agents ask agents so deep, each of them so many, all of them so many, and
    #: hand over so often in a row. Members inherit them; of several the narrower one holds.
    max_depth: Annotated[int, Field(ge=0, le=_DEPTH_MAX), Whole] | None = None
    max_width: Annotated[int, Field(ge=0, le=_STEPS_MAX), Whole] | None = None
    max_steps: Annotated[int, Field(ge=0, le=_STEPS_MAX), Whole] | None = None
    max_handoffs: Annotated[int, Field(ge=0, le=_DEPTH_MAX), Whole] | None = None
    #: USD. Once its calls, with those below it, have cost so much, none begins and nobody is asked.
    max_cost: Annotated[float, Field(gt=0, strict=True)] | None = None

    #: What its requests may spend, with those below it: reserved before each is made, so that it is
    #: never more.
    budget: RunBudget | None = None

    #: What it is about, by names that spaces of memories have places for; its members inherit it.
    scope: Scope = Field(default_factory=dict)

    #: Who is told of its end, where it is a run of its own.
    webhook: Webhook | None = None

    @property
    def caps(self) -> dict[str, JsonValue]:
        """The bounds that it has, by their names."""
        own = {n: v for n in CAPS if (v := getattr(self, n)) is not None}
        return own if self.budget is None else own | self.budget.bounds

    @property
    def whole_s(self) -> float | None:
        """Seconds for the whole step, attempts and waits included; None: no limit."""
        return self.deadline_s

    @property
    def ballots(self) -> int:
        """Turns of agents that it asks for by their number, each of which may be paid."""
        return 1

    def within(self, ballots_max: int) -> Self:
        """Itself.

        Raises:
            InvalidPayloadError: it asks for more ballots.
        """
        if self.ballots > ballots_max:
            raise InvalidPayloadError(
                f"{type(self).__name__}: {self.ballots:,} ballots or answers (voters x samples x "
                f"rounds), the limit is {ballots_max:,} (ballots_max)."
            )
        return self


class Repeats(Contract):
    """The turn of a team that asks the same as another one of its run.

    ``same_as`` is the step that has the answer, or will have it. Only the service itself says it.
    """

    same_as: Id | None = None


class Ask(StepOptions):
    """One agent's turn on one input. The answer is the agent's value."""

    agent: Name
    #: How the agent, which is its base, is narrowed. A spec may stand in the agent's place.
    spec: AgentSpec | None = None
    #: The conversation before the input, which is its newest message; without an input, all of it.
    messages: Conversation = ()
    #: The conversation that it goes on with: exchanges of earlier runs come before ``messages``,
    #: and its own is added when it succeeds. Of several runs one after the other has its turn.
    session: Name | None = None
    #: The newest exchanges of the session that fit are sent; by default as the workers are set.
    window_tokens: Annotated[int, Field(ge=0, le=WINDOW_MAX), Whole] | None = None
    #: Begin with this agent, though the session's last run of it was handed over to another one.
    reset_active: StrictBool = False
    instructions: str | None = None
    #: The answer must be one of these.
    choices: Annotated[tuple[Option, ...], Field(min_length=1, max_length=1000)] | None = None
    #: The answer must be JSON of this schema.
    answer_schema: AnswerSchema | None = None
    #: While the agent takes no steps (its breaker is open, it answered 429): come again later, or
    #: fail at once, for somebody (a fallback chain) who knows whom to ask instead. A list has the
    #: kinds of errors at which it fails.
    when_open: Literal["wait", "fail"] | tuple[Name, ...] = "wait"
    #: Answer from its agent's cache where it has one, ask anew and keep that, or do neither.
    cache: CacheUse = "use"
    #: Of a cache that serves answers of similar questions: from this cosine on, where that is more
    #: than its own.
    similarity: Annotated[float, Field(ge=0, le=1, strict=True)] | None = None
    #: It is a turn of a team, where the same question to the same agent is answered once.
    repeats: Repeats | None = None
    #: Who undoes it when it is part of a run that fails; by default whoever its agent names.
    compensation: Compensated = None

    @model_validator(mode="before")
    @classmethod
    def _agent_of(cls, value: Any) -> Any:
        """Take a spec in the place of the agent's name."""
        if isinstance(value, dict) and isinstance(spec := value.get("agent"), AgentSpec):
            return {**value, "agent": spec.base, "spec": None if spec.plain else spec}
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.spec is not None and self.spec.base != self.agent:
            raise ValueError(f"spec: its base is {self.spec.base!r}, and not the agent")
        if self.spec is not None and self.session is not None:
            raise ValueError("spec: a session is one with a registered agent")
        if self.messages and self.input is None and self.messages[-1].role not in _ASKING:
            raise ValueError("the conversation ends without a question: give an input")
        if self.window_tokens is not None and self.session is None:
            raise ValueError("window_tokens is of a session: give one")
        if self.reset_active and self.session is None:
            raise ValueError("reset_active is of a session: give one")
        return self


#: Roles whose message, as the last one, an agent can answer.
_ASKING = frozenset({"user", "tool"})
