"""Windows: how much of a conversation an agent is told, and what was left out of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from celery_agents.contracts.base import Contract, Name

#: Below it not even the question and the answer of one exchange could be told.
BUDGET_MIN_TOKENS = 256
#: How much of a session is looked at, where nobody says it: so many budgets.
_READ_BUDGETS = 8


class WindowPolicy(Contract):
    """A bound of what is told of a conversation; a number alone is its ``budget_tokens``."""

    #: Tokens of what was said before the question. Instructions and the question come on top.
    budget_tokens: Annotated[int, Field(ge=BUDGET_MIN_TOKENS, le=10_000_000)]
    #: Which exchanges stay where not all do: the newest ones; those that matter for the question;
    #: or the newest ones, behind a summary of the others.
    strategy: Literal["sliding_window", "importance", "summary"] = "sliding_window"
    #: The agent that writes the summary.
    summary: Name | None = None
    #: Tokens of the summary, as a share of those that it stands for.
    compression_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.2
    #: So many exchanges at the begin are pinned: they stay while there is room.
    pin_first: Annotated[int, Field(ge=0, le=100)] = 0
    #: Clear the results of tools before anything else, but in so many newest exchanges.
    keep_results: Annotated[int, Field(ge=1, le=1000)] | None = None
    #: Tokens of a session's newest exchanges that are looked at; None: eight times the budget.
    session_tokens: Annotated[int, Field(ge=BUDGET_MIN_TOKENS)] | None = None

    @model_validator(mode="after")
    def _has_who_sums_up(self) -> Self:
        if (self.strategy == "summary") != (self.summary is not None):
            raise ValueError(
                'strategy = "summary" and summary = "AGENT", which writes it, belong together'
            )
        return self

    @property
    def of_session_tokens(self) -> int:
        """The tokens of a session that are looked at."""
        return self.session_tokens or _READ_BUDGETS * self.budget_tokens


def _budget_alone(value: Any) -> Any:
    return {"budget_tokens": value} if type(value) is int else value


#: A policy as entries and ``@agent`` have it.
GivenWindow = Annotated[WindowPolicy, BeforeValidator(_budget_alone)]


class WindowReport(Contract):
    """The part of a conversation that an agent was told, in estimated tokens and in exchanges."""

    tokens_before: int
    tokens: int
    #: Exchanges that it was not told, those that a summary stands for among them.
    left_out: int = 0
    #: Of those, the ones that a summary stands for.
    summarised: int = 0
    #: Results of tools that were cleared.
    cleared: int = 0
    #: Whether the newest exchange alone was too long, and is told in part.
    shortened: bool = False

    @property
    def compression_ratio(self) -> float:
        """The share of what was said that is told."""
        return self.tokens / self.tokens_before if self.tokens_before else 1.0
