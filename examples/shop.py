"""A Celery app that is not ours, on the same broker: its tasks are steps of a canvas, or agents.

celery -A examples.shop worker -Q shop
"""

from __future__ import annotations

import os

from celery import Celery

URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
app = Celery("shop", broker=URL, backend=URL)
app.conf.update(
    task_default_queue="shop",
    broker_connection_retry_on_startup=True,
)


@app.task(name="shop.file")
def file(value: object) -> str:
    """Files what it is given; a decision comes as its JSON object."""
    topic = value["option"] if isinstance(value, dict) else value
    return f"filed under {topic}"
