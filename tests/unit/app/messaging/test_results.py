"""The result backend where Redis lets it down, and whose chords it counts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest
from celery import Celery
from celery.app.task import Context
from celery.backends.redis import RedisBackend
from celery.exceptions import BackendStoreError
from celery.utils.objects import Bunch
from redis.exceptions import OutOfMemoryError

from app.messaging import results
from app.messaging.results import JournalBackend, reported
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
    assert reported(request).unstored is True
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


@pytest.mark.parametrize("kind", [Context, Bunch])
def test_the_tenant_of_a_run_without_a_row_stands_beside_its_error(
    backend: JournalBackend, kind: type[Any]
) -> None:
    about: dict[str, Any] = {
        "id": "s",
        "chord": None,
        "group": None,
        "parent_id": None,
        "children": [],
    }
    for tenant in (None, "acme"):
        request = kind(**about, **{names.TENANT: tenant})
        meta = backend._get_result_meta(ValueError("bad"), "FAILURE", None, request)
        assert meta.get(names.TENANT) == tenant
    assert names.TENANT not in backend._get_result_meta(ValueError(), "FAILURE", None, None)


def test_the_outcome_stands_beside_the_result(backend: JournalBackend) -> None:
    request = Context({"id": "s"})
    reported(request).outcome = {"state": "succeeded", "value": 5, "attempts": 2}
    meta = backend._get_result_meta(5, "SUCCESS", None, request)
    assert meta["outcome"] == {"state": "succeeded", "attempts": 2}
    assert "outcome" not in backend._get_result_meta(5, "SUCCESS", None, Context({"id": "t"}))


class Pipe:
    """Redis's, of which each second result is refused."""

    def __init__(self) -> None:
        self.commands: list[tuple[Any, ...]] = []

    def __call__(self, _: object, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        self.commands += commands
        refused = OutOfMemoryError("full")
        return [refused if c[0] == "SET" and n % 4 else True for n, c in enumerate(self.commands)]


@pytest.fixture
def pipe(backend: JournalBackend, monkeypatch: pytest.MonkeyPatch) -> Pipe:
    made = Pipe()
    monkeypatch.setattr(type(backend), "client", None)
    monkeypatch.setattr(results, "exchange", made)
    return made


def test_results_of_many_steps_are_one_write_and_each_has_its_own_error(
    backend: JournalBackend, pipe: Pipe
) -> None:
    errors = backend._write([(b"k1", "v1"), (b"k2", "v2"), (b"k3", "v3")])
    assert [type(e) for e in errors] == [type(None), OutOfMemoryError, type(None)]
    stored = [c[1:3] for c in pipe.commands if c[0] == "SET"]
    told = [c[1:3] for c in pipe.commands if c[0] == "PUBLISH"]
    assert stored == told == [(b"k1", "v1"), (b"k2", "v2"), (b"k3", "v3")]


@pytest.mark.parametrize("expires", [60, None])
def test_results_expire(backend: JournalBackend, pipe: Pipe, expires: int | None) -> None:
    backend.expires = expires
    backend._write([(b"k", "v")])
    assert pipe.commands[0] == ("SET", b"k", "v", *(("EX", expires) if expires else ()))


def test_an_outcome_is_stored_as_celery_stores_results(backend: JournalBackend, pipe: Pipe) -> None:
    request = Context({"id": "s"})
    reported(request).outcome = {"state": "succeeded", "value": 5}
    assert backend.store_result("s", 5, "SUCCESS", request=request) == 5
    meta = backend.decode(pipe.commands[0][2])
    assert (meta["task_id"], meta["status"], meta["result"]) == ("s", "SUCCESS", 5)
    assert pipe.commands[0][1] == backend.get_key_for_task("s")


@pytest.mark.parametrize("about", [{}, {"group": "g", "parent_id": "p", "children": []}])
@pytest.mark.parametrize("extended", [False, True])
def test_what_is_stored_with_an_outcome_is_what_celery_stores(
    backend: JournalBackend, about: dict[str, Any], extended: bool
) -> None:
    backend.app.conf.result_extended = extended
    request = Context({"id": "s", "task": "t", **about})
    theirs = RedisBackend._get_result_meta(backend, 5, "SUCCESS", None, request)
    reported(request).outcome = {"state": "succeeded"}
    ours = backend._get_result_meta(5, "SUCCESS", None, request)
    assert ours.pop("outcome") == {"state": "succeeded"}
    then, now = (datetime.fromisoformat(meta.pop("date_done")) for meta in (theirs, ours))
    assert then <= now
    assert then.tzinfo == now.tzinfo
    assert ours == theirs
