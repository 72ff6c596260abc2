"""``agents.solve(task, strategies)``: one of several ways to ask, as was learned."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from celery import Signature
from typing_extensions import Unpack

from celery_agents import names
from celery_agents.client.connection import Connection
from celery_agents.client.control import Control
from celery_agents.client.options import Fields, RunOptions
from celery_agents.client.run import Reader, Run
from celery_agents.client.verb import Verb
from celery_agents.contracts.ask import Ask
from celery_agents.contracts.base import JsonValue, id_of, name_of
from celery_agents.contracts.fallback import Adaptive
from celery_agents.contracts.gather import Gather
from celery_agents.contracts.patterns import Fallback, Vote
from celery_agents.contracts.teams.solve import (
    Solution,
    Solve,
    Strategy,
    WorkLessons,
    score_of,
)
from celery_agents.wire.messages import Message

GivenStrategies: TypeAlias = Sequence[str | Strategy | Ask | Fallback | Vote | Gather | Fields]


class SolveOptions(RunOptions, total=False):
    """Options of ``solve``; see :class:`Solve`."""

    work: str | None
    select: str | None
    tries: int | None
    adaptive: Adaptive | Fields | None
    seed: str | None


class SolveRun(Run[Solution]):
    """A task to be solved: its value is a :class:`Solution`."""

    control: Control

    def read(self, value: JsonValue) -> Solution:
        return Solution.model_validate(value)

    def feedback(self, score: float, *, timeout: float = 10.0) -> None:
        """Tell what the answer was worth, from 0 to 1: it counts in place of its success.

        The last score of a run counts. A worker takes it into what was learned.

        Raises:
            InvalidPayloadError: the score is none, or the run has not succeeded (yet).
        """
        worth = score_of(score)
        self.control.ask(names.FEEDBACK, self.id, worth, recorded=True).get(timeout=timeout)


class SolveVerb(Verb[SolveRun]):
    """Has tasks done by whichever strategy serves best, and shows what was learned of them."""

    def __init__(self, connection: Connection, control: Control, reader: Reader) -> None:
        super().__init__(connection, reader, names.SOLVE, Solve, SolveRun)
        self._control = control

    def __call__(
        self, task: JsonValue, strategies: GivenStrategies, **options: Unpack[SolveOptions]
    ) -> SolveRun:
        """Have a task done by one of ``strategies``: agents' names, or payloads of verbs.

        ``Ask``, ``Fallback``, ``Vote`` and ``Gather`` are such payloads. ``work`` names the sort of
        task, for which it is learned apart who serves; ``select`` is an agent that chooses.
        """
        return self._enqueue(task, {**options, "strategies": strategies})

    def many(
        self,
        tasks: Iterable[JsonValue],
        strategies: GivenStrategies,
        **options: Unpack[SolveOptions],
    ) -> list[SolveRun]:
        """Have many tasks done, each by one of the same strategies."""
        return self._enqueue_many(tasks, {**options, "strategies": strategies})

    async def aio(
        self, task: JsonValue, strategies: GivenStrategies, **options: Unpack[SolveOptions]
    ) -> SolveRun:
        """As the call, without blocking the running event loop."""
        return await self._enqueue_async(task, {**options, "strategies": strategies})

    async def aio_many(
        self,
        tasks: Iterable[JsonValue],
        strategies: GivenStrategies,
        **options: Unpack[SolveOptions],
    ) -> list[SolveRun]:
        """As ``many``, without blocking the running event loop."""
        return await self._enqueue_many_async(tasks, {**options, "strategies": strategies})

    def s(
        self, strategies: GivenStrategies, *task: JsonValue, **options: Unpack[SolveOptions]
    ) -> Signature:
        """A signature; in a chain the previous result is the task."""
        return self._signature(task, {**options, "strategies": strategies})

    def handle(self, run_id: str) -> SolveRun:
        """The handle of a task that was given before. Nothing is looked up."""
        return self._made(SolveRun(self._reader, id_of(run_id)))

    def learned(self, work: str | None = None, *, timeout: float = 10.0) -> list[WorkLessons]:
        """List what was learned for a sort of work, or for all, the last that changed first.

        Of adaptive fallbacks too. A worker reads it.
        """
        of = None if work is None else name_of(work, "work")
        found = self._control.ask(names.LEARNED, of).get(timeout=timeout)
        return [WorkLessons.model_validate(one) for one in found]

    def _runs(self, messages: Iterable[Message], answer: Any) -> list[SolveRun]:
        return [self._made(run) for run in super()._runs(messages, answer)]

    def _made(self, run: SolveRun) -> SolveRun:
        run.control = self._control
        return run
