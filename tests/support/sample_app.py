"""A Celery app that is not ours: what "any Celery task of another app" means in the tests.

Started with ``celery -A tests.support.sample_app worker -Q shop``; its broker is ``REDIS_URL``, its
results are where ``SHOP_RESULTS`` says, by default there too.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from celery import Celery
from celery.app.task import Task

from tests.support.gate import is_open


def shop(url: str | None, results: str | None = None) -> Celery:
    """The app on a broker, which keeps its results too, unless told otherwise."""
    made = Celery("shop", broker=url, backend=results or url)
    made.conf.update(
        task_default_queue="shop",
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        broker_connection_retry_on_startup=True,
    )
    return made


app = shop(os.environ.get("REDIS_URL"), os.environ.get("SHOP_RESULTS"))


@app.task(name="shop.add")
def add(x: float, y: float) -> float:
    """The sum."""
    return x + y


@app.task(name="shop.answer")
def answer(text: str) -> str:
    """The text, as an answer."""
    return f"shop says: {text}"


@app.task(name="shop.slow")
def slow(order: dict[str, str | float]) -> str:
    """Takes ``seconds``, waits for the file ``after``, and tells ``path`` that it ran."""
    with Path(str(order["path"])).open("a", encoding="utf-8") as file:
        file.write("ran\n")
    time.sleep(float(order["seconds"]))
    while not is_open(order):
        time.sleep(0.02)
    return "slowly"


@app.task(name="shop.silent", ignore_result=True)
def silent(order: dict[str, str | float]) -> str:
    """Keeps its result nowhere."""
    return slow(order)  # type: ignore[no-any-return]  # as Celery's decorator types it


@app.task(name="shop.later", bind=True, max_retries=1)
def later(self: Task, order: dict[str, str | float]) -> str:
    """Comes again after a while, as its own retry."""
    if not self.request.retries:
        raise self.retry(countdown=4)
    return slow(order)  # type: ignore[no-any-return]  # as Celery's decorator types it
