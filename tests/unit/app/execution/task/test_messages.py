"""The messages of a step: what they must say, and which of them counts."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from celery import signals
from celery.exceptions import Ignore, Retry

from app.execution.context import Step
from app.execution.runtime import Runtime
from app.journal.schema.rows import Claimed
from celery_agents import names
from celery_agents.contracts.ask import Ask, StepOptions
from celery_agents.errors import (
    IdInUseError,
    InvalidPayloadError,
    PayloadTooLargeError,
    StepCancelledError,
)
from celery_agents.wire.messages import fingerprint
from celery_agents.wire.shown import SHOWN
from tests.unit.app.execution.task.support import (
    SOON,
    flaky,
    message,
    receive,
    row,
    shout,
    woken,
)
from tests.unit.app.journal.support import step


@pytest.mark.parametrize(
    ("args", "kwargs", "told"),
    [
        ((1, 2), {"agent": "a"}, "one positional argument"),
        ((1,), {"agent": "a", "input": 2}, "twice"),
        ((1,), {}, "agent: Field required"),
        ((1,), {"agent": "a", "colour": "red"}, "colour: Extra inputs"),
        ((1,), {"agent": "", "retry": {"max_attempts": 0}}, r"retry\.max_attempts: .*agent: "),
        ((object(),), {"agent": "a"}, "input: "),
    ],
)
def test_wrong_arguments_are_told_and_leave_no_row(
    make: Any, runtime: Runtime, args: Any, kwargs: Any, told: str
) -> None:
    with pytest.raises(InvalidPayloadError, match=told):
        receive(make(shout, Ask), "s", *args, **kwargs)
    assert row(runtime, "s") is None


def test_a_payload_that_is_too_large_leaves_no_row(make: Any, runtime: Runtime) -> None:
    with pytest.raises(PayloadTooLargeError, match="the limit is 262,144"):
        receive(make(shout), "s", "x" * 300_000)
    assert row(runtime, "s") is None


def test_the_row_keeps_what_follows(make: Any, runtime: Runtime) -> None:
    task = make(shout)
    link = {"task": "shop.add", "args": []}
    with message(
        task, "s", callbacks=[link], chain=[link], group="g", group_index=2, errbacks=None
    ):
        task("x")
    wanted = {"link": [link], "chain": [link], "group_id": "g", "group_index": 2}
    assert row(runtime, "s").envelope == wanted


def test_what_people_see_of_the_arguments_is_short_and_redacted(make: Any) -> None:
    seen: list[dict[str, Any]] = []

    def sent(headers: dict[str, Any], **_: Any) -> None:
        seen.append(headers)

    signals.before_task_publish.connect(sent)
    make(shout).apply_async(("x" * 500,), {"instructions": "api_key=abc123"})
    (headers,) = seen
    assert len(headers["argsrepr"]) <= SHOWN + 2
    assert "abc123" not in headers["kwargsrepr"]


def test_a_message_without_a_row_goes(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), pytest.raises(Ignore):
        woken(make(shout), "nobody")
    assert "nobody has no row" in caplog.text


def test_one_whose_row_was_claimed_ahead_of_it_runs_under_that_claim(
    make: Any, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = step("s", payload={"args": ["hello"], "kwargs": {}})
    claim = runtime.journal.claim("s", asked).result(SOON)
    assert isinstance(claim, Claimed)
    runtime.claimed["s"] = claim
    with monkeypatch.context() as m:
        m.setattr(runtime.journal, "claim", None)
        assert woken(make(shout), "s") == "HELLO"
    assert (row(runtime, "s").attempts, runtime.claimed) == (1, {})


def test_a_step_that_runs_here_already_is_left_alone(make: Any, runtime: Runtime) -> None:
    def again(step: Step, request: StepOptions) -> str:
        with pytest.raises(Ignore, match="runs in this process"):
            receive(make(shout), step.step_id, 1)
        return "first"

    assert receive(make(again), "s", 1) == "first"


@pytest.mark.parametrize(
    ("expires", "asked"),
    [
        (datetime.now(UTC) - timedelta(seconds=1), False),
        (datetime.now(timezone(timedelta(hours=5))) - timedelta(seconds=1), False),
        (datetime.now(UTC) + timedelta(hours=1), True),
        (datetime.now(timezone(timedelta(hours=-5))) + timedelta(hours=1), True),
        (None, True),
    ],
)
def test_a_step_that_expired_as_it_waited_for_its_permit_asks_nobody(
    make: Any, runtime: Runtime, expires: datetime | None, asked: bool
) -> None:
    task = make(shout)
    text = expires and expires.isoformat()
    with message(task, "s", args=("a",), kwargs={}, expires=text):
        if asked:
            assert task("a") == "A"
        else:
            with pytest.raises(StepCancelledError, match="expired"):
                task("a")
    assert row(runtime, "s").state == ("succeeded" if asked else "cancelled")


@pytest.mark.parametrize(
    ("args", "kwargs", "same"),
    [
        (({"a": 1, "b": 2},), {}, True),
        (({"b": 2, "a": 1},), {}, True),
        (({"a": True, "b": 2},), {}, False),
        (({"a": 1, "b": 2},), {"timeout_s": 3}, False),
        ((), {}, False),
    ],
)
def test_a_message_for_another_call_gets_no_answer(
    make: Any, runtime: Runtime, args: Any, kwargs: Any, same: bool
) -> None:
    task = make(shout)
    key = task.backend.get_key_for_task("s")
    task.backend.delete(key)
    answer = receive(task, "s", {"a": 1, "b": 2})
    if same:
        assert receive(task, "s", *args, **kwargs) == answer
        return
    with pytest.raises(IdInUseError):  # no result stands there
        receive(task, "s", *args, **kwargs)
    task.backend.set(key, b"the first one's")
    with pytest.raises(Ignore, match="names another call"):
        receive(task, "s", *args, **kwargs)


def test_a_message_for_another_call_does_not_run_the_first(make: Any, runtime: Runtime) -> None:
    task = make(flaky(after_s=0))
    with pytest.raises(Retry):
        receive(task, "s", 1, retry={"base_delay_s": 0})
    with pytest.raises(Ignore, match="names another call"):
        receive(task, "s", 2, retry={"base_delay_s": 0})
    found = row(runtime, "s")
    assert (found.state, found.attempts, found.payload["args"]) == ("ready", 1, [1])
    assert woken(task, "s") == "at last"


def test_a_result_tells_its_payload(make: Any, runtime: Runtime) -> None:
    task = make(shout)
    asked = fingerprint(task.name, ["hello"], {})
    with message(task, "s", delivery_info={}):
        task("hello")
        assert task.request.get(names.PAYLOAD) == asked
    with message(task, "t", delivery_info={}, **{names.PAYLOAD: "as the client said"}):
        task("hello")
        assert task.request.get(names.PAYLOAD) == "as the client said"
    with message(task, "s", **{names.JOURNALED: 1}):
        task()
        assert task.request.get(names.PAYLOAD) == asked
