"""The tasks of bare Celery."""

import os
from collections import Counter

from celery import Celery

from bench.model_client import ask_blocking

app = Celery("bare", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])


@app.task
def noop(value: int) -> int:
    return value


@app.task
def wait(value: int) -> int:
    return ask_blocking(value)


@app.task
def add(value: int) -> int:
    return value + 1


@app.task
def count(values: list[int]) -> int:
    return len(values)


@app.task
def yes(_: str) -> str:
    return "yes"


@app.task
def most(options: list[str]) -> str:
    return Counter(options).most_common(1)[0][0]
