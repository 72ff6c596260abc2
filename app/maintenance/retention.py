"""Cleaning up, for beat's task and for the command: the journal, and what Redis does not forget.

Results, breakers and locks in Redis have a lifetime of their own; the intake has none.
"""

from __future__ import annotations

import logging
from collections import Counter

from redis.exceptions import RedisError
from sqlalchemy import Engine

from app.journal.retention.cleanup import Retention, clean_journal
from app.journal.stores.archive import Archive
from app.messaging.intake import Intake
from app.settings import Settings
from celery_agents.noted import note

log = logging.getLogger(__name__)

#: Much longer than a record and its time can be apart.
INTAKE_AGE_S = 3600.0
_INTAKE_BATCH = 1000


def retention_of(settings: Settings) -> Retention:
    """Return how long the settings keep things."""
    return Retention(
        settings.keep_days,
        settings.keep_failed_days,
        settings.keep_dead_letters_days,
        settings.keep_audit_days,
    )


def clean_all(engine: Engine, intake: Intake, settings: Settings) -> Counter[str]:
    """Delete what is over; rows by table, and ``intake`` for times without a record."""
    gone = clean_journal(
        engine,
        retention_of(settings),
        batch=settings.clean_batch,
        lock_s=settings.clean_lock_s,
    )
    try:
        if times := _times_alone(intake):
            intake.forget(times)
            gone["intake"] = len(times)
    except RedisError as error:
        note(log, "intake_clean", "The intake was not cleaned", error=error)
    if gone:
        log.info("Cleaned up: %s", dict(gone))
    return gone


def would_clean(engine: Engine, intake: Intake, settings: Settings) -> Counter[str]:
    """Count the rows and records that :func:`clean_all` would delete now."""
    found = Archive(engine).what_would_go(retention_of(settings))
    if times := _times_alone(intake):
        found["intake"] = len(times)
    return found


def _times_alone(intake: Intake) -> list[str]:
    """Old intake times whose record is gone: they would be looked at at each recovery."""
    ids = intake.older_than(INTAKE_AGE_S, _INTAKE_BATCH)
    return intake.without_record(ids) if ids else []
