"""The client of celery-agents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celery import chain, chord

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

    def chains(self, values: Sequence[int]) -> list[Any]:
        ask = self.client.ask.s
        runs = [chain(ask("add", value), ask("add"), ask("add")) for value in values]
        ends = [run.freeze() for run in runs]
        self.client.publish(runs)
        return [end.get(timeout=TIMEOUT_S) for end in ends]

    def fan_out(self, members: int, way: str) -> int:
        if way == "gather":
            voters = [{"agent": "noop", "samples": members}]
            gathered = self.client.gather(voters, 1, how="mean").get(timeout=TIMEOUT_S)
            return len(gathered.used)
        ask = self.client.ask.s
        header = [ask("noop", value) for value in range(members)]
        run = chord(header, app=self.client.celery)(ask("count"))
        return int(run.get(timeout=TIMEOUT_S))

    def votes(self, count: int) -> list[Any]:
        voters = [{"agent": "yes", "samples": 5}]
        runs = self.client.vote.many(voters, ["?"] * count, stop="none")
        return [run.get(timeout=TIMEOUT_S).option for run in runs]

    def enqueue(self, count: int, way: str) -> None:
        if way == "ask.many":
            self.client.ask.many("noop", range(count))
            return
        for value in range(count):
            self.client.ask("noop", value)

    def close(self) -> None:
        self.client.close()
