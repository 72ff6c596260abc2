"""The agents of the bench."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench.model_client import ask
from bench.samples import SAMPLES
from celery_agents import FlowContext, agent, flow


@agent
async def noop(value: int) -> int:
    """Return the value."""
    return value


@agent
async def wait(value: int) -> int:
    """Ask the model server, which echoes the value after 200 ms."""
    return await ask(value)


@agent
async def add(value: int) -> int:
    """Add one."""
    return value + 1


@agent(effects="pure")
async def next_of(value: int) -> int:
    """Add one, and say that this is all it does."""
    return value + 1


@flow
async def sequence(run: FlowContext, steps: int) -> int:
    """Add one, so many times."""
    value = 0
    for _ in range(steps):
        value = await run.ask("next_of", value)
    return value


@agent
async def count(values: list[int]) -> int:
    """Count the answers of the members."""
    return len(values)


@agent
async def yes(_: str) -> str:
    """Vote "yes"."""
    return "yes"


def _sample(number: int) -> Callable[[list[str]], Awaitable[str]]:
    @agent(name=f"sample{number}", description=f"Give answer {number} of those in the question.")
    async def sample(answers: list[str]) -> str:
        return answers[number]

    return sample


globals().update({f"sample{number}": _sample(number) for number in range(SAMPLES)})


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
