"""Requests of steps, as Celery's worker makes and asks them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.worker import state
from celery.worker.request import Request

from app.execution import request as module
from app.execution.request import StepRequest
from celery_agents import names


class Message:
    """A task message, as kombu gives it."""

    content_type, content_encoding = "application/json", "utf-8"
    delivery_info: dict[str, Any] = {}  # noqa: RUF012 - never written
    properties: dict[str, Any] = {}  # noqa: RUF012 - never written

    def __init__(self, task: str = names.ASK) -> None:
        self.headers = {"id": "s", "task": task, "root_id": "s"}
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
