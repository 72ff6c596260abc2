"""Wakes that a worker takes itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from celery import signals
from sqlalchemy import select, update

from app.concurrency.fibers import Fiber, wait
from app.concurrency.future import Future
from app.concurrency.loop import process_loop
from app.execution.attempts.attempt import waited_s
from app.execution.attempts.own_wakes import (
    LEFT,
    TOGETHER,
    Handed,
    OwnWakes,
    TakesOwnWakes,
    of_worker,
)
from app.execution.flows import PARKED_MAX, Instances
from app.execution.publish import NextRow, own_message
from app.execution.runtime import Active, Runtime, runtime_of
from app.journal.schema.models import Step
from app.journal.schema.models import Worker as WorkerRow
from app.journal.schema.rows import Claimed, NewStep, Wake
from app.journal.steps.due import DueFlow
from celery_agents import names
from celery_agents.contracts.outcome import Outcome, State
from tests.support.fibers import in_a_fiber


def due(step_id: str, envelope: Any = None, **more: Any) -> DueFlow:
    told: dict[str, Any] = {"args": ["hello"], "kwargs": {"flow": "sleeps"}}
    given = {"task": names.FLOW, "queue": "agents", "priority": 7, "run_id": step_id}
    rest = {"parent_id": None, "member": None, "agent": None, "payload": told}
    claimed = {"token": 2, "attempt": 1, "max_attempts": 3, "remaining_s": None}
    return DueFlow(Claimed(id=step_id, **{**given, **rest, **claimed, **more}), envelope)


def ids(claims: Iterable[Claimed]) -> list[str]:
    return [claim.id for claim in claims]


class Worker:
    """Celery's consumer, whose main thread does at once what it is asked for."""

    def __init__(self, runtime: Runtime, room: int = 10) -> None:
        self.app, self.pool = runtime.app, SimpleNamespace(room=room)
        self.hub = SimpleNamespace(call_soon=lambda call, *args: call(*args))
        self.strategies = {names.FLOW: self._take}
        self.on_task_message = set[Any]()
        self.taken: list[Any] = []
        self.acks: list[Any] = []
        self.hostname: str | None = None

    def _take(self, message: Any, body: Any, ack: Any, reject: Any, callbacks: Any) -> None:
        assert body is None
        assert callbacks is self.on_task_message
        if message.headers["id"] == "bad":
            raise ValueError("no")
        self.taken.append(message)
        self.acks.append((ack, reject))


@pytest.fixture
def worker(runtime: Runtime) -> Worker:
    return Worker(runtime)


@pytest.fixture
def own(worker: Worker, runtime: Runtime) -> OwnWakes:
    made = OwnWakes(runtime)
    made.begin(worker)
    return made


def test_they_come_to_celery_as_messages_do(
    own: OwnWakes, worker: Worker, runtime: Runtime
) -> None:
    envelope = {"link": [{"task": "t", "args": [], "kwargs": {}}], "reply_to": "me"}
    own.take([due("a", tenant="acme", envelope=envelope), due("b")])
    assert not own.returned()
    first, second = worker.taken
    assert first.headers["task"] == names.FLOW
    assert (first.headers["id"], first.headers["root_id"]) == ("a", "a")
    assert first.headers[names.JOURNALED] == 1
    assert (first.headers[names.TENANT], names.TENANT in second.headers) == ("acme", False)
    assert "sleeps" in first.headers["kwargsrepr"]
    assert first.payload[0] == ()
    assert first.payload[2]["callbacks"] == envelope["link"]
    assert (first.properties["reply_to"], first.properties["priority"]) == ("me", 7)
    assert (first.delivery_info["routing_key"], len(first.body)) == ("agents", 0)


def test_of_encrypted_ones_nothing_is_shown(
    own: OwnWakes, worker: Worker, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime.app, "seals", object())
    own.take([due("a", payload={"args": ["secret"], "kwargs": {"flow": "sleeps"}})])
    assert "secret" not in str(worker.taken[0].headers)


def test_their_claims_are_there_when_their_messages_begin(
    own: OwnWakes, worker: Worker, runtime: Runtime
) -> None:
    worker.hub.call_soon = lambda *_: None
    own.take([due("a"), due("b")])
    assert [(i, claim.token) for i, claim in runtime.claimed.items()] == [("a", 2), ("b", 2)]


