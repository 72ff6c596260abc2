from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery, current_app

import tasks
from app.execution.runtime import Runtime, close_runtime, runtime_of
from app.execution.task import StepTask
from app.factory import create_app
from app.journal.schema.rows import Claimed, NewExchange, NewStep
from app.settings import Settings
from celery_agents import names
from celery_agents.contracts.outcome import Outcome, State
from celery_agents.errors import InvalidPayloadError
from tests.support.drawn import in_turn


@pytest.fixture
def app(sqlite_journal_url: str, redis_url: str) -> Iterator[Celery]:
    before = current_app._get_current_object()
    values = {"redis_url": redis_url, "database_url": sqlite_journal_url}
    made = create_app(Settings.model_validate({**values, "heartbeat_interval_s": 600}))
    made.finalize()
    yield made
    close_runtime(made)
    before.set_default()


@pytest.fixture
def runtime(app: Celery) -> Runtime:
    return runtime_of(app, "worker@here")


def call(app: Celery, name: str, *args: Any) -> Any:
    """Run a task as a worker does that received its message."""
    task = app.tasks[name]
    task.push_request(id="m", called_directly=False, hostname="worker@here")
    try:
        return task(*args)
    finally:
        task.pop_request()


def test_the_package_registers_its_tasks(app: Celery) -> None:
    wanted = {
        names.ASK,
        names.FALLBACK,
        names.VOTE,
        names.MAP,
        names.CANCEL,
        names.APPROVE,
        names.STATUS,
    }
    assert wanted <= set(app.tasks)
    assert set(tasks.__all__) >= {"ask", "control", "fallback", "vote"}


def test_cancel_and_status(app: Celery, runtime: Runtime) -> None:
    new = NewStep("r", "r", names.ASK, "agents", {"args": [1], "kwargs": {}}, max_attempts=1)
    assert call(app, names.STATUS, "r") is None
    runtime.journal.claim("r", new).result(20)
    assert call(app, names.STATUS, "r")["state"] == "running"
    assert call(app, names.CANCEL, "r") is True
    assert call(app, names.STATUS, "r")["steps"][0]["state"] == "running"
    assert call(app, names.CANCEL, "nobody yet") is True
    assert call(app, names.CANCEL, "nobody yet") is False


def test_results_of_members(app: Celery, runtime: Runtime) -> None:
    with pytest.raises(InvalidPayloadError):
        call(app, names.RESULTS, "r")
    new = NewStep("r", "r", names.MAP, "agents", {"args": [[]], "kwargs": {}}, max_attempts=1)
    runtime.journal.claim("r", new).result(20)
    assert call(app, names.RESULTS, "r") == {"outcomes": [], "more": None}


def test_sessions(app: Celery, runtime: Runtime) -> None:
    new = NewStep("r", "r", names.ASK, "agents", {"args": [1], "kwargs": {}}, 1, tenant="one")
    claim = runtime.journal.claim("r", new).result(20)
    assert isinstance(claim, Claimed)
    runtime.journal.sessions.hold(claim, "chat", 10).result(20)
    said = NewExchange({"messages": [{"role": "user", "content": "?"}]}, tokens=5)
    runtime.journal.finish(claim, Outcome(state=State.SUCCEEDED), said).result(20)
    assert call(app, names.SESSIONS) == []
    assert [s["name"] for s in call(app, names.SESSIONS, "one", 5)] == ["chat"]
    page = call(app, names.SESSION, "chat", -1, "one")
    assert ([e["run_id"] for e in page["exchanges"]], page["more"]) == (["r"], None)
    with pytest.raises(InvalidPayloadError, match="no session 'chat'"):
        call(app, names.SESSION, "chat")
    assert call(app, names.FORK, "chat", "copy", 0, "one") == 0
    assert call(app, names.FORK, "chat", "whole", None, "one") == 1
    assert call(app, names.FORGET, "chat", "one") is True
    assert call(app, names.FORGET, "chat", "one") is False


def test_without_limits_there_is_none_to_close(app: Celery, runtime: Runtime) -> None:
    assert call(app, names.LIMITS) == []
    for task in (names.PAUSE, names.RESUME):
        with pytest.raises(InvalidPayloadError, match=r"no limit and no key 'gpt'.*none at all"):
            call(app, task, "gpt")


