"""Celery apps of somebody else that serve agents too, as plain Celery and as Django configure one.

Started with ``celery -A tests.support.embedded:plain worker``; their broker is ``REDIS_URL``.
"""

from __future__ import annotations

import os
from types import SimpleNamespace

from celery import Celery, shared_task

from celery_agents.service import install

url = os.environ.get("REDIS_URL")

#: What Django has as ``django.conf:settings``.
settings = SimpleNamespace(
    CELERY_BROKER_URL=url,
    CELERY_TASK_DEFAULT_QUEUE="shop",
    CELERY_TASK_ROUTES={"shop.count": {"queue": "counts"}},
    CELERY_TASK_QUEUES={"shop": {}, "counts": {}},
)


@shared_task(name="shop.note")
def note(text: str) -> str:
    """The text, as a note."""
    return f"noted: {text}"


@shared_task(name="shop.count")
def count(texts: list[str]) -> int:
    """How many there are."""
    return len(texts)


def _plain() -> Celery:
    """Configured by arguments; its results are beside its queues."""
    app = Celery("shop", broker=url, backend=url)
    app.conf.task_default_queue = "shop"
    return install(app)


def _django() -> Celery:
    """Configured from an object with a namespace; without a result backend of its own."""
    app = Celery("shop")
    app.config_from_object("tests.support.embedded:settings", namespace="CELERY")
    return install(app)


def __getattr__(name: str) -> Celery:
    if name not in {"plain", "django"}:
        raise AttributeError(name)
    made = globals()[name] = _plain() if name == "plain" else _django()
    return made
