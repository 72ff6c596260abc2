"""The agents of the workers of ``bench/tenants.py``: it sleeps, and writes down when."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from app.execution.context import Step
from celery_agents import FlowContext, agent, flow

#: Names the file; a line for each step: tenant, its begin and its end.
SLEPT_FILE = "BENCH_SLEPT_FILE"


def _tell(line: str) -> None:
    with Path(os.environ[SLEPT_FILE]).open("a", encoding="utf-8") as file:
        file.write(line)


@agent(effects="pure")
async def sleeps(seconds: float, step: Step) -> None:
    """Sleep for so long."""
    began = time.time()
    await asyncio.sleep(seconds)
    _tell(f"{step.tenant or '-'} {began} {time.time()}\n")


@flow
async def wakes(run: FlowContext, at: float) -> None:
    """Sleep until then."""
    await asyncio.sleep(at - run.now().timestamp())
