"""The agent that does nothing."""

from celery_agents import agent


@agent(effects="pure")
def noop(value: int) -> int:
    return value
