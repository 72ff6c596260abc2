from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kombu.exceptions import OperationalError

from app.execution.runtime import Runtime
from app.watching import progress as module
from app.watching.progress import CELERYS, EVENT
from celery_agents import noted

SOON = 20
KEY = "sk-live-" + "0123456789abcdef0123456789"


class Dispatcher:
    """Celery's, that fails when told to, and keeps what it sends."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.errors: list[Exception] = []
        self.open = threading.Event()
        self.open.set()
        self.producer = object()

    def publish(self, type: str, fields: dict[str, Any], producer: Any) -> None:  # noqa: A002
        self.open.wait(SOON)
        if self.errors:
            raise self.errors.pop(0)
        assert producer is self.producer
        self.sent.append((type, fields))


@pytest.fixture
def dispatcher(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dispatcher]:
    made = Dispatcher()

    @contextmanager
    def default_dispatcher(hostname: str) -> Iterator[Dispatcher]:
        assert hostname == "worker@here"
        yield made

    monkeypatch.setattr(runtime.app.events, "default_dispatcher", default_dispatcher)
    yield made
    made.open.set()


def tell(runtime: Runtime, step_id: str = "s", **fields: Any) -> None:
    runtime.loop.submit(runtime.progress.tell(step_id, fields)).result(SOON)


@pytest.mark.parametrize(
    "fields",
    [
        {"done": 3, "of": 10},
        {"text": "half", "characters": 4},
        {"nested": {"list": [1, None, {"x": True}]}},
        {},
        {"state": "RUNNING", "args": "mine", "result": 1},  # other events have them
        {"blind": 1, "app": 2, "retry": None},
    ],
)
def test_fields_arrive(runtime: Runtime, dispatcher: Dispatcher, fields: dict[str, Any]) -> None:
    tell(runtime, **fields)
    assert dispatcher.sent[-1][0] == EVENT
    assert fields.items() <= dispatcher.sent[-1][1].items()
    assert dispatcher.sent[-1][1]["uuid"] == "s"


@pytest.mark.parametrize("name", sorted(CELERYS))
def test_fields_of_celery_stay_celerys(
    runtime: Runtime, dispatcher: Dispatcher, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    before = noted.counts().get("progress_field", 0)
    fields: dict[str, Any] = {name: "mine", "done": 1}
    tell(runtime, **fields)
    assert dispatcher.sent == [(EVENT, {"uuid": "s", "done": 1})]
    assert noted.counts()["progress_field"] == before + 1


def test_secrets_are_hidden(runtime: Runtime, dispatcher: Dispatcher) -> None:
    tell(runtime, text=f"use {KEY}", deep=[{KEY: {"key": KEY}}], n=1)
    assert KEY not in str(dispatcher.sent)
    assert "use ***" in str(dispatcher.sent)


def _nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


NO_VALUES: dict[str, Any] = {
    "NaN": float("nan"),
    "an infinity below": {"a": [float("-inf")]},
    "huge": 10**5000,
    "a type of kombu's": {"__type__": 1, "__value__": 2},
    "a set": {1},
    "bytes": b"x",
    "deep": _nested(100_000),
}


@pytest.mark.parametrize("name", NO_VALUES)
def test_what_is_no_value_is_not_sent(runtime: Runtime, dispatcher: Dispatcher, name: str) -> None:
    before = noted.counts().get("progress_value", 0)
    tell(runtime, done=1, text=NO_VALUES[name])
    assert dispatcher.sent == []
    assert noted.counts()["progress_value"] == before + 1


@pytest.mark.parametrize("text", ["a\x00b", "\ud800", "\ud83d\ude00 \ude00"])
def test_texts_that_no_store_takes_are_shown_mended(
    runtime: Runtime, dispatcher: Dispatcher, text: str
) -> None:
    tell(runtime, text=text)
    dispatcher.sent[0][1]["text"].encode()


@pytest.mark.parametrize("error", [OperationalError("away"), TypeError("no JSON"), OSError()])
def test_it_never_fails_a_step_and_says_so(
    runtime: Runtime,
    dispatcher: Dispatcher,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    notes = noted.Notes()
    monkeypatch.setattr(module, "note", notes.note)
    dispatcher.errors = [error]
    tell(runtime, done=1)
    tell(runtime, done=2)
    assert [fields["done"] for _, fields in dispatcher.sent] == [2]
    assert notes.counts() == {"progress": 1}
    (record,) = [r for r in caplog.records if r.name == "app.watching.progress"]
    assert record.levelno == logging.WARNING


def test_a_slow_broker_holds_no_step_for_long(
    runtime: Runtime, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = noted.Notes()
    monkeypatch.setattr(module, "note", notes.note)
    monkeypatch.setattr(module, "PATIENCE_S", 0.01)
    dispatcher.open.clear()
    tell(runtime, done=1)
    tell(runtime, done=2)  # the first is still on its way
    tell(runtime, "another", done=3)
    assert notes.counts() == {"progress": 2, "progress_late": 1}
    dispatcher.open.set()
    monkeypatch.setattr(module, "PATIENCE_S", SOON)
    while runtime.progress._under_way:
        tell(runtime, "later", done=4)
    tell(runtime, done=5)
    assert [f["done"] for _, f in dispatcher.sent if f["uuid"] == "s"] == [1, 5]


def test_a_field_that_is_a_secret_by_its_name_is_hidden(
    runtime: Runtime, dispatcher: Dispatcher
) -> None:
    tell(runtime, password="Swordfish", done=3)
    assert "Swordfish" not in str(dispatcher.sent)
    assert dispatcher.sent[0][1]["done"] == 3
