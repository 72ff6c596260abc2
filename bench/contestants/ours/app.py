"""The agents of the bench."""

import asyncio
import os
from pathlib import Path

from bench.model_client import ask
from celery_agents import agent


@agent(effects="pure")
async def noop(value: int) -> int:
    return value


@agent
async def wait(value: int) -> int:
    return await ask(value)


@agent(effects="pure")
async def add(value: int) -> int:
    return value + 1


@agent(effects="pure")
async def count(values: list[int]) -> int:
    return len(values)


@agent(effects="pure")
async def yes(_: str) -> str:
    return "yes"


@agent
async def first_hangs(record: str) -> None:
    """Leaves the number of its process; who comes first then waits for its end."""
    if _note(Path(record)) == 1:
        await asyncio.sleep(3600)


def _note(record: Path) -> int:
    """Add a line with this process's number; how many there are then."""
    with record.open("a+") as file:
        file.write(f"{os.getpid()}\n")
        file.seek(0)
        return len(file.readlines())
