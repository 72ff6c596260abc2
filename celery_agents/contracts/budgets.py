"""Budgets: what may be spent, by whom, and in which time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from celery_agents.contracts.base import Contract, Name, Whole

#: Dollars that a budget may have: sums of nano-dollars are exact in Redis up to nine times that.
USD_MAX = 1_000_000
Dollars = Annotated[float, Field(ge=0, le=USD_MAX, allow_inf_nan=False, strict=True)]
#: Numbers of tokens or calls; none at all is 0.
Number = Annotated[int, Field(ge=0, le=10**12), Whole]
#: Calendar windows, and no window at all.
Every = Literal["hour", "day", "week", "month", "none"]
#: The units of budgets.
UNITS = ("usd", "tokens", "calls")
#: Before a unit, among the bounds of a run.
_BOUND = "budget."


class BudgetNumbers(Contract):
    """The numbers of a budget; at least one."""

    usd: Dollars | None = None
    #: Tokens in and out.
    tokens: Number | None = None
    #: Requests.
    calls: Number | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if all(getattr(self, unit) is None for unit in UNITS):
            raise ValueError("it bounds nothing: give usd, tokens or calls")
        return self


class RunBudget(BudgetNumbers):
    """The option ``budget`` of a verb: what its run may spend, with all that hangs below it."""

    @property
    def bounds(self) -> dict[str, float]:
        """Its numbers by their names among the bounds of a run."""
        found = {f"{_BOUND}{unit}": getattr(self, unit) for unit in UNITS}
        return {name: number for name, number in found.items() if number is not None}


def budget_of(bounds: Mapping[str, float]) -> dict[str, float]:
    """The budget among the bounds of a run, as an option has it; empty: there is none."""
    return {
        name.removeprefix(_BOUND): number
        for name, number in bounds.items()
        if name.startswith(_BOUND)
    }


class BudgetPolicy(BudgetNumbers):
    """A budget of agents.toml: ``[budgets.NAME]``.

    It counts the requests of what it ``covers``: ``provider:openai``, ``agent:gpt``, ``kind:http``;
    with nothing there, of all agents. Of one ``per`` tenant, agent or run, each has one of
    their own.
    """

    covers: Annotated[tuple[Name, ...], Field(max_length=100)] = ()
    per: Literal["tenant", "agent", "run"] | None = None
    #: The window in which it counts: of the calendar of ``zone``, or so many seconds.
    every: Every | Annotated[int, Field(ge=1, le=10 * 366 * 86_400), Whole] = "none"
    zone: str = "UTC"
    #: What becomes of a step when it is spent: it fails, or waits for the next window.
    over: Literal["fail", "wait"] = "fail"
    #: Reserve the most that a request can cost, instead of what 95 of 100 cost.
    strict: bool = False

    @field_validator("zone")
    @classmethod
    def _is_a_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (LookupError, ValueError, OSError):  # a folder is found and cannot be read
            told = f"{value!r} is no time zone like Europe/Zurich"
            raise ValueError(told) from None
        return value

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if self.every == "none" and self.over == "wait":
            raise ValueError('over = "wait" waits for the next window: give every')
        if self.per == "run" and self.every != "none":
            raise ValueError("a run has no windows: leave every out")
        for cover in self.covers:
            if cover.partition(":")[0] not in {"provider", "agent", "kind"}:
                raise ValueError(f"covers: {cover!r} is none of provider:…, agent:…, kind:…")
        return self


class Spent(Contract):
    """Amounts of an account."""

    nano_usd: int = 0
    tokens: int = 0
    calls: int = 0

    @property
    def usd(self) -> float:
        """Dollars."""
        return self.nano_usd / 10**9


class BudgetState(Contract):
    """A budget as it stands in its present window, by the journal."""

    name: str
    policy: BudgetPolicy
    #: Whose it is, where it is per something.
    subject: str = ""
    #: When its window begins and ends, in seconds since 1970; None: it has none.
    starts_at: float | None = None
    ends_at: float | None = None
    spent: Spent = Spent()
    #: Of calls under way.
    reserved: Spent = Spent()
    #: Of calls whose worker died: nobody knows what they cost. They count until they are released.
    in_doubt: Spent = Spent()