@pytest.mark.parametrize(
    ("name", "args", "place"),
    [
        (names.PAUSE, ["a\n"], "name: "),
        (names.PAUSE, [7], "name: "),
        (names.PAUSE, ["gpt", -1.0], "seconds: "),
        (names.PAUSE, ["gpt", "long"], "seconds: "),
        (names.RESUME, [""], "name: "),
        (names.SESSION, ["a\0"], "session: "),
        (names.SESSION, [""], "session: "),
        (names.SESSION, ["x" * 181], "session: "),
        (names.SESSION, ["\ud800"], "session: "),
        (names.SESSION, ["chat", -2], "after: "),
        (names.SESSION, ["chat", -1, "x" * 65], "tenant: "),
        (names.SESSIONS, ["a\n"], "tenant: "),
        (names.SESSIONS, ["", 0], "limit: "),
        (names.FORK, [7, "copy"], "session: "),
        (names.FORK, ["chat", "a\x1b"], "copy: "),
        (names.FORK, ["chat", "copy", -1], "upto: "),
        (names.FORGET, [None], "session: "),
    ],
)
def test_what_nobody_is_asked(
    app: Celery, runtime: Runtime, name: str, args: list[Any], place: str
) -> None:
    with pytest.raises(InvalidPayloadError, match=place):
        call(app, name, *args)


@pytest.mark.parametrize(
    ("args", "place"),
    [(["Hello."], "agent: "), (["Hello.", "gpt"], "one positional argument")],
)
def test_what_no_agent_is_asked_is_not_estimated(
    app: Celery, runtime: Runtime, args: list[Any], place: str
) -> None:
    with pytest.raises(InvalidPayloadError, match=place):
        call(app, names.ESTIMATE, *args)


def test_control_tasks_have_a_queue_of_their_own(app: Celery) -> None:
    for name in (names.CANCEL, names.APPROVE, names.STATUS, names.RESULTS):
        assert app.amqp.router.route({}, name)["queue"].name == names.CONTROL_QUEUE


OF_A_RUN = [
    *(names.CANCEL, names.STATUS, names.RESULTS),
    *(names.REQUEUE, names.DROP, names.DEAD_LETTER),
]
NO_IDS = ["a\0", "x" * 156, "", 7, None]


@pytest.mark.parametrize(
    ("name", "run_id"),
    [(name, run_id) for n, name in enumerate(OF_A_RUN) for run_id in in_turn(NO_IDS, n)],
)
def test_what_is_no_id_is_told(app: Celery, runtime: Runtime, name: str, run_id: Any) -> None:
    with pytest.raises(InvalidPayloadError, match="id: "):
        call(app, name, run_id)


@pytest.mark.parametrize("choice", [float("nan"), {"__type__": 1, "__value__": 2}, {1}])
def test_a_choice_that_is_no_value(app: Celery, runtime: Runtime, choice: Any) -> None:
    with pytest.raises(InvalidPayloadError, match="choice: "):
        app.tasks[names.APPROVE]("r", choice)


@pytest.mark.parametrize(
    ("name", "args", "kwargs"),
    [
        (names.CLEAN, [], {"x": 1}),
        (names.CLEAN, [1, 2], {}),
        (names.PROBE, ["now", "then"], {}),
        (names.CANCEL, [], {}),
        (names.STATUS, ["r"], {"deep": True}),
        (names.RESULTS, [], {"step": "r"}),
        (names.DEAD_LETTERS, [1, 2], {}),
    ],
)
def test_arguments_that_a_task_does_not_take(
    app: Celery, runtime: Runtime, name: str, args: list[Any], kwargs: dict[str, Any]
) -> None:
    with pytest.raises(InvalidPayloadError, match=rf"{name}: .*argument"):
        app.tasks[name](*args, **kwargs)


def test_each_step_is_in_the_list_that_routes_go_by(app: Celery) -> None:
    steps = {name for name, task in app.tasks.items() if isinstance(task, StepTask)}
    assert {name for name in steps if name.startswith("agents.")} == {*names.STEP_TASKS}
