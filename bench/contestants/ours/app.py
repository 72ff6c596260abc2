"""The agents of the bench."""

from bench.model_client import ask
from celery_agents import agent


@agent(effects="pure")
async def noop(value: int) -> int:
    return value


@agent
async def wait(value: int) -> int:
    return await ask(value)
