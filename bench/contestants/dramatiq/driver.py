"""The client of Dramatiq."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench import driver
from bench.contestants.dramatiq import app
from bench.driver import TIMEOUT_S, Task


class Driver(driver.Driver):
    """``send`` and ``get_result``; a chain is its pipeline."""

    def steps(self, task: Task, values: Sequence[int]) -> list[Any]:
        """Send a message to the actor for each value, and read all results."""
        actor = getattr(app, task)
        return _read([actor.send(value) for value in values])

    def chains(self, values: Sequence[int]) -> list[Any]:
        """Run pipelines of three additions."""
        add = app.add.message
        return _read([(add(value) | add() | add()).run() for value in values])

    def enqueue(self, count: int, way: str) -> None:  # noqa: ARG002
        """Send messages to the no-op actor, one by one."""
        for value in range(count):
            app.noop.send(value)


def _read(sent: list[Any]) -> list[Any]:
    return [one.get_result(block=True, timeout=int(1000 * TIMEOUT_S)) for one in sent]
