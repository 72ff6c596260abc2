"""Requests of steps, as Celery's worker makes and asks them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.app.task import Context
from celery.worker import state
from celery.worker.request import Request
from kombu.utils.imports import symbol_by_name

from app.concurrency.meter import Meter
from app.execution import request as module
from app.execution.request import StepRequest
from app.messaging.sharing import OfRequests
from celery_agents import names


class Message:
    """A task message, as kombu gives it."""

    content_type, content_encoding = "application/json", "utf-8"
    delivery_info: dict[str, Any] = {}  # noqa: RUF012 - never written
    properties: dict[str, Any] = {}  # noqa: RUF012 - never written

    def __init__(self, task: str = names.ASK, **headers: Any) -> None:
        self.headers = {"id": "s", "task": task, "root_id": "s", **headers}
        self.body = b"[[1], {}, {}]"
        self.payload = [[1], {}, {}]


@pytest.fixture
def task(app: Celery) -> Any:
    import tasks  # noqa: F401 - registers them

    return app.tasks[names.ASK]


@pytest.fixture
def request_of(app: Celery, task: Any) -> Any:
    def make(**more: Any) -> StepRequest:
        return StepRequest(Message(), app=app, task=task, hostname="w@here", **more)

    yield make
    state.reset_state()


def test_the_body_travels_decoded(request_of: Any) -> None:
    request = request_of()
    assert request.body == [[1], {}, {}]
    assert (request.content_type, request.content_encoding) == (None, None)


@pytest.mark.parametrize("more", [{}, {names.TENANT: "acme", "x-own": 5, "stamps": {}}])
def test_its_own_headers_are_those_that_celery_finds(
    app: Celery, task: Any, more: dict[str, Any]
) -> None:
    ours = StepRequest(Message(**more), app=app, task=task, hostname="w@here")
    theirs = Request(Message(**more), app=app, task=task, hostname="w@here")
    found = Context(ours.request_dict, called_directly=False)
    assert (found.headers or None) == Context(theirs.request_dict, called_directly=False).headers


def test_headers_of_that_name_stay(app: Celery, task: Any) -> None:
    request = StepRequest(Message(headers={"a": 1}), app=app, task=task, hostname="w@here")
    assert Context(request.request_dict).headers == {"a": 1}


@pytest.mark.parametrize("why", ["id", "stamp", "time", "none"])
def test_whether_it_is_revoked(
    app: Celery, task: Any, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    told: list[str] = []
    monkeypatch.setattr(
        StepRequest, "_announce_revoked", lambda _, reason, *__: told.append(reason)
    )
    reasons: dict[str, dict[str, Any]] = {
        "stamp": {"stamps": {"for": ["me"]}, "stamped_headers": ["for"]},
        "time": {"expires": "2020-01-01T00:00:00+00:00"},
    }
    request = StepRequest(Message(**reasons.get(why, {})), app=app, task=task, hostname="w@here")
    if why == "id":
        state.revoked.add("s")
    state.revoked_stamps["for"] = ["me"]
    try:
        assert request.revoked() is (why != "none")
        assert told == {"time": ["expired"], "none": []}.get(why, ["revoked"])
        request._already_revoked = True
        assert request.revoked()
    finally:
        state.reset_state()


@pytest.mark.parametrize(
    ("marks", "shown"),
    [({}, "***"), ({names.INTAKE: 1}, "hunter2-long"), ({names.JOURNALED: 1}, "hunter2-long")],
)
def test_what_another_producer_tells_of_its_arguments_is_redacted(
    app: Celery, task: Any, marks: dict[str, Any], shown: str
) -> None:
    """Ours are redacted where they are sent, and not once more for each message."""
    told = {"argsrepr": "('password=hunter2-long',)", "kwargsrepr": "{'x': 'token=hunter2-long'}"}
    message = Message(**told, **marks)
    request = StepRequest(message, app=app, task=task, hostname="w@here")
    assert request.argsrepr == f"('password={shown}',)"
    assert request.kwargsrepr == f"{{'x': 'token={shown}'}}"
    texts = (str(request.info(safe=True)), repr(request), str(request.request_dict["kwargsrepr"]))
    assert all(shown in text for text in texts)
    assert StepRequest(Message(), app=app, task=task, hostname="w@here").argsrepr == ""


def test_a_pool_without_a_meter_is_measured_by_its_requests(
    app: Celery, task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    slots = OfRequests()
    monkeypatch.setattr(StepRequest, "slots", slots)

    def request(**headers: Any) -> StepRequest:
        about = {"on_ack": lambda *_: None, "on_reject": lambda *_: None}
        return StepRequest(Message(**headers), app=app, task=task, hostname="w@here", **about)

    early = request(id="e", **{names.TENANT: "acme"})
    early.on_accepted(123, 0.0)  # tenants have nothing here yet
    slots.meter = Meter(lambda: now[0])
    one, nobodys, given_back = request(**{names.TENANT: "acme"}), request(id="n"), request(id="g")
    for each in (one, given_back):
        each.on_accepted(123, 0.0)
        now[0] += 2
    one.acknowledge()
    given_back.reject(requeue=True)
    nobodys.on_accepted(123, 0.0)
    now[0] += 3
    early.acknowledge()
    assert slots.meter.drain() == {"acme": 4.0, "": 5.0}
    state.reset_state()


def test_accepted_is_what_celery_makes_of_it(request_of: Any, app: Celery, task: Any) -> None:
    ours = request_of()
    theirs = Request(Message(), app=app, task=task, hostname="w@here")
    counts = []
    for request in (ours, theirs):
        state.reset_state()
        request.on_accepted(123, 0.0)
        counts.append(
            (
                dict(state.total_count),
                state.all_total_count[0],
                request in state.active_requests,
                state.requests.get(request.id) is request,
                request.worker_pid,
            )
        )
    assert counts[0] == counts[1] == ({names.ASK: 1}, 1, True, True, 123)
    assert abs(ours.time_start - theirs.time_start) < 5


def test_revoked_while_it_runs_it_is_its_row_that_is_cancelled(
    request_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled: list[str] = []
    monkeypatch.setattr(module, "cancel_step", lambda _, step_id: cancelled.append(step_id))
    request = request_of()
    request.on_accepted(123, 0.0)
    request.terminate(SimpleNamespace())  # a pool that can do nothing
    assert cancelled == ["s"]


def test_revoked_before_it_begins(request_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled: list[str] = []
    monkeypatch.setattr(module, "cancel_step", lambda _, step_id: cancelled.append(step_id))
    request = request_of()
    request.terminate(SimpleNamespace())
    assert cancelled == []
    request.on_accepted(123, 0.0)  # Celery asks again then
    assert cancelled == ["s"]


KEY = "sk-live-" + "0123456789abcdef0123456789"


class Eventer:
    """Celery's dispatcher, as a request sees it."""

    enabled = True

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def send(self, type: str, **fields: Any) -> None:  # noqa: A002 - Celery's name
        self.sent.append({"type": type, **fields})