def test_one_that_was_parked_here_is_left_to_others(
    own: OwnWakes, worker: Worker, runtime: Runtime
) -> None:
    Instances.of(runtime).park("b")
    own.take([due("a"), due("b")])
    assert ids(own.returned()) == ["b"]
    assert [one.headers["id"] for one in worker.taken] == ["a"]
    assert [*runtime.claimed] == ["a"]


def test_the_newest_parked_ones_are_remembered() -> None:
    instances = Instances(0)
    for number in range(PARKED_MAX + 1):
        instances.park(str(number))
    assert [instances.has_parked(one) for one in ("0", "1", str(PARKED_MAX))] == [
        False,
        True,
        True,
    ]


def test_one_that_cannot_be_taken_does_not_keep_the_others(
    own: OwnWakes, worker: Worker, runtime: Runtime
) -> None:
    handed = own.take([due("bad"), due("unknown", task="t"), due("a")])
    assert [one.headers["id"] for one in worker.taken] == ["a"]
    assert (handed._under_way, ids(own.returned())) == (1, ["bad", "unknown"])


def test_of_more_than_it_takes_each_lets_others_go_first(
    own: OwnWakes, worker: Worker, runtime: Runtime
) -> None:
    own.take([due("a")], bulk=True)
    own.take([due("b")])
    assert [names.BULK in one.headers for one in worker.taken] == [True, False]


def test_those_that_come_to_nothing_are_given_back(
    own: OwnWakes, worker: Worker, runtime: Runtime
) -> None:
    """Dropped by Celery, or given back, or not begun when it lets go of messages; and each once."""
    told: list[str] = []
    own.returns = lambda: told.append("looks")
    handed = own.take([due(one) for one in ("done", "dropped", "back", "left", "runs", "bad")])
    assert ids(own.returned()) == ["bad"]
    for step_id in ("done", "back", "runs"):
        del runtime.claimed[step_id]  # its message has begun
    (done, _), (dropped, _), (_, back), (late, _), (_, ends) = worker.acks
    done(None, ())
    dropped(None, ())
    back(None, (), True)
    assert ids(own.returned()) == ["dropped", "back"]
    own.end()
    assert ids(own.returned()) == ["left"], "what runs may go on to its end"
    late(None, ())
    ends(None, (), True)
    assert own.returned() == []
    assert (handed._under_way, told, runtime.claimed) == (0, ["looks"] * 4, {})


def test_one_that_is_due_again_before_celery_has_done_with_it_keeps_its_claim(
    own: OwnWakes, worker: Worker, runtime: Runtime
) -> None:
    """It waits again before its message is acknowledged, and its time may be short."""
    first = own.take([due("a")])
    del runtime.claimed["a"]  # its message has begun, and lets it wait
    second = own.take([due("a", token=3)])
    (ack, _), (later, _) = worker.acks
    ack(None, ())
    assert (own.returned(), runtime.claimed["a"].token) == ([], 3)
    assert (first.wait(0.0), second.wait(0.0)) == (True, False)
    del runtime.claimed["a"]
    later(None, ())
    assert (own.returned(), second.wait(0.0), own._under_way) == ([], True, {})


def test_who_hands_over_waits_until_few_are_left(
    own: OwnWakes, worker: Worker, runtime: Runtime
) -> None:
    handed = own.take([due(str(n)) for n in range(TOGETHER)])
    for number, (ack, reject) in enumerate(worker.acks[: TOGETHER - LEFT]):
        assert not handed.wait(0.0)
        if number % 2:
            ack(None, ())
        else:
            reject(None, (), False)
    assert handed.wait(0.0)
    assert Handed(0).wait(-1.0)


@pytest.mark.parametrize(("slots", "left"), [(1, 0), (3, 0), (12, 3)])
def test_of_few_slots_most_are_free_again_before_more_come(
    own: OwnWakes, worker: Worker, runtime: Runtime, slots: int, left: int
) -> None:
    """Else a small worker would take all that are due, however many, as long as they last."""
    handed = own.take([due(str(n)) for n in range(slots)])
    for ack, _ in worker.acks[: slots - left]:
        assert not handed.wait(0.0)
        ack(None, ())
    assert handed.wait(0.0)


