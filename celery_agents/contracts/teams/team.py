"""Teams: a lead who asks others, and a report of who did what for how much."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from celery_agents.contracts.base import Contract, Name, TrustedJson
from celery_agents.contracts.compensation import Compensated
from celery_agents.contracts.outcome import State, Usage
from celery_agents.contracts.patterns import Pattern
from celery_agents.contracts.schema import AnswerSchema
from celery_agents.contracts.teams.spec import MEMBERS_MAX, AgentSpec, check_team

#: Parts of a report at the most; the others are counted.
PARTS_MAX = 500


class Team(Pattern):
    """Have ``lead`` do a task with those whom it asks, and report.

    The bounds (``max_steps``, ``max_depth``, ``max_width``, ``max_cost``, ``budget`` …) hold for
    all below the lead. ``retry`` is of the lead, ``timeout_s`` of the whole.
    """

    lead: Name
    #: Those whom the lead may ask for this task, beside its own; or the agent that says it: it gets
    #: the task, and answers with a list of names and specs.
    members: Annotated[tuple[AgentSpec, ...], Field(max_length=MEMBERS_MAX)] | Name = ()
    #: The same question to the same agent, of anyone below: answered once, or asked each time.
    repeats: Literal["answer", "ask"] = "answer"
    instructions: str | None = None
    answer_schema: AnswerSchema | None = None
    compensation: Compensated = None

    @model_validator(mode="after")
    def _is_a_team(self) -> Self:
        if not isinstance(self.members, str):
            check_team(self.members)
        return self


class TeamPart(Contract):
    """A turn of an agent, or of a pattern, in a team: what it was asked, and what that cost.

    ``usage`` is its own, without that of those whom it asked. ``depth`` is 0 for the lead. Of one
    that was refused by a bound the error is ``limit``.
    """

    step_id: str
    agent: str
    #: Of one that was made for the task, under a name of its own: the registered agent.
    base: str | None = None
    asked_by: str | None = None
    #: The step that was asked the same before, and whose answer it has.
    same_as: str | None = None
    depth: int = 0
    #: The beginning of what it was asked.
    task: str = ""
    state: State
    error: str | None = None
    usage: Usage = Usage()
    duration_s: float | None = None


class TeamReport(Contract):
    """The answer of a team, who gave it, and who did what for how much, in the order of asking."""

    value: TrustedJson
    agent: str | None = None
    usage: Usage = Usage()
    parts: tuple[TeamPart, ...] = ()
    #: Parts that are not shown.
    left_out: int = Field(default=0, ge=0)

    @property
    def by_agent(self) -> dict[str, Usage]:
        """The usage of each agent, with all of its turns."""
        found: dict[str, Usage] = {}
        for part in self.parts:
            found[part.agent] = found.get(part.agent, Usage()) + part.usage
        return found