@pytest.mark.parametrize("name", [names.ASK, names.STATUS, names.CANCEL, "celery.backend_cleanup"])
@pytest.mark.parametrize(
    ("event", "fields"),
    [
        ("task-succeeded", {"result": f"'use {KEY}'", "runtime": 0.5}),
        ("task-succeeded", {"result": "'use sk-live-0123...'", "runtime": 0.5}),
        ("task-failed", {"exception": f"E({KEY})", "traceback": f"… {KEY}"}),
        ("task-retried", {"exception": f"E({KEY})", "traceback": f"… {KEY}"}),
        ("task-received", {"args": f"({KEY},)", "kwargs": f"{{'a': {KEY}}}", "name": "x"}),
    ],
)
def test_events_hold_no_secret(
    app: Celery, task: Any, name: str, event: str, fields: dict[str, Any]
) -> None:
    of = app.tasks[name]
    eventer = Eventer()
    request = symbol_by_name(of.Request)(
        Message(name), app=app, task=of, hostname="w@here", eventer=eventer
    )
    request.send_event(event, **fields)
    (sent,) = eventer.sent
    assert sent.keys() == {"type", "uuid", *fields}
    assert "0123" not in str(sent)
    kept = {k: v for k, v in fields.items() if k in {"runtime", "name"}}
    assert kept.items() <= sent.items()


def test_no_event_where_nobody_watches(request_of: Any) -> None:
    eventer = Eventer()
    eventer.enabled = False
    request_of(eventer=eventer).send_event("task-succeeded", result="x")
    assert eventer.sent == []


@pytest.mark.parametrize(
    ("groups", "told"), [(None, True), (set(), True), ({"worker"}, False), ({"task"}, True)]
)
def test_a_worker_without_events_of_tasks_prepares_none(
    request_of: Any, groups: Any, told: bool
) -> None:
    eventer = Eventer()
    vars(eventer)["groups"] = groups
    request_of(eventer=eventer).send_event("task-succeeded", result="x")
    assert len(eventer.sent) == told