def test_who_hands_over_waits_until_the_main_thread_has_them(
    own: OwnWakes, worker: Worker, runtime: Runtime
) -> None:
    """Until then they take no slots: while that thread is held up, all seem to be free."""
    calls: list[Any] = []
    worker.hub.call_soon = lambda call, *args: calls.append((call, args))
    handed = own.take([due("a")])
    worker.strategies = {}  # it cannot take it
    assert not handed.wait(0.0)
    ((call, args),) = calls
    call(*args)
    assert handed.wait(0.0)


def test_one_that_this_process_has_not_done_with_goes_by_a_message(
    own: OwnWakes, worker: Worker, runtime: Runtime
) -> None:
    """It would be dropped here, and found again much later: its time came with its last write."""
    runtime.active["b"] = Active()
    own.take([due("a"), due("b")])
    assert ids(own.returned()) == ["b"]
    assert [one.headers["id"] for one in worker.taken] == ["a"]


def ready(step_id: str = "n", **more: Any) -> NewStep:
    payload: dict[str, Any] = {"args": ["hello"], "kwargs": {"agent": "a"}}
    about: dict[str, Any] = {"queue": "agents", "payload": payload, "max_attempts": 3, **more}
    return NewStep(step_id, step_id, names.ASK, **about)


def row_of(runtime: Runtime, step_id: str = "n") -> tuple[Any, ...]:
    columns = Step.state, Step.token, Step.attempts, Step.worker_id
    look = select(*columns).where(Step.id == step_id)
    return tuple(runtime.journal.transaction(lambda c: c.execute(look).one()))


def test_what_follows_a_lone_step_is_claimed_as_it_is_made(
    own: OwnWakes, worker: Worker, runtime: Runtime
) -> None:
    recorded = in_a_fiber(lambda: own.record(ready()))
    assert row_of(runtime) == ("running", 1, 1, runtime.journal.me.id)
    assert runtime.claimed == {}, "its message has yet to come"
    worker.strategies = {names.ASK: worker._take}
    wake = Wake.of(ready(), None)
    recorded.takes(own_message(runtime.app, wake))
    (message,) = worker.taken
    assert message.headers["id"] == "n"
    claim = runtime.claimed["n"]
    assert (claim.token, claim.payload["args"], waited_s(claim)) == (1, ["hello"], 0.0)
    (ack, _) = worker.acks[0]
    ack(None, ())  # Celery has dropped it
    assert (ids(own.returned()), runtime.claimed) == (["n"], {})


@pytest.mark.parametrize("on", [True, False])
def test_watchers_are_told_of_what_no_broker_has_carried(
    own: OwnWakes, worker: Worker, runtime: Runtime, monkeypatch: pytest.MonkeyPatch, on: bool
) -> None:
    """Where they want to hear of messages that are sent: else nobody is to be asked."""
    events: list[dict[str, Any]] = []
    producer = SimpleNamespace(publish=lambda event, **_: events.append(event))
    monkeypatch.setattr(runtime.app, "producer_or_acquire", lambda: nullcontext(producer))
    runtime.app.conf.task_send_sent_event = on
    worker.strategies[names.ASK] = worker._take
    recorded = in_a_fiber(lambda: own.record(ready()))
    recorded.takes(own_message(runtime.app, Wake.of(ready(), None)))
    own.take([due("a")])
    assert [message.headers["id"] for message in worker.taken] == ["n", "a"]
    told = [(event["type"], event["uuid"], event["name"], event["queue"]) for event in events]
    sent = [("n", names.ASK, "agents"), ("a", names.FLOW, "agents")]
    assert told == ([("task-sent", *one) for one in sent] if on else [])


def test_it_is_given_back_where_the_consumer_has_stopped_meanwhile(
    own: OwnWakes, worker: Worker, runtime: Runtime
) -> None:
    recorded = in_a_fiber(lambda: own.record(ready()))
    own.end()
    recorded.takes(own_message(runtime.app, Wake.of(ready(), None)))
    assert (ids(own.returned()), runtime.claimed, worker.taken) == (["n"], {}, [])


