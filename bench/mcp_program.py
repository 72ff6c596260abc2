"""An MCP server's program under many calls: ``python -m bench.mcp_program COMMAND …``.

For ``@modelcontextprotocol/server-everything``, which is no part of this project (``npm install``
it; ``node …/dist/index.js stdio``). 1,000 calls, the program killed in a call, and 100 connections
cancelled as they are made; prints what is left of tasks, threads, processes and descriptors.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import statistics
import threading
import time
from typing import Any

import psutil

from agents.tools.calls import ToolError
from tests.support.mcp_servers import call, names, toolset

CALLS, AT_ONCE, CONNECTS = 1_000, 10, 100
#: A tool that answers at once, and one that takes a while.
_QUICK: tuple[str, dict[str, Any]] = ("echo", {"message": "hello"})
_SLOW: tuple[str, dict[str, Any]] = ("trigger-long-running-operation", {"duration": 30, "steps": 3})


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", nargs="+")
    asyncio.run(_measured(parser.parse_args().command))


async def _measured(command: list[str]) -> None:
    desk = toolset(command=command, connect_timeout_s=60.0)
    print(f"{len(await names(desk))} tools")
    await _call(desk, _QUICK)
    before = _held()
    took = []
    for _ in range(CALLS // AT_ONCE):
        took += await asyncio.gather(*(_call(desk, _QUICK) for _ in range(AT_ONCE)))
    print(f"{CALLS:,} calls, {AT_ONCE} at once: p50 {1000 * statistics.median(took):.1f} ms")
    print(f"  before {before}, after {await _settled(before)}")
    await _killed(desk)
    await desk.aclose()
    before = (0, *_held()[1:])
    for number in range(CONNECTS):
        one = toolset(command=command, connect_timeout_s=60.0)
        asking = asyncio.create_task(_call(one, _QUICK))
        await asyncio.sleep(0.01 * number)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await one.aclose()
    print(f"{CONNECTS} connections cancelled: before {before}, after {await _settled(before)}")


async def _killed(desk: Any) -> None:
    """Kill the program in the middle of a call."""
    asking = asyncio.create_task(_call(desk, _SLOW))
    await asyncio.sleep(1)
    for pid in _programs():
        os.kill(pid, signal.SIGKILL)
    began = time.perf_counter()
    (error,) = await asyncio.gather(asking, return_exceptions=True)
    assert isinstance(error, ToolError), error
    print(f"killed in a call: an error after {time.perf_counter() - began:.2f} s ({error})")
    print(f"  the next call works, after {await _call(desk, _QUICK):.2f} s")


async def _call(desk: Any, tool: tuple[str, dict[str, Any]]) -> float:
    began = time.perf_counter()
    await call(desk, tool[0], **tool[1])
    return time.perf_counter() - began


def _programs() -> list[int]:
    return [child.pid for child in psutil.Process().children(recursive=True)]


def _held() -> tuple[int, ...]:
    """Processes, threads, descriptors and tasks, without the loop's own threads."""
    threads = [t for t in threading.enumerate() if not t.name.startswith("asyncio_")]
    own = psutil.Process()
    return len(_programs()), len(threads), own.num_fds(), len(asyncio.all_tasks())


async def _settled(before: tuple[int, ...]) -> tuple[int, ...]:
    for _ in range(500):
        if _held() == before:
            break
        await asyncio.sleep(0.02)
    return _held()


if __name__ == "__main__":
    main()
