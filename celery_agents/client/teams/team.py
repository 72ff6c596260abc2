"""``agents.team(lead, task)``: a lead who asks others, and a report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from celery import Signature
from typing_extensions import Unpack

from celery_agents.client.options import Fields, GivenCompensation, JsonSchema, RunOptions
from celery_agents.client.run import Run
from celery_agents.client.verb import Verb
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.teams.spec import AgentSpec
from celery_agents.contracts.teams.team import TeamReport

#: Names of agents and specs; or the agent that says it.
Members = Sequence[str | AgentSpec | Fields] | str | None


class TeamOptions(RunOptions, total=False):
    """Options of ``team``; see :class:`Team`."""

    members: Members
    repeats: Literal["answer", "ask"] | None
    instructions: str | None
    answer_schema: JsonSchema | None
    compensation: GivenCompensation | None


class TeamRun(Run[TeamReport]):
    """A team's work: its value is a :class:`TeamReport`."""

    def read(self, value: JsonValue) -> TeamReport:
        return TeamReport.model_validate(value)


class TeamVerb(Verb[TeamRun]):
    """Has teams work, and tells who did what for how much."""

    def __call__(self, lead: str, task: JsonValue, **options: Unpack[TeamOptions]) -> TeamRun:
        """Have an agent do a task with those whom it may ask, or hand over to.

        The bounds of the options (``max_steps``, ``max_depth``, ``max_cost`` …) hold for all.
        """
        return self._enqueue(task, {**options, "lead": lead})

    def many(
        self, lead: str, tasks: Iterable[JsonValue], **options: Unpack[TeamOptions]
    ) -> list[TeamRun]:
        """Give the same lead many tasks, a run each."""
        return self._enqueue_many(tasks, {**options, "lead": lead})

    async def aio(self, lead: str, task: JsonValue, **options: Unpack[TeamOptions]) -> TeamRun:
        """As the call, without blocking the running event loop."""
        return await self._enqueue_async(task, {**options, "lead": lead})

    async def aio_many(
        self, lead: str, tasks: Iterable[JsonValue], **options: Unpack[TeamOptions]
    ) -> list[TeamRun]:
        """As ``many``, without blocking the running event loop."""
        return await self._enqueue_many_async(tasks, {**options, "lead": lead})

    def s(self, lead: str, *task: JsonValue, **options: Unpack[TeamOptions]) -> Signature:
        """A signature; in a chain the previous result is the task."""
        return self._signature(task, {**options, "lead": lead})
