"""Tenants: those who share a service, and how much of it each gets."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from celery_agents.contracts.base import Contract, Name
from celery_agents.contracts.budgets import BudgetNumbers
from celery_agents.contracts.limits import LimitNumbers


class TenantPolicy(Contract):
    """A tenant of agents.toml: ``[tenants.NAME]``. Who is not named there has a weight of 1."""

    #: Where several have work waiting, slots are shared out by it; what one leaves others have.
    weight: Annotated[float, Field(gt=0, le=1000)] = 1.0
    #: Numbers of its own in place of those of a budget or a limit that is per tenant; what is not
    #: given here holds as it does for others.
    budgets: dict[Name, BudgetNumbers] = Field(default_factory=dict)
    limits: dict[Name, LimitNumbers] = Field(default_factory=dict)


class TenantState(Contract):
    """A tenant in a queue, as it stands."""

    #: "" is nobody in particular.
    name: str
    queue: str
    #: Messages that no worker has taken yet. Steps that wait for limits are not among them.
    queued: int = 0
    #: Messages that workers hold: steps under way, and the few that are taken ahead. Of nobody in
    #: particular they are counted while others have messages beside them.
    in_flight: int = 0
    weight: float = 1.0
    #: Seconds since the run of the first one in its lists was asked for; None: its id does not say.
    oldest_s: float | None = None
