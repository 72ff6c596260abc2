"""Limits: how much may be asked of agents and their providers, for all workers together."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from celery_agents.contracts.base import Contract, Name, Seconds

#: Whose a limit is: everybody's of such a kind has one of their own.
Per = Literal["tenant", "agent", "key", "run"]
#: Numbers of a minute, or of calls at once.
Many = Annotated[int, Field(ge=1, le=10**9)]


class LimitNumbers(Contract):
    """The numbers of a limit."""

    requests_per_minute: Many | None = None
    #: Tokens in and out; the next two where a provider counts them apart.
    tokens_per_minute: Many | None = None
    input_tokens_per_minute: Many | None = None
    output_tokens_per_minute: Many | None = None
    #: Requests under way at once.
    concurrent: Many | None = None

    @property
    def given(self) -> dict[str, int]:
        """Those that are given, by their names."""
        found = {name: getattr(self, name) for name in LimitNumbers.model_fields}
        return {name: number for name, number in found.items() if number is not None}

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if not self.given:
            raise ValueError("it limits nothing: give a number")
        return self


class LimitPolicy(LimitNumbers):
    """A limit of agents.toml: ``[limits.NAME]``.

    It holds for what it ``covers``: ``provider:openai``, ``agent:gpt``, ``kind:http``; with nothing
    there, for all language models. Of one ``per`` tenant, agent, key of a provider, or run, each
    has one of their own.
    """

    covers: Annotated[tuple[Name, ...], Field(max_length=100)] = ()
    per: Per | None = None
    #: Go by what providers tell of their limits where none is given here.
    learn: bool = False
    #: So many seconds' worth may be used at once after a pause. None: half a second's
    #: of requests, since providers hold a minute's limit against each second, and 6 s of tokens.
    burst_s: Seconds | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if not self.learn and not self.given:
            raise ValueError("it limits nothing: give a number, or learn = true")
        if self.learn and self.per not in (None, "key"):
            raise ValueError("learn is of a provider's key: leave per out")
        for cover in self.covers:
            if cover.partition(":")[0] not in {"provider", "agent", "kind"}:
                raise ValueError(f"covers: {cover!r} is none of provider:…, agent:…, kind:…")
        return self


class LimitState(Contract):
    """A limit as it stands: its policy, and of each that has it how much is used."""

    name: str
    policy: LimitPolicy
    #: Whose it is, where it is per something.
    subject: str = ""
    in_use: int = 0
    waiting: int = 0
    #: Seconds until a pause ends; None: it is open.
    paused_s: float | None = None
    #: Numbers a minute that the provider told: requests, tokens, input, output.
    learned: dict[str, float] = Field(default_factory=dict)
