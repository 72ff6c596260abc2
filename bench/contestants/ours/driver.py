"""The client of celery-agents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench import driver
from bench.driver import TIMEOUT_S, Task
from celery_agents import Client


class Driver(driver.Driver):
    """Everything through :class:`celery_agents.Client`, as an app would."""

    def __init__(self) -> None:
        self.client = Client()

    def steps(self, task: Task, values: Sequence[int]) -> list[Any]:
        return [run.get(timeout=TIMEOUT_S) for run in self.client.ask.many(task, values)]

    def step(self, value: int) -> Any:
        return self.client.ask("noop", value).get(timeout=TIMEOUT_S)

    def close(self) -> None:
        self.client.close()
