"""A Celery app that is not ours: what "any Celery task of another app" means in the tests.

Started with ``celery -A tests.support.sample_app worker -Q shop``; its broker is ``REDIS_URL``.
"""

from __future__ import annotations

import os

from celery import Celery


def shop(url: str | None) -> Celery:
    """The app on a broker, which keeps its results too."""
    made = Celery("shop", broker=url, backend=url)
    made.conf.update(
        task_default_queue="shop",
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        broker_connection_retry_on_startup=True,
    )
    return made


app = shop(os.environ.get("REDIS_URL"))


@app.task(name="shop.add")
def add(x: float, y: float) -> float:
    """The sum."""
    return x + y


@app.task(name="shop.answer")
def answer(text: str) -> str:
    """The text, as an answer."""
    return f"shop says: {text}"
