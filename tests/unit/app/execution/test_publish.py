from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest.mock import patch

import pytest
from celery import Celery, Signature, signals
from celery._state import _task_stack
from kombu.exceptions import OperationalError
from kombu.message import Message

from app.concurrency.future import Future
from app.execution import publish as publishing
from app.execution.attempts.own_wakes import OwnWakes
from app.execution.publish import FEW, NextRow, message_options, publish
from app.execution.task import StepTask
from app.journal.schema.rows import NewStep, Wake
from app.messaging.producer import BATCH
from celery_agents import names
from celery_agents.errors import JournalUnavailableError
from celery_agents.wire.messages import compose
from celery_agents.wire.shown import SHOWN
from tests.support.fibers import in_a_fiber


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


@pytest.mark.parametrize("on", [True, False])
def test_watchers_are_told_as_by_celery_of_what_is_sent(
    app: Celery, monkeypatch: pytest.MonkeyPatch, on: bool
) -> None:
    events: list[dict[str, Any]] = []
    producer = SimpleNamespace(publish=lambda event, **_: events.append(event))
    monkeypatch.setattr(app, "producer_or_acquire", lambda: nullcontext(producer))
    monkeypatch.setattr(app, "post", lambda _: None)
    app.conf.task_send_sent_event = on
    publish(app, [wake("s"), wake("t")])
    assert [event["uuid"] for event in events] == (["s", "t"] if on else [])
    if on:
        about = app.amqp.as_task_v2(name="agents.ask", create_sent_event=True, task_id="s")
        assert about.sent_event is not None
        assert {*events[0]} >= {*about.sent_event, "queue", "exchange", "routing_key"}
        assert (events[0]["type"], events[0]["name"]) == ("task-sent", "agents.ask")
        assert (events[0]["root_id"], events[0]["queue"]) == ("r", "agents")
        assert "abc123" not in str(events)


