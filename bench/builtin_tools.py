"""Dispatch of the built-in tools with their examples: checked, called, bounded, without a journal.

Those of the web, and those that change files, are left out: they are as fast as what they reach.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median, quantiles

from agents.tools.base import Tool
from agents.tools.calls import ToolCall
from agents.tools.running import Running
from agents.tools.toolbox import Toolbox
from agents.tools.toolset import FunctionToolset
from agents.toolsets.builtin.catalogue import functions
from agents.toolsets.builtin.files.root import Root
from agents.toolsets.builtin.offer import made, offer_of
from celery_agents.contracts.base import JsonValue
from tests.support.memory_step import MemoryStep
from tests.unit.agents.toolsets.builtin.support import fill

CALLS = 400
#: Microseconds of a call on the loop, in a thread, and of the slowest one in a hundred.
LOOP_US, THREAD_US, SLOW_US = 60, 300, 1_000
_CHANGING = {"write_file", "edit_file", "apply_patch", "move_file", "delete_file", "archive_files"}


def main() -> None:
    """Print a table, slowest first: microseconds by the clock and of the processor."""
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder))
        rows = [asyncio.run(_measured(tool, given)) for tool, given in _tools(Path(folder))]
    print(f"{'built-in tool':<22}{'where':<8}{'p50 µs':>10}{'p99 µs':>10}{'CPU p50':>10}")
    within = 0
    for name, where, p50, p99, cpu in sorted(rows, key=lambda row: -row[2]):
        within += p50 <= (LOOP_US if where == "loop" else THREAD_US) and p99 <= SLOW_US
        print(f"{name:<22}{where:<8}{p50:>10.0f}{p99:>10.0f}{cpu:>10.0f}")
    print(f"{within} of {len(rows)} within {LOOP_US} µs on the loop, {THREAD_US} µs in a thread")


def _tools(folder: Path) -> Iterator[tuple[Tool, dict[str, JsonValue]]]:
    for name, function in functions().items():
        home = offer_of(function).home
        if home not in {"", "root"} or name.partition(".")[2] in _CHANGING:
            continue
        yield made(function, {"root": Root(folder)}), dict(offer_of(function).example)


async def _measured(
    tool: Tool, given: dict[str, JsonValue]
) -> tuple[str, str, float, float, float]:
    with ThreadPoolExecutor(1) as executor:
        box = Toolbox(FunctionToolset("bench", tool, executor=executor), list_timeout_s=10)
        call = ToolCall(id="1", name=tool.name, arguments=given)
        took, cpu = [], []
        for n in range(CALLS + CALLS // 10):
            step = MemoryStep()
            running = Running(await box.offered(step), step)
            began, used = time.perf_counter(), time.process_time()
            found = await running.answer([call])
            if n >= CALLS // 10:
                took.append(1e6 * (time.perf_counter() - began))
                cpu.append(1e6 * (time.process_time() - used))
            assert isinstance(found, tuple)
            assert not found[0].failed, found
    where = "loop" if tool.runs_on_loop(given) else "thread"
    return tool.name, where, median(took), quantiles(took, n=100)[98], median(cpu)


if __name__ == "__main__":
    main()
