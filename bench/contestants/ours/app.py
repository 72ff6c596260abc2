"""The agents of the bench."""

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
