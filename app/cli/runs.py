"""Runs for commands, which read the journal themselves: no worker need be up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from redis.exceptions import RedisError
from sqlalchemy import Engine

from app.journal.stores.overview import Overview
from celery_agents.contracts.base import id_of
from celery_agents.contracts.watching import Progress, RunFilter, RunPage

Tree = dict[str, Any] | None


class JournaledRuns:
    """What ``agents.runs`` of a client finds, from the journal.

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
        except RedisError:
            return found

    def progress(self, run_id: str) -> Progress | None:
        """How far a run is with its members."""
        return self._overview.progress(id_of(run_id))
