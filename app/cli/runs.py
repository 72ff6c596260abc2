"""Runs for commands, which read the journal themselves: no worker need be up."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from redis.exceptions import RedisError
from sqlalchemy import Engine

from app.journal.stores.overview import Overview
from app.journal.stores.statistics import Statistics
from app.maintenance.cluster import with_queues
from app.messaging.intake import Intake
from app.settings import Settings
from celery_agents.contracts.base import id_of
from celery_agents.contracts.watching import (
    Cluster,
    MemberProgress,
    RunFilter,
    RunPage,
    Stats,
    StatsWanted,
)
from celery_agents.noted import note

log = logging.getLogger(__name__)
Tree = dict[str, Any] | None


class JournaledRuns:
    """The runs that ``agents.runs`` of a client finds, from the journal.

    ``placed`` adds to a tree where its steps wait for limits, which Redis knows.
    """

    def __init__(self, engine: Engine, placed: Callable[[Tree], Tree]) -> None:
        self._overview = Overview(engine)
        self._placed = placed

    def list(self, **wanted: Any) -> RunPage:
        """A page of runs."""
        return self._overview.runs(RunFilter.of(wanted))

    def show(self, run_id: str, *, answers: bool = False) -> Tree:
        """A run with all that is told of it; without places in limits while Redis is away."""
        found = self._overview.run(id_of(run_id), answers=answers)
        try:
            return self._placed(found)
        except RedisError as error:
            note(log, "places", "Places in limits are not shown without Redis", error=error)
            return found

    def progress(self, run_id: str) -> MemberProgress | None:
        """How far a run is with its members."""
        return self._overview.progress(id_of(run_id))


class JournaledFigures:
    """The figures of a client's ``stats`` and ``cluster``, from the journal and Redis."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings

    def stats(self, since_s: float, **wanted: Any) -> Stats:
        """Statistics, after what has ended was counted: no beat need be up."""
        asked = StatsWanted.of({"since_s": since_s, **wanted})
        statistics = Statistics(self._engine)
        statistics.count()
        return statistics.within(asked)

    def cluster(self) -> Cluster:
        """The service as a whole; without its queues while Redis is away."""
        found = Overview(self._engine).cluster()
        try:
            return with_queues(found, Intake.connect(self._settings), self._settings.queue)
        except RedisError as error:
            note(log, "queues", "Queues are not shown without Redis", error=error)
            return found
