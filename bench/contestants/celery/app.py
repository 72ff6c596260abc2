"""The tasks of bare Celery."""

import os
from collections import Counter

from celery import Celery

from bench.model_client import ask_blocking

app = Celery("bare", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])


@app.task
def noop(value: int) -> int:
    """Return the value."""
    return value


@app.task
def wait(value: int) -> int:
    """Ask the model server, which echoes the value after 200 ms."""
    return ask_blocking(value)


@app.task
def add(value: int) -> int:
    """Add one."""
    return value + 1


@app.task
def count(values: list[int]) -> int:
    """Count the results of the members."""
    return len(values)


@app.task
def yes(_: str) -> str:
    """Vote "yes"."""
    return "yes"


@app.task
def most(options: list[str]) -> str:
    """Return the option with the most votes."""
    return Counter(options).most_common(1)[0][0]
