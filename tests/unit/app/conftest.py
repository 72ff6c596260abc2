"""An app of ours in this process: its journal in a file, its broker in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import Celery, current_app
from sqlalchemy import update

from app.execution.runtime import Runtime, close_runtime, runtime_of
from app.factory import create_app
from app.journal.schema.engine import now
from app.journal.schema.models import Worker
from app.settings import Settings


@pytest.fixture
def settings(sqlite_journal_url: str) -> Settings:
    return Settings.model_validate(
        {
            "redis_url": "redis://127.0.0.1:1/0",  # nobody is there
            "database_url": sqlite_journal_url,
            "heartbeat_interval_s": 600,
        }
    )


@pytest.fixture
def app(settings: Settings) -> Iterator[Celery]:
    before = current_app._get_current_object()
    made = create_app(settings)
    made.conf.update(
        broker_url="memory://",
        broker_transport=None,
        broker_transport_options={},
        result_backend="cache+memory://",
        include=[],
    )
    yield made
    close_runtime(made)
    before.set_default()


@pytest.fixture
def runtime(app: Celery) -> Runtime:
    """A worker whose lease lasts: nobody renews it here, and a busy machine may take minutes."""
    made = runtime_of(app, "worker@here")
    lasts = update(Worker).values(lease_until=now() + 3600)
    made.journal.transaction(lambda c: c.execute(lasts))
    return made
