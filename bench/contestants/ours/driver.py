"""The client of celery-agents."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import redis
from celery import Signature, chain, chord

from app.messaging.intake import Intake
from bench import driver
from bench.contestants.ours.rows import fill
from bench.driver import TIMEOUT_S, Panel, Task
from bench.samples import SAMPLES
from celery_agents import Client

#: Steps of each kind that are done before their rows are copied.
_REAL = 100
_SENT_AT_ONCE = 5_000
#: Some thousand steps, of which each waits for others.
_PANELS_S = 4 * TIMEOUT_S


class Driver(driver.Driver):
    """Everything through :class:`celery_agents.Client`, as an app would."""

    def __init__(self) -> None:
        self.client = Client()
        self._intake = Intake(redis.Redis.from_url(os.environ["REDIS_URL"]))

    def steps(self, task: Task, values: Sequence[int]) -> list[Any]:
        """Ask the agent about each value by ``ask.many``, and collect all values."""
        return self.client.runs.collect(self.client.ask.many(task, values), timeout=TIMEOUT_S)

    def step(self, value: int) -> Any:
        """Ask the no-op agent once."""
        return self.client.ask("noop", value).get(timeout=TIMEOUT_S)

    def chains(self, values: Sequence[int]) -> list[Any]:
        """Publish canvases of three additions, and collect the last values."""
        ask, ends = self.client.ask.s, []

        def runs() -> Iterator[Signature]:
            for value in values:
                run = chain(ask("add", value), ask("add"), ask("add"))
                ends.append(self.client.runs.handle(run.freeze().id))
                yield run

        self.client.publish(runs())
        return self.client.runs.collect(ends, timeout=TIMEOUT_S)

    def flow(self, steps: int) -> int:
        """Start a flow that asks the adding agent in a row."""
        return int(self.client.start("sequence", steps).get(timeout=_PANELS_S))

    def fan_out(self, members: int, way: str) -> int:
        """Run a map over no-ops, or a chord of them whose body counts them."""
        if way == "map":
            return int(self.client.map("noop", range(members)).get(timeout=TIMEOUT_S).succeeded)
        ask = self.client.ask.s
        header = [ask("noop", value) for value in range(members)]
        run_id = chord(header, app=self.client.celery)(ask("count")).id  # as in Celery's driver
        return int(self.client.runs.handle(run_id).get(timeout=TIMEOUT_S))

    def votes(self, count: int) -> list[Any]:
        """Put questions to five samples of one agent by ``vote.many``."""
        voters = [{"agent": "yes", "samples": 5}]
        runs = self.client.vote.many(voters, ["?"] * count, stop="none")
        return [vote.option for vote in self.client.runs.collect(runs, timeout=TIMEOUT_S)]

    def panels(self, questions: Sequence[list[Any]], waves: int | None) -> list[Panel]:
        """Give each of forty agents its answer along, by ``vote.many``."""
        voters = [f"sample{number}" for number in range(SAMPLES)]
        runs = self.client.vote.many(
            voters, questions, rule="plurality", stop="adaptive_consistency", waves=waves
        )
        votes = self.client.runs.collect(runs, timeout=_PANELS_S)
        return [Panel(vote.option, vote.samples_used, vote.waves) for vote in votes]

    def enqueue(self, count: int, way: str) -> None:
        """Send no-ops by ``ask.many``, or one by one."""
        if way == "ask.many":
            self.client.ask.many("noop", range(count))
            return
        for value in range(count):
            self.client.ask("noop", value)

    def recovery(self) -> float:
        """Kill the process that runs the step, and return the seconds until it runs again."""
        record = Path(os.environ["BENCH_DIRECTORY"]) / "runs"
        run = self.client.ask("first_hangs", str(record))
        first = _line(record, 1)
        began = time.monotonic()
        os.kill(int(first), signal.SIGKILL)
        if _line(record, 2) == first:
            raise RuntimeError("The step ran again in the process that was killed.")
        seconds = time.monotonic() - began
        run.get(timeout=TIMEOUT_S)
        return seconds

    def grow(self, rows: int) -> None:
        """Run some steps and votes, and copy their rows until there are enough."""
        if rows:
            self.steps("wait", range(_REAL))
            self.votes(_REAL // 5)
            fill(os.environ["DATABASE_URL"], rows)

    def enqueue_many(self, count: int) -> None:
        """Send no-ops by ``ask.many``, a bounded number at a time."""
        for start in range(0, count, _SENT_AT_ONCE):
            self.enqueue(min(_SENT_AT_ONCE, count - start), "ask.many")

    def urgent(self, value: int) -> Any:
        """Ask the no-op agent at the highest priority."""
        return self.client.ask("noop", value, priority=0).get(timeout=TIMEOUT_S)

    def depth(self) -> int:
        """Count the messages in the queue."""
        return self._intake.depth(self.client.queue)

    def close(self) -> None:
        """Close the client."""
        self.client.close()


def _line(record: Path, number: int) -> str:
    """The line of that number, once it is there; the bench bounds the wait."""
    while True:
        lines = record.read_text().splitlines() if record.exists() else []
        if len(lines) >= number:
            return lines[number - 1]
        time.sleep(0.005)
