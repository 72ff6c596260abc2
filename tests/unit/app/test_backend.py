"""The result backend where Redis lets it down, and whose chords it counts."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from celery.app.task import Context
from celery.backends.redis import RedisBackend
from celery.exceptions import BackendStoreError
from redis.exceptions import OutOfMemoryError

from app.backend import JournalBackend
from celery_agents import names


@pytest.fixture
def backend() -> JournalBackend:
    app = Celery("t", broker="memory://", set_as_current=False)
    return JournalBackend(app=app, url="redis://127.0.0.1:1/0")


@pytest.mark.parametrize("error", [OutOfMemoryError("full"), BackendStoreError("no")])
def test_a_result_that_cannot_be_stored_is_left_to_recovery(
    backend: JournalBackend, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(RedisBackend, "store_result", refuse)
    request = Context({"id": "s"})
    assert backend.store_result("s", 5, "SUCCESS", request=request) == 5
    assert request.agents_unstored is True
    assert backend.store_result("s", 5, "SUCCESS") == 5


@pytest.mark.parametrize(
    ("body", "counted"),
    [
        ({"options": {"headers": {names.JOURNALED: 1}}}, False),
        ({"options": {"headers": None}}, True),
        ({"options": {}}, True),
        ({}, True),
    ],
)
def test_celery_counts_the_chords_that_have_no_join(
    backend: JournalBackend, monkeypatch: pytest.MonkeyPatch, body: dict[str, Any], counted: bool
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(RedisBackend, "apply_chord", lambda *_, **__: seen.append("apply"))
    monkeypatch.setattr(RedisBackend, "on_chord_part_return", lambda *_, **__: seen.append("part"))
    backend.apply_chord(None, body)
    backend.on_chord_part_return(Context({"chord": body}), "SUCCESS", 1)
    assert seen == (["apply", "part"] if counted else [])


def test_the_outcome_stands_beside_the_result(backend: JournalBackend) -> None:
    request = Context({"id": "s"})
    request.agents_outcome = {"state": "succeeded", "value": 5, "attempts": 2}
    meta = backend._get_result_meta(5, "SUCCESS", None, request)
    assert meta["outcome"] == {"state": "succeeded", "attempts": 2}
    assert "outcome" not in backend._get_result_meta(5, "SUCCESS", None, Context({"id": "t"}))