@pytest.mark.parametrize("why", ["no fiber", "company", "no slot", "elsewhere"])
def test_what_follows_waits_for_its_message_where_others_may_be_quicker(
    own: OwnWakes, worker: Worker, runtime: Runtime, why: str
) -> None:
    def record() -> NextRow:
        if why == "company":
            Fiber(process_loop(), lambda: wait(held)).begin()
        return own.record(ready(queue="far" if why == "elsewhere" else "agents"))

    held: Future[None] = Future()
    if why == "no slot":
        worker.pool.room = 0
    try:
        recorded = record() if why == "no fiber" else in_a_fiber(record)
    finally:
        held.set_result(None)
    assert recorded.takes is None
    assert row_of(runtime) == ("ready", 0, 0, None)


def test_of_many_that_follow_as_many_are_claimed_as_there_are_slots(
    own: OwnWakes, worker: Worker, runtime: Runtime
) -> None:
    """Their slots are free until the main thread has them; other workers may have some, too."""
    calls: list[Any] = []
    worker.pool.room, worker.hub.call_soon = 2, lambda *call: calls.append(call)

    def record(step_id: str) -> bool:
        recorded = own.record(ready(step_id))
        if recorded.takes is not None:
            recorded.takes(own_message(runtime.app, Wake.of(ready(step_id), None)))
        return recorded.takes is not None

    assert in_a_fiber(lambda: [record(one) for one in "abcd"]) == [True, True, False, False]
    assert [row_of(runtime, one)[0] for one in "abcd"] == ["running"] * 2 + ["ready"] * 2
    assert len(calls) == 2
    runtime.claimed.clear()  # their messages have begun
    assert in_a_fiber(lambda: record("e"))


def test_a_row_that_is_there_already_is_woken_by_a_message(
    own: OwnWakes, worker: Worker, runtime: Runtime
) -> None:
    """Who published this before has died since; another worker may have it, or have ended it."""
    (claim,) = [runtime.journal.claim("n", ready()).result()]
    assert isinstance(claim, Claimed)
    assert in_a_fiber(lambda: own.record(ready())).takes is None
    assert row_of(runtime)[:2] == ("running", 1)
    runtime.journal.finish(claim, Outcome(state=State.SUCCEEDED, value=1)).result()
    assert in_a_fiber(lambda: own.record(ready())).takes is None
    assert row_of(runtime)[:2] == ("succeeded", 1)


def test_without_a_lease_there_is_a_row_all_the_same(
    own: OwnWakes, worker: Worker, runtime: Runtime
) -> None:
    runtime.journal.transaction(lambda c: c.execute(update(WorkerRow).values(lease_until=0)))
    assert in_a_fiber(lambda: own.record(ready())).takes is None
    assert row_of(runtime) == ("ready", 0, 0, None)


def test_every_worker_takes_them_while_its_consumer_does(runtime: Runtime) -> None:
    app = runtime.app
    assert TakesOwnWakes in app.steps["consumer"]
    consumer = Worker(runtime)
    step, own = TakesOwnWakes(consumer), of_worker(runtime_of(app))
    step.start(consumer)
    assert own.room == consumer.pool.room
    step.stop(consumer)
    assert own.room == 0


@contextmanager
def _seen(signal: Any) -> Iterator[None]:
    def see(**_: Any) -> None: ...

    signal.connect(see)
    try:
        yield
    finally:
        signal.disconnect(see)


@pytest.mark.parametrize(("slots", "room"), [(3, 3), (0, 0), (-2, -2), (1_000, TOGETHER)])
def test_it_takes_as_many_as_it_has_slots(runtime: Runtime, slots: int, room: int) -> None:
    own, worker = OwnWakes(runtime), Worker(runtime, slots)
    assert (own.room, own.queues) == (0, [])
    own.begin(worker)
    assert own.room == room
    assert own.queues == [*runtime.app.amqp.queues.consume_from]
    for signal in (signals.before_task_publish, signals.after_task_publish):
        with _seen(signal):
            assert own.room == 0
    worker.pool = SimpleNamespace()  # another pool, which does not say
    assert own.room == 0


def test_it_takes_none_without_a_consumer_or_a_loop_or_before_it_stops(
    own: OwnWakes, worker: Worker, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.hub = None  # type: ignore[assignment]
    assert own.room == 0
    own.end()
    assert own.room == 0
    own.take([due("a")])
    assert (ids(own.returned()), worker.taken) == (["a"], [])
    own.begin(worker)
    monkeypatch.setattr(Runtime, "stopping", property(lambda _: True))
    assert own.room == 0
