from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, current_app

from app.execution.runtime import close_runtime
from app.factory import create_app
from app.settings import Settings
from celery_agents import names
from celery_agents.errors import InvalidPayloadError

CONFIG = '[memory.c]\nspace = "c/{customer}"\ncapacity_tokens = 1000\n'
ANN = {"customer": "ann"}


@pytest.fixture
def app(sqlite_journal_url: str, redis_url: str, tmp_path: Path) -> Iterator[Celery]:
    before = current_app._get_current_object()
    config = tmp_path / "agents.toml"
    config.write_text(CONFIG)
    values = {"redis_url": redis_url, "database_url": sqlite_journal_url, "config": config}
    made = create_app(Settings.model_validate({**values, "heartbeat_interval_s": 600}))
    made.finalize()
    yield made
    close_runtime(made)
    before.set_default()


def call(app: Celery, name: str, *args: Any, request: str = "", **kwargs: Any) -> Any:
    """Run a task as a worker does that received its message."""
    task = app.tasks[name]
    given = request or "00000000-0000-4000-8000-000000000001"
    task.push_request(id=given, called_directly=False, hostname="worker@here")
    try:
        return task(*args, **kwargs)
    finally:
        task.pop_request()


def test_a_message_that_comes_twice_is_done_once(app: Celery) -> None:
    told = {"name": "c", "texts": ["Ann wears 43.", "Ann sings."]}
    ids = call(app, names.REMEMBER, told, ANN)
    assert call(app, names.REMEMBER, told, ANN) == ids
    (found,) = call(app, names.RECALL, "c", "sing", ANN)
    assert (found["id"], found["text"]) == (ids[1], "Ann sings.")
    assert call(app, names.RECALL, "c", "sing", ANN, tenant="t") == []
    page = call(app, names.MEMORIES, "c", ANN)
    assert ([m["id"] for m in page["memories"]], page["more"]) == (ids, None)
    assert call(app, names.ERASE, "c", {"customer": "bob"}, ids) == 0
    assert call(app, names.ERASE, "c", ANN, ids[:1]) == 1
    assert call(app, names.ERASE, "c", ANN) == 1


@pytest.mark.parametrize(
    ("task", "args", "told"),
    [
        (names.RECALL, ("d", "x", ANN), r"no \[memory.d\]"),
        (names.RECALL, ("c", "x"), "'customer'"),
        (names.RECALL, ("c", "", ANN), "question"),
        (names.REMEMBER, ({"name": "c", "texts": ["x"]}, {"customer": "a/b"}), "scope"),
        (names.REMEMBER, ({"name": "c", "texts": ["word " * 3_000]}, ANN), "capacity_tokens"),
        (names.MEMORIES, ("c", ANN, "x"), "after"),
        (names.ERASE, ("c", ANN, "all"), "ids"),
    ],
)
def test_what_is_wrong_is_refused(app: Celery, task: str, args: Any, told: str) -> None:
    with pytest.raises(InvalidPayloadError, match=told):
        call(app, task, *args)
