"""The project's own Celery app, which serves agents too, and its tasks."""

import os

from celery import Celery

from celery_agents.service import install

OWNER = "the project"
celery = install(Celery("shop", broker=os.environ["REDIS_URL"]))


@celery.task(name="shop.note")
def note(text: str) -> str:
    """The text, as a note."""
    return f"noted: {text}"