def test_a_message_is_sent_though_watchers_cannot_be_told(
    app: Celery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise OperationalError("gone")

    producer = SimpleNamespace(publish=away)
    monkeypatch.setattr(app, "producer_or_acquire", lambda: nullcontext(producer))
    monkeypatch.setattr(app, "post", lambda _: None)
    app.conf.task_send_sent_event = True
    assert publish(app, [wake("s")]) == 1
    assert "Watchers are not told" in caplog.text


@pytest.mark.parametrize(("count", "together"), [(FEW, False), (FEW + 1, True)])
def test_many_at_once_are_marked(app: Celery, count: int, together: bool) -> None:
    sent: list[dict[str, Any]] = []

    def seen(headers: dict[str, Any], **_: Any) -> None:
        sent.append(headers)

    signals.before_task_publish.connect(seen)
    assert publish(app, [wake(str(n)) for n in range(count)]) == count
    assert {names.BULK in headers for headers in sent} == {together}
    assert all(headers[names.JOURNALED] == 1 for headers in sent)


def test_options_that_members_share_are_described_once(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may be as large as a payload, and there may be thousands of members."""
    described: list[Any] = []

    def shown(options: Any) -> str:
        described.append(options)
        return f"{options}"

    sent: list[str] = []

    def seen(headers: dict[str, Any], **_: Any) -> None:
        sent.append(headers["kwargsrepr"])

    signals.before_task_publish.connect(seen)
    monkeypatch.setattr(publishing, "shown_kwargs", shown)
    one, other = {"agent": "a"}, {"agent": "b"}
    wakes = [wake(str(n), payload={"args": [n], "kwargs": one}) for n in range(9)]
    publish(app, [*wakes, wake("other", payload={"args": [], "kwargs": other})])
    assert described == [one, other]
    assert sent == [*[f"{one}"] * 9, f"{other}"]


def test_many_messages_go_out_in_several_writes(
    app: Celery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What was written counts, also where the broker goes away behind it."""
    written: list[list[str]] = []

    def write(_: Celery, wakes: list[Wake], marks: Any, countdown: float | None) -> None:
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


class Kept:
    """The journal of an app's runtime, as far as it is told of rows."""

    def __init__(self, app: Celery, error: Exception | None = None) -> None:
        self.rows: list[NewStep] = []
        self.error = error
        settings: Any = app.agents_settings
        app.agents_runtime.value = SimpleNamespace(
            journal=self,
            settings=settings,
            seals=None,
            resource=lambda _, make: make(),
            close=lambda: None,
        )

    def insert(self, new: NewStep) -> Future[None]:
        reply: Future[None] = Future()
        if self.error is not None:
            reply.set_exception(self.error)
        else:
            self.rows.append(new)
            reply.set_result(None)
        return reply


class TestFollowOn:
    """A chain's next link, beside what Celery makes of it."""

    @pytest.fixture
    def step(self, app: Celery) -> StepTask:
        @app.task(base=StepTask, name="step", shared=False)
        def run() -> None: ...

        task = app.tasks["step"]
        assert isinstance(task, StepTask)
        return task

    @pytest.fixture
    def sent(self) -> Iterator[list[dict[str, Any]]]:
        """What is about to be published, without what differs from one publishing to the next."""
        found: list[dict[str, Any]] = []

        def before(sender: str, body: Any, headers: dict[str, Any], **about: Any) -> None:
            told = {k: v for k, v in headers.items() if v is not None}
            properties = {k: about["properties"].get(k) for k in ("priority", "correlation_id")}
            found.append({"task": sender, "body": tuple(body), "headers": told, **properties})

        signals.before_task_publish.connect(before)
        yield found
        signals.before_task_publish.disconnect(before)

    def follow(self, step: StepTask, link: Signature, **more: Any) -> list[str]:
        """What the tracer does at the end of a step; the ids that its trail then has."""
        step.push_request(id="p", root_id="r", called_directly=False, children=[], **more)
        _task_stack.push(step)
        try:
            link.apply_async(("answer",), chain=[{"task": "last"}], parent_id="p", root_id="r")
            return [child.id for child in step.request.children]
        finally:
            _task_stack.pop()
            step.pop_request()

    LINKS: ClassVar[dict[str, dict[str, Any]]] = {
        "a client's": {"headers": {names.INTAKE: 1}, "argsrepr": "()", "kwargsrepr": "{}"},
        "urgent": {"priority": 0},
        "with an errback": {"link_error": {"task": "shop.undo"}},
        "with callbacks": {"link": [{"task": "shop.add"}]},
    }

    @pytest.mark.parametrize("options", LINKS.values(), ids=LINKS)
    def test_is_sent_as_celery_sends_it(
        self, step: StepTask, sent: list[dict[str, Any]], options: dict[str, Any]
    ) -> None:
        def link() -> Signature:
            return step.s(agent="a").set(task_id="n", queue="agents", **options)

        with patch.object(publishing, "compose", wraps=compose) as composed:
            theirs = self.follow(step, link())
            composed.assert_not_called()  # this is no fiber
            ours = in_a_fiber(lambda: self.follow(step, link()))
            composed.assert_called_once()
        assert ours == theirs == ["n"]
        assert sent[1] == sent[0]
        assert (sent[1]["headers"]["root_id"], sent[1]["headers"]["parent_id"]) == ("r", "p")
        assert sent[1]["body"][2]["chain"] == [{"task": "last"}]

    def test_stands_in_the_journal_before_it_is_sent(
        self, app: Celery, step: StepTask, sent: list[dict[str, Any]]
    ) -> None:
        journal = Kept(app)
        options = {"headers": {names.INTAKE: 1, "x": 2}, "link": [{"task": "shop.add"}]}
        link = step.s(deadline_s=9, retry={"max_attempts": 7})
        link.set(task_id="n", queue="agents", priority=2, argsrepr="(…)", **options)
        assert in_a_fiber(lambda: self.follow(step, link)) == ["n"]
        assert self.follow(step, link) == ["n"]  # in any pool
        new, _ = journal.rows
        assert (new.id, new.run_id, new.parent_id) == ("n", "n", None)
        assert (new.task, new.queue, new.priority) == ("step", "agents", 2)
        assert (new.max_attempts, new.timeout_s) == (7, 9)
        assert new.payload == {
            "args": ["answer"],
            "kwargs": {"deadline_s": 9, "retry": {"max_attempts": 7}},
        }
        assert new.envelope == {"link": [{"task": "shop.add"}], "chain": [{"task": "last"}]}
        message, again = sent
        assert message == again
        assert (message["headers"][names.JOURNALED], message["headers"]["x"]) == (1, 2)
        assert names.INTAKE not in message["headers"]
        assert message["headers"]["argsrepr"] == "(…)"
        assert message["body"][:2] == ((), {})
        assert message["body"][2]["chain"] == [{"task": "last"}]

    @pytest.mark.parametrize("options", LINKS.values(), ids=LINKS)
    def test_of_a_row_that_is_claimed_already_nothing_is_sent(
        self, app: Celery, step: StepTask, options: dict[str, Any]
    ) -> None:
        """Celery has here what it would have taken from the broker."""
        taken: list[Message] = []
        link = step.s(deadline_s=9).set(task_id="n", queue="agents", **options)
        Kept(app)
        with patch.object(publishing, "compose", wraps=compose) as composed:
            with patch.object(type(app), "post") as posted:
                assert in_a_fiber(lambda: self.follow(step, link)) == ["n"]
            ((((_, sent),),), _) = posted.call_args
            recorded = NextRow(taken.append)
            with patch.object(OwnWakes, "record", return_value=recorded):
                assert in_a_fiber(lambda: self.follow(step, link)) == ["n"]
            composed.assert_called_once()
        (message,) = taken
        told = {k: v for k, v in message.headers.items() if v is not None}
        assert told == sent["headers"]
        assert told[names.JOURNALED] == 1
        assert json.loads(json.dumps(message.payload)) == json.loads(sent["body"])
        priority = sent["properties"]["priority"]
        assert message.properties["priority"] == priority
        assert message.delivery_info == {
            "exchange": "",
            "routing_key": "agents",
            "priority": priority,
        }

    @pytest.mark.parametrize("fiber", [True, False])
    def test_says_what_the_step_before_had_read(
        self, app: Celery, step: StepTask, sent: list[dict[str, Any]], *, fiber: bool
    ) -> None:
        """It does so with a row, without one, and as a message of Celery's own."""
        link, read = step.s(deadline_s=9).set(task_id="n", queue="agents"), {names.UNTRUSTED: 1}
        journal: Kept | None = None
        for journaled in (False, True):
            journal = Kept(app) if journaled else None
            for more in (read, {}):
                follow = partial(self.follow, step, link.clone(), **more)
                assert (in_a_fiber(follow) if fiber else follow()) == ["n"]
        assert [m["headers"].get(names.UNTRUSTED) for m in sent] == [1, None, 1, None]
        assert journal is not None
        assert [new.untrusted for new in journal.rows] == [True, False]

    def test_another_app_may_call_our_task(
        self, step: StepTask, sent: list[dict[str, Any]]
    ) -> None:
        plain = Celery("shop", broker="memory://", set_as_current=False)

        @plain.task(base=StepTask, name="step", shared=False)
        def theirs() -> None: ...

        assert self.follow(plain.tasks[theirs.name], theirs.s().set(task_id="n", queue="q")) == [
            "n"
        ]
        assert sent[0]["headers"]["id"] == "n"

    def test_what_was_not_sent_is_left_to_recovery(self, app: Celery, step: StepTask) -> None:
        """Also what may have been sent; without a row it is the step's error."""
        link = step.s().set(task_id="n", queue="agents")
        with patch.object(type(app), "post", side_effect=OperationalError("gone")):
            with pytest.raises(OperationalError):
                in_a_fiber(lambda: self.follow(step, link))
            Kept(app)
            assert in_a_fiber(lambda: self.follow(step, link)) == ["n"]

    @pytest.mark.parametrize(
        ("kwargs", "error"),
        [
            ({"deadline_s": "soon"}, None),
            ({"instructions": "y" * 300_000}, None),
            ({"instructions": "é" * 60_000}, None),
            ({}, JournalUnavailableError("away")),
        ],
        ids=["wrong arguments", "too large", "too large as its claim counts", "no journal"],
    )
    def test_without_a_row_its_message_says_it_all(
        self,
        app: Celery,
        step: StepTask,
        sent: list[dict[str, Any]],
        kwargs: dict[str, Any],
        error: Exception | None,
    ) -> None:
        journal = Kept(app, error)
        link = step.s(**kwargs).set(task_id="n", queue="agents", headers={names.INTAKE: 1})
        assert in_a_fiber(lambda: self.follow(step, link)) == ["n"]
        assert journal.rows == []
        assert sent[0]["body"][:2] == (("answer",), kwargs)
        assert sent[0]["headers"][names.INTAKE] == 1

    OTHERS: ClassVar[dict[str, dict[str, Any]]] = {
        "late": {"queue": "agents", "countdown": 60},
        "to where routes say": {},
        "of a group": {"queue": "agents", "group_id": "g"},
        "stamped": {"queue": "agents", "stamped_headers": ["s"], "s": 1},
    }

    @pytest.mark.parametrize("options", OTHERS.values(), ids=OTHERS)
    def test_all_else_goes_celerys_way(
        self, step: StepTask, sent: list[dict[str, Any]], options: dict[str, Any]
    ) -> None:
        link = step.s(agent="a").set(task_id="n", **options)
        with patch.object(publishing, "compose") as composed:
            assert in_a_fiber(lambda: self.follow(step, link)) == ["n"]
            assert not composed.called
        assert sent[0]["headers"]["id"] == "n"
