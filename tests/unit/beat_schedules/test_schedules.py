from __future__ import annotations

import importlib
import pkgutil
from datetime import timedelta
from typing import Any

import pytest
from celery.schedules import schedule as celery_schedule

import beat_schedules
import tasks
from app.factory import create_app
from app.settings import Settings
from beat_schedules import schedule
from celery_agents import names

ENTRIES = schedule(health_s=15, clean_s=3600, count_s=30)
DOMAINS = [m.name for m in pkgutil.iter_modules(beat_schedules.__path__) if m.name != "turns"]


def test_no_key_is_given_twice() -> None:
    """Merged dictionaries would hide it: the later one wins."""
    keys = [
        key
        for domain in DOMAINS
        for key in importlib.import_module(f"beat_schedules.{domain}").schedule(1.0)
    ]
    assert len(keys) == len(set(keys))
    assert set(keys) == set(ENTRIES)


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_entries(entry: dict[str, Any]) -> None:
    every_s = entry["kwargs"]["every_s"]
    assert entry["options"]["expires"] == every_s
    assert entry["options"]["queue"] == names.CONTROL_QUEUE
    assert entry["schedule"] == timedelta(seconds=every_s / 2)


def test_every_task_is_registered_and_takes_what_is_sent() -> None:
    app = create_app(Settings())
    app.finalize()
    assert tasks.__all__
    for entry in app.conf.beat_schedule.values():
        task = app.tasks[entry["task"]]
        task.__header__(**entry["kwargs"])


def test_intervals_are_settings() -> None:
    app = create_app(Settings(health_interval_s=7, clean_interval_s=100, stats_interval_s=40))
    entries = app.conf.beat_schedule
    assert entries["probe-health"]["kwargs"] == {"every_s": 7}
    assert entries["clean-journal"]["kwargs"] == {"every_s": 100}
    assert entries["count-steps"]["kwargs"] == {"every_s": 40}
    assert celery_schedule(entries["probe-health"]["schedule"]).run_every.total_seconds() == 3.5


INTERVALS_S = [getattr(Settings(), f"{name}_interval_s") for name in ("health", "clean", "stats")]


@pytest.mark.parametrize("interval_s", INTERVALS_S)
def test_a_dead_beat_is_replaced_within_a_turn(interval_s: float) -> None:
    assert Settings().beat_lock_s * 7 / 6 + interval_s / 2 < interval_s
