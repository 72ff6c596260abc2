"""Calls of all 72 built-in tools with their examples, as an agent's step makes them.

In one process with its journal (SQLite), as a worker has it, without Celery around. A call is
checked, made, bounded, and told; ``bare`` is the tool's function alone with arguments that were
checked before, so that what is left is dispatch. Of each the quietest of some rounds over all tools
is told, so that what else the machine does counts less. Those that wait for files, servers or a
commit of the journal say so: they take what these take. Servers of the web are one on this machine.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from agents.tools.base import CallContext, Tool
from agents.tools.calls import ToolCall
from agents.tools.running import Running
from agents.tools.toolbox import Toolbox
from agents.tools.toolset import FunctionToolset
from agents.toolsets.builtin.catalogue import functions
from agents.toolsets.builtin.files.root import Root
from agents.toolsets.builtin.offer import made, offer_of
from agents.toolsets.builtin.web.requesting import Downloads
from agents.toolsets.builtin.web.searching import Search
from agents.toolsets.entries import SearchEngine
from app.concurrency.garbage import spare_garbage_collection
from app.execution.context import Step
from bench.tools import StepCode, attempt_steps, serving
from celery_agents.contracts.ask import StepOptions
from celery_agents.contracts.base import JsonValue
from tests.unit.agents.toolsets.builtin.site import site
from tests.unit.agents.toolsets.builtin.support import fill, web

#: Calls of a tool that waits for nothing in a round, and of one that waits; a tenth of them before.
CALLS, WAITING_CALLS = 200, 20
ROUNDS = 5
#: Microseconds of a call on the loop, in a thread, and of the slowest one in a hundred.
LOOP_US, THREAD_US, SLOW_US = 60, 300, 1_000


class BuiltinCalls(StepCode):
    """A kind of step whose code calls one tool again and again."""

    def __init__(self, tool: Tool, given: dict[str, JsonValue], before: Callable[[], None]) -> None:
        self._tool, self._given, self._before = tool, given, before
        tools = FunctionToolset("bench", tool)
        self._box = Toolbox(tools, list_timeout_s=10, approve={"*": "never"})
        self.took, self.cpu, self.bare = list[float](), list[float](), list[float]()

    async def run(self, step: Step, request: StepOptions) -> None:  # noqa: ARG002 - there is one
        calls = CALLS if self._tool.effects == "pure" else WAITING_CALLS
        for n in range(-calls // 10, calls):
            took, cpu = await self._called(step)
            if n >= 0:
                self.took.append(took)
                self.cpu.append(cpu)
        # Behind them: each beside its call it would take what that needs to another core.
        for n in range(-calls // 10, calls):
            bare = await self._alone(step)
            if n >= 0:
                self.bare.append(bare)

    async def _called(self, step: Step) -> tuple[float, float]:
        """The microseconds of one call, by the clock and of the processor."""
        self._before()
        running = Running(await self._box.offered(step), step)
        call = ToolCall(id="1", name=self._tool.name, arguments=self._given)
        used, began = time.process_time(), time.perf_counter()
        found = await running.answer([call])
        took = 1e6 * (time.perf_counter() - began), 1e6 * (time.process_time() - used)
        assert isinstance(found, tuple)
        assert not found[0].failed, found
        return took

    async def _alone(self, step: Step) -> float:
        """The microseconds of the function alone."""
        self._before()
        act = self._tool.prepared(self._given, CallContext("key", step))
        began = time.perf_counter()
        found = act()
        if asyncio.iscoroutine(found):
            await found
        return 1e6 * (time.perf_counter() - began)


@dataclass(frozen=True, slots=True)
class Figures:
    """A row of the table."""

    name: str
    #: Where it runs, and what it waits for.
    where: str
    waits: str
    p50: float
    p99: float
    cpu: float
    bare: float

    @property
    def dispatch(self) -> float:
        """The microseconds that are not the function's own."""
        return self.p50 - self.bare


def main() -> None:
    """Print a table, slowest first: microseconds by the clock and of the processor."""
    with tempfile.TemporaryDirectory() as place:
        rows = _rows(Path(place))
    head = ("p50 µs", "p99 µs", "CPU p50", "bare p50", "dispatch")
    print(f"{'built-in tool':<22}{'where':<8}{'waits for':<10}" + "".join(f"{h:>10}" for h in head))
    for row in sorted(rows, key=lambda row: (row.waits, -row.p50)):
        told = (row.p50, row.p99, row.cpu, row.bare, row.dispatch)
        print(f"{row.name:<22}{row.where:<8}{row.waits:<10}" + "".join(f"{t:>10.0f}" for t in told))
    free = [row for row in rows if not row.waits]
    for where, most in (("loop", LOOP_US), ("thread", THREAD_US)):
        here = [row for row in free if row.where == where]
        within = sum(row.p50 <= most for row in here)
        both = sum(row.p50 <= most and row.p99 <= SLOW_US for row in here)
        own = sum(row.dispatch <= most for row in here)
        print(
            f"{where}: {within} of {len(here)} within {most} µs, {both} with p99 below {SLOW_US:,}"
        )
        print(f"  dispatch alone {median(row.dispatch for row in here):.0f}, {own} within {most}")
    print(f"{len(rows) - len(free)} wait for files, servers or the journal")


def _rows(place: Path) -> list[Figures]:
    quietest: dict[str, Figures] = {}
    spare_garbage_collection()
    with serving(f"sqlite:///{place / 'journal.db'}") as runtime:
        every = [*_tools(place / "root")] * ROUNDS
        for number, (tool, given, waits, before) in enumerate(every):
            code = BuiltinCalls(tool, given, before)
            attempt_steps(runtime, code, f"builtin-{number}", 1)
            p99 = quantiles(code.took, n=100)[98]
            where = "loop" if tool.runs_on_loop(given) else "thread"
            figures = (median(code.took), p99, median(code.cpu), median(code.bare))
            found = Figures(tool.name, where, waits, *figures)
            known = quietest.setdefault(tool.name, found)
            if (found.p50, found.p99) < (known.p50, known.p99):
                quietest[tool.name] = found
    return [*quietest.values()]


def _tools(
    folder: Path,
) -> Iterator[tuple[Tool, dict[str, JsonValue], str, Callable[[], None]]]:
    """The tools with their examples, what each waits for, and what makes a call the first one."""
    homes = _homes(folder)

    def fresh() -> None:
        with suppress(FileNotFoundError):
            shutil.rmtree(folder)
        folder.mkdir()
        fill(folder)

    fresh()
    for function in functions().values():
        offered = offer_of(function)
        given = dict(offered.example)
        if offered.home and "url" in given:
            given["url"] = str(given["url"]).replace("https://example.com", site().url)
        tool = made(function, homes)
        waits = {"": "", "root": "files"}.get(offered.home, "server")
        waits = waits or ("" if tool.effects == "pure" else "journal")
        yield tool, given, waits, fresh if offered.home in {"root", "downloads"} else _nothing


def _nothing() -> None:
    """Leave everything as it is."""


def _homes(folder: Path) -> Mapping[str, Any]:
    root, way = Root(folder), web()
    engine = SearchEngine(engine="searxng", url=site().url)
    return {
        "root": root,
        "web": way,
        "downloads": Downloads(way, root),
        "search": Search.of(engine, way),
    }


if __name__ == "__main__":
    main()
