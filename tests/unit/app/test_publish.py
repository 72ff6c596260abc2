from __future__ import annotations

from typing import Any

import pytest
from celery import Celery, signals
from kombu.exceptions import OperationalError

from app import publish as publishing
from app.journal.rows import Wake
from app.outbox import BATCH
from app.publish import message_options, publish
from celery_agents import names
from celery_agents.shown import SHOWN


def wake(step_id: str = "s", **more: Any) -> Wake:
    given: dict[str, Any] = {
        "task": "agents.ask",
        "queue": "agents",
        "priority": 7,
        "run_id": "r",
        "parent_id": "p",
        "agent": "a",
        "payload": {"args": ["token=abc123 " + "x" * 999], "kwargs": {"agent": "a"}},
        "envelope": None,
    }
    return Wake(id=step_id, **{**given, **more})


def test_a_message_describes_its_step_and_carries_no_work() -> None:
    found = message_options(wake())
    shown = found.pop("argsrepr") + found.pop("kwargsrepr")
    assert found == {
        "task_id": "s",
        "root_id": "r",
        "parent_id": "p",
        "group_id": "p",
        "ignore_result": True,
    }
    assert "abc123" not in shown
    assert len(shown) < 3 * SHOWN


@pytest.mark.parametrize("payload", [{}, {"args": [], "kwargs": {}}])
def test_a_row_without_arguments(payload: dict[str, Any]) -> None:
    found = message_options(wake(payload=payload, parent_id=None))
    assert (found["argsrepr"], found["kwargsrepr"]) == ("()", "{}")
    assert not found["ignore_result"]


def test_messages_go_out_with_what_follows_them(app: Celery) -> None:
    sent: list[tuple[dict[str, Any], Any]] = []

    def seen(headers: dict[str, Any], body: Any, **_: Any) -> None:
        sent.append((headers, body))

    signals.before_task_publish.connect(seen)
    follows = {"link": [{"task": "shop.add"}], "group_id": "g", "group_index": 3}
    assert publish(app, [wake("s", envelope=follows), wake("t")]) == 2
    (headers, body), (other, _) = sent
    assert (headers["id"], headers["group"], headers["group_index"]) == ("s", "g", 3)
    assert body[:2] == ((), {})
    assert body[2]["callbacks"] == [{"task": "shop.add"}]
    assert headers[names.JOURNALED] == 1
    assert other["id"] == "t"


def test_many_messages_go_out_in_several_writes(
    app: Celery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What was written counts, also where the broker goes away behind it."""
    written: list[list[str]] = []

    def write(_: Celery, wakes: list[Wake], countdown: float | None) -> None:
        assert countdown == 5
        if len(written) == 2:
            raise OperationalError("gone")
        written.append([w.id for w in wakes])

    monkeypatch.setattr(publishing, "_write", write)
    wakes = [wake(str(n)) for n in range(BATCH * 3)]
    assert publish(app, wakes, countdown=5) == 2 * BATCH
    assert [i for some in written for i in some] == [w.id for w in wakes[: 2 * BATCH]]
    assert f"Messages for {2 * BATCH} and {BATCH - 1} others" in caplog.text


def test_a_broker_that_is_away_is_no_error(app: Celery, caplog: pytest.LogCaptureFixture) -> None:
    """Recovery makes it good; the caller has committed already."""
    app.conf.broker_url = "redis://:hunter2@127.0.0.1:1/0"
    app.conf.broker_transport_options = {"max_retries": 0, "socket_connect_timeout": 1}
    app.conf.task_publish_retry = False
    assert publish(app, [wake(parent_id="p")]) == 0
    assert "may not have been sent" in caplog.text
    assert "hunter2" not in caplog.text
