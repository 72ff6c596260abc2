"""Bodies of requests: the contracts of the client's verbs, with the name of the verb."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from celery_agents import names
from celery_agents.contracts.ask import Ask, StepOptions
from celery_agents.contracts.base import Contract, JsonValue, Tenant, Whole
from celery_agents.contracts.flows.flow import Flow
from celery_agents.contracts.gather import Gather
from celery_agents.contracts.mapping import Map
from celery_agents.contracts.patterns import Fallback, Vote
from celery_agents.contracts.teams.solve import Solve
from celery_agents.contracts.teams.team import Team
from celery_agents.wire.messages import PRIORITY

#: Fields that are no options of the step.
_OWN = {"input", "task", "priority", "tenant"}


class _Posted(Contract):
    #: 0 is first, 9 is last.
    priority: Annotated[int, Field(ge=0, le=9), Whole] = PRIORITY
    #: Whose run it is: for those who may see all tenants.
    tenant: Tenant | None = None


class AskBody(_Posted, Ask):
    """Ask one agent."""

    task: Literal["ask"]


class FallbackBody(_Posted, Fallback):
    """Ask one agent after the other."""

    task: Literal["fallback"]


class VoteBody(_Posted, Vote):
    """Have several agents vote."""

    task: Literal["vote"]


class GatherBody(_Posted, Gather):
    """Make one value of several agents' answers."""

    task: Literal["gather"]


class MapBody(_Posted, Map):
    """Ask an agent, several, or a panel about each of many inputs."""

    task: Literal["map"]


class SolveBody(_Posted, Solve):
    """Have a task done by one of several strategies."""

    task: Literal["solve"]


class TeamBody(_Posted, Team):
    """Have a lead do a task with others, and report."""

    task: Literal["team"]


class FlowBody(_Posted, Flow):
    """Start a flow."""

    task: Literal["start"]


TaskBody = Annotated[
    AskBody | FallbackBody | VoteBody | GatherBody | MapBody | SolveBody | TeamBody | FlowBody,
    Field(discriminator="task"),
]
TASKS = {
    "ask": names.ASK,
    "fallback": names.FALLBACK,
    "vote": names.VOTE,
    "gather": names.GATHER,
    "map": names.MAP,
    "solve": names.SOLVE,
    "team": names.TEAM,
    "start": names.FLOW,
}


def options_of(body: StepOptions) -> dict[str, Any]:
    """The options of a message, without those at their defaults."""
    return body.model_dump(mode="json", exclude=_OWN, exclude_defaults=True)


class ChoiceBody(Contract):
    """An answer to something that waits for a person."""

    #: An option of a vote; or true, false, a reason why not, or ``{"arguments": {…}}`` for a tool.
    choice: JsonValue
    #: Of the wish, as ``GET /waiting`` has it; without one, of the oldest vote of the run.
    key: Annotated[str, Field(min_length=1, max_length=155)] | None = None
