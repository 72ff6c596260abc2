"""The tasks of bare Celery."""

import os

from celery import Celery

from bench.model_client import ask_blocking

app = Celery("bare", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])


@app.task
def noop(value: int) -> int:
    return value


@app.task
def wait(value: int) -> int:
    return ask_blocking(value)
