from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from celery import Celery, signals
from celery.exceptions import Ignore, Reject, Retry
from sqlalchemy import select, update
from sqlalchemy.exc import TimeoutError  # noqa: A004

from agents.plan import Expand, JoinPolicy, Member
from app.concurrency.future import Future
from app.execution.context import Step
from app.execution.ends import Ended
from app.execution.runtime import Runtime
from app.execution.task import StepTask
from app.journal.queries import reads
from app.journal.schema.models import Join
from app.journal.schema.models import Step as StepRow
from app.journal.schema.rows import Claimed, derived_id
from app.journal.steps import dead_letters
from app.journal.steps.claims import ClaimStep
from app.journal.steps.expansions import ExpandStep
from app.journal.steps.finishes import FinishStep
from app.messaging.results import reported
from celery_agents import names
from celery_agents.contracts.ask import Ask, StepOptions
from celery_agents.contracts.outcome import Answer, ErrorInfo, Outcome, State, Usage
from celery_agents.errors import (
    AgentFailedError,
    AgentsError,
    BreakerOpenError,
    DeadlineExceededError,
    IdInUseError,
    InvalidPayloadError,
    JournalUnavailableError,
    LoopStalledError,
    PayloadTooLargeError,
    ProviderUnavailableError,
    RateLimitedError,
    StepCancelledError,
    StepDeadError,
)
from celery_agents.wire.messages import fingerprint
from celery_agents.wire.shown import SHOWN
from tests.support.claims import claim

Run = Callable[[Step, StepOptions], Any]
SOON = 20


@pytest.fixture
def make(app: Celery) -> Callable[[Run], StepTask]:
    """Makes a task of a function."""

    def make(run: Run, request_type: type[StepOptions] = StepOptions) -> StepTask:
        task: StepTask = app.task(
            run, base=StepTask, name=f"test.{run.__name__}", request_type=request_type, shared=False
        )
        return task

    return make


@contextmanager
def message(task: StepTask, step_id: str, **request: Any) -> Iterator[None]:
    """The message that a worker has just received."""
    task.push_request(
        id=step_id, called_directly=False, hostname="worker@here", is_eager=False, **request
    )
    try:
        yield
    finally:
        task.pop_request()


def receive(task: StepTask, step_id: str, *args: Any, **kwargs: Any) -> Any:
    with message(task, step_id, args=args, kwargs=kwargs, delivery_info={"routing_key": "q"}):
        return task(*args, **kwargs)


def woken(task: StepTask, step_id: str) -> Any:
    with message(task, step_id, args=(), kwargs={}, **{names.JOURNALED: 1}):
        return task()


def row(runtime: Runtime, step_id: str) -> Any:
    return runtime.journal.read(
        lambda c: c.execute(select(StepRow.__table__).where(StepRow.id == step_id)).first()
    )


def due(runtime: Runtime, step_id: str) -> str:
    """Let the wait of a step be over."""
    past = update(StepRow).where(StepRow.id == step_id).values(ready_at=0)
    runtime.journal.transaction(lambda c: c.execute(past))
    return step_id


async def shout(step: Step, request: StepOptions) -> Answer:
    return Answer(value=str(request.input).upper(), usage=Usage(calls=1))


# ---------------------------------------------------------------- how a step ends


def test_a_step_runs_and_is_written_down(make: Any, runtime: Runtime) -> None:
    task = make(shout)
    assert receive(task, "s", "hello") == "HELLO"
    found = row(runtime, "s")
    assert (found.state, found.queue, found.attempts, found.settled) == ("succeeded", "q", 1, False)
    assert found.payload == {"args": ["hello"], "kwargs": {}}
    assert found.outcome["usage"] == {"calls": 1}
    with message(task, "s"):
        reported(task.request).token = 1
        task.on_success("HELLO", "s")
    until = time.monotonic() + SOON
    while not row(runtime, "s").settled:  # it goes along with the next commit, or soon alone
        assert time.monotonic() < until
        time.sleep(0.02)
    assert runtime.active == {}


def test_a_copy_of_the_message_gets_the_journaled_answer(make: Any, runtime: Runtime) -> None:
    ran: list[int] = []

    def once(step: Step, request: StepOptions) -> int:
        ran.append(1)
        return len(ran)

    task = make(once)
    assert [receive(task, "s", 1), receive(task, "s", 1), woken(task, "s")] == [1, 1, 1]
    assert ran == [1]


def test_called_as_a_function_it_is_one(make: Any) -> None:
    def double(step: Any, request: Any) -> int:
        return int(2 * request)

    assert make(double)(None, 21) == 42


@pytest.mark.parametrize("awaited", [True, False])
@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (AgentFailedError("no", {"a": 1}), AgentFailedError("no", {"a": 1})),
        (ValueError("password=hunter2"), AgentFailedError("ValueError: password=***")),
        (asyncio.CancelledError(), None),
    ],
    ids=["ours", "another", "cancelled by itself"],
)
def test_an_error_ends_the_step(
    make: Any,
    runtime: Runtime,
    raised: BaseException,
    expected: AgentsError | None,
    awaited: bool,
) -> None:
    async def failing(step: Step, request: StepOptions) -> None:
        raise raised

    def failing_at_once(step: Step, request: StepOptions) -> None:
        raise raised

    with pytest.raises(AgentFailedError) as error:
        receive(make(failing if awaited else failing_at_once), "s", 1)
    if expected is not None:
        assert (error.value.message, error.value.details) == (expected.message, expected.details)
    assert row(runtime, "s").state == "failed"
    assert "hunter2" not in json.dumps(row(runtime, "s").outcome)
    assert runtime.active == {}


def test_a_member_ends_with_an_outcome_for_its_parent(make: Any, runtime: Runtime) -> None:
    async def failing(step: Step, request: StepOptions) -> None:
        raise AgentFailedError("no")

    task = make(failing)

    def parent(step: Step, request: StepOptions) -> Expand:
        return Expand(members=(Member(key="m", task=task.name, input=1, options={}, agent="a"),))

    with pytest.raises(Ignore):
        receive(make(parent), "p", 1)
    (one,) = runtime.journal.read(
        lambda c: list(c.execute(select(StepRow.id).where(StepRow.parent_id == "p")).scalars())
    )
    assert woken(task, one) == {"state": "failed", "error": "agent_failed"}  # what Flower shows
    found = Outcome.model_validate(row(runtime, one).outcome)
    assert (found.state, found.member, found.agent, found.attempts) == (State.FAILED, "m", "a", 1)
    assert row(runtime, "p").state == "ready"


def test_a_pattern_can_be_woken_before_all_its_members_are_sent(
    make: Any, runtime: Runtime
) -> None:
    """A message that finds its step still active here would be dropped, and cost ten seconds."""
    seen: list[tuple[str, bool]] = []

    def sent(headers: dict[str, Any], **_: Any) -> None:
        seen.append((headers["id"], "p" in runtime.active))

    def parent(step: Step, request: StepOptions) -> Expand:
        return Expand(members=(Member(key="m", task="test.parent", input=1, options={}),))

    signals.before_task_publish.connect(sent)
    with pytest.raises(Ignore):
        receive(make(parent), "p", 1)
    assert [active for _, active in seen] == [False]
    assert row(runtime, "p").state == "waiting"


@pytest.mark.parametrize(("own_s", "waits_s"), [(None, 50), (500, 50), (5, 5)])
def test_a_pattern_waits_for_its_members_no_longer_than_it_has(
    make: Any, runtime: Runtime, own_s: float | None, waits_s: float
) -> None:
    """Whatever it asks for."""
    member = Member(key="m", task=names.APPROVAL, input=1, options={}, waits=True)

    def parent(step: Step, request: StepOptions) -> Expand:
        return Expand(members=(member,), join=JoinPolicy(timeout_s=own_s))

    with pytest.raises(Ignore):
        receive(make(parent), "p", 1, deadline_s=50)
    join = runtime.journal.read(lambda c: c.execute(select(Join.__table__)).one())
    assert join.deadline_at - row(runtime, "p").created_at == pytest.approx(
        (own_s == 5 and 5) or 50, abs=3
    )


def test_a_pattern_that_has_no_time_left_gets_no_members(make: Any, runtime: Runtime) -> None:
    def parent(step: Step, request: StepOptions) -> Expand:
        time.sleep(0.02)
        return Expand(members=(Member(key="m", task="test.parent", input=1, options={}),))

    with pytest.raises(DeadlineExceededError, match="was over"):
        receive(make(parent), "p", 1, deadline_s=0.01)
    assert row(runtime, "p").state == "failed"
    assert runtime.journal.members("p") == []


@pytest.mark.parametrize(("wait_s", "messages"), [(30, ["p", "m"]), (90, ["m"])])
def test_a_long_wait_for_members_stays_in_the_row(
    make: Any, runtime: Runtime, wait_s: float, messages: list[str]
) -> None:
    """A worker would hold its message unacknowledged until then."""
    sent: list[str] = []

    def seen(headers: dict[str, Any], **_: Any) -> None:
        sent.append("p" if headers["id"] == "p" else "m")

    def parent(step: Step, request: StepOptions) -> Expand:
        member = Member(key="m", task="test.parent", input=1, options={})
        return Expand(members=(member,), join=JoinPolicy(timeout_s=wait_s))

    signals.before_task_publish.connect(seen)
    with pytest.raises(Ignore):
        receive(make(parent), "p", 1)
    assert sent == messages


# ---------------------------------------------------------------- trying again


def flaky(after_s: float | None = None) -> Run:
    async def flaky(step: Step, request: StepOptions) -> str:
        if step.attempt == 1:
            details = {} if after_s is None else {"retry_after_s": after_s}
            raise ProviderUnavailableError("down", details)
        return "at last"

    return flaky


def test_a_retryable_error_is_tried_again(make: Any, runtime: Runtime) -> None:
    task = make(flaky())
    with pytest.raises(Retry) as retry:
        receive(task, "s", 1, retry={"base_delay_s": 0})
    assert isinstance(retry.value.exc, ProviderUnavailableError)
    found = row(runtime, "s")
    assert (found.state, found.error["kind"]) == ("ready", "unavailable")
    assert woken(task, "s") == "at last"
    assert row(runtime, "s").attempts == 2


REFUSED = {"breaker_open": BreakerOpenError, "rate_limited": RateLimitedError}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_was_refused_is_no_attempt(make: Any, runtime: Runtime, kind: str) -> None:
    tries: list[int] = []

    async def guarded(step: Step, request: StepOptions) -> str:
        tries.append(step.tries)
        if step.tries <= 3:
            raise REFUSED[kind]("later", {"retry_after_s": 0.01})
        return f"attempt {step.attempt}"

    task = make(guarded)
    once = {"max_attempts": 1, "base_delay_s": 0}
    with pytest.raises(Retry):
        receive(task, "s", 1, retry=once)
    assert (row(runtime, "s").attempts, row(runtime, "s").error["kind"]) == (0, kind)
    for _ in range(2):
        with pytest.raises(Retry):
            woken(task, due(runtime, "s"))
    assert woken(task, due(runtime, "s")) == "attempt 1"
    assert (row(runtime, "s").attempts, tries) == (1, [1, 2, 3, 4])
    assert runtime.journal.read(reads.retries) == 0


def test_its_first_refusal_gives_a_step_a_deadline(make: Any, runtime: Runtime) -> None:
    async def refused(step: Step, request: StepOptions) -> str:
        raise RateLimitedError("slowly")

    task, limit_s = make(refused), runtime.settings.refusal_limit_s
    with pytest.raises(Retry):
        receive(task, "open", 1)
    with pytest.raises(Retry):
        receive(task, "own", 1, deadline_s=900)
    for step_id, seconds in {"open": limit_s, "own": 900}.items():
        found = row(runtime, step_id)
        assert found.deadline_at - found.created_at == pytest.approx(seconds, abs=30)
    until = row(runtime, "open").deadline_at
    with pytest.raises(Retry):
        woken(task, due(runtime, "open"))
    assert row(runtime, "open").deadline_at == until  # not a new one with each refusal


@pytest.mark.parametrize("error", [BreakerOpenError, RateLimitedError])
def test_it_waits_no_longer_than_its_deadline(
    make: Any, runtime: Runtime, error: type[AgentsError]
) -> None:
    async def guarded(step: Step, request: StepOptions) -> str:
        raise error("later", {"retry_after_s": 50})

    with pytest.raises(error, match="later"):
        receive(make(guarded), "s", 1, deadline_s=20)
    assert row(runtime, "s").state == "failed"


def test_a_long_wait_stays_in_the_row(make: Any, runtime: Runtime) -> None:
    with pytest.raises(Ignore, match="by recovery"):
        receive(make(flaky(after_s=500)), "s", 1)
    assert row(runtime, "s").ready_at - row(runtime, "s").created_at > 499


def test_the_last_attempt_fails(make: Any, runtime: Runtime) -> None:
    with pytest.raises(ProviderUnavailableError) as error:
        receive(make(flaky(after_s=1)), "s", 1, retry={"max_attempts": 1})
    assert error.value.retry_after_s == 1
    assert row(runtime, "s").state == "failed"


def test_no_attempt_is_promised_that_would_come_after_the_deadline(
    make: Any, runtime: Runtime
) -> None:
    with pytest.raises(ProviderUnavailableError):
        receive(make(flaky(after_s=50)), "s", 1, deadline_s=20)
    assert row(runtime, "s").state == "failed"


def test_a_step_that_takes_too_long_is_stopped(make: Any, runtime: Runtime) -> None:
    stopped: list[bool] = []

    async def sleepy(step: Step, request: StepOptions) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            stopped.append(True)
            raise

    with pytest.raises(DeadlineExceededError, match=r"within 0\.05 s"):
        receive(make(sleepy), "s", 1, timeout_s=0.05, retry={"max_attempts": 1})
    assert stopped == [True]


def test_a_cancelled_step_is_stopped(make: Any, runtime: Runtime) -> None:
    async def cancelled(step: Step, request: StepOptions) -> None:
        after = await asyncio.to_thread(step.runtime.journal.cancel, step.step_id)
        step.runtime.cancel_steps(after.cancels)
        await asyncio.sleep(60)

    with pytest.raises(StepCancelledError):
        receive(make(cancelled), "s", 1)
    assert row(runtime, "s").state == "cancelled"


@pytest.mark.parametrize("after_s", [0.0, 3600.0])
def test_a_step_that_is_cancelled_as_its_attempt_fails_is_cancelled(
    make: Any, runtime: Runtime, after_s: float
) -> None:
    """It is to be tried again, and the news of its cancellation come too late by a hair."""

    async def limited(step: Step, request: StepOptions) -> Answer:
        after = await asyncio.to_thread(runtime.journal.cancel, step.step_id)
        assert after.cancels == ["s"]
        raise RateLimitedError("later", {"retry_after_s": after_s})

    with pytest.raises(StepCancelledError):
        receive(make(limited), "s", 1)
    assert row(runtime, "s").state == "cancelled"


def refuse_the_end_of_a_call(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal is away as the next call ends, and back after it."""
    real = runtime.journal.finish_call

    def away(*_: Any, **__: Any) -> Future[None]:
        monkeypatch.setattr(runtime.journal, "finish_call", real)
        lost: Future[None] = Future()
        lost.set_exception(JournalUnavailableError("away"))
        return lost

    monkeypatch.setattr(runtime.journal, "finish_call", away)


def test_a_step_that_is_given_back_keeps_its_finished_calls(
    make: Any, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal is away as the first call ends, and back when the worker stops in the second."""
    paid: list[str] = []
    second = threading.Event()

    async def pay(step: Step, name: str) -> Answer:
        async def perform(key: str) -> Answer:
            paid.append(name)
            if paid == ["first", "second"]:
                second.set()
                await asyncio.sleep(SOON)
            return Answer(value=name, usage=Usage(calls=1))

        return await step.call("model", perform, fingerprint=name)

    async def two(step: Step, request: StepOptions) -> Answer:
        await pay(step, "first")
        return await pay(step, "second")

    refuse_the_end_of_a_call(runtime, monkeypatch)
    task = make(two)

    def stop() -> None:
        second.wait(SOON)
        runtime.drain()

    stopping = threading.Thread(target=stop)
    stopping.start()
    with pytest.raises(Ignore, match="given back"):
        receive(task, "s", 1)
    stopping.join()
    assert row(runtime, "s").state == "ready"
    runtime._draining = False  # as the next worker
    assert woken(task, "s") == "second"
    assert paid == ["first", "second", "second"]


def test_a_step_that_waits_for_members_keeps_its_finished_calls(
    make: Any, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal is away as its call ends, and back when its members are written."""
    paid: list[str] = []

    async def perform(key: str) -> Answer:
        paid.append(key)
        return Answer(value="paid", usage=Usage(calls=1))

    members = make(shout)

    async def asks(step: Step, request: StepOptions) -> Any:
        answer = await step.call("model", perform)
        if await asyncio.to_thread(runtime.journal.members, step.step_id):
            return answer
        member = Member(key="m", task=members.name, input="a", options={}, agent="a")
        return Expand(members=(member,))

    refuse_the_end_of_a_call(runtime, monkeypatch)
    task = make(asks)
    with pytest.raises(Ignore):
        receive(task, "s", 1)
    woken(members, derived_id("s", "m"))
    assert woken(task, "s") == "paid"
    assert len(paid) == 1


def test_connections_that_are_scarce_are_no_failure_of_a_step(make: Any, runtime: Runtime) -> None:
    """The pool gives none in time: the database is busy, and the step is tried again."""
    pool: Any = runtime.journal.engine.pool

    def decide(step: Step, request: StepOptions) -> Any:
        pool._timeout = 0.1
        with ExitStack() as held:
            with suppress(TimeoutError):
                for _ in range(100):
                    held.enter_context(runtime.journal.engine.connect())
            return runtime.journal.members(step.step_id)

    with pytest.raises((Retry, Ignore)):
        receive(make(decide), "s", 1)
    assert row(runtime, "s").state == "ready"


def test_no_agent_is_asked_by_a_worker_that_gives_back(make: Any, runtime: Runtime) -> None:
    """A step may have waited for its permit until then."""
    runtime.drain()
    with pytest.raises(Ignore, match="given back"):
        receive(make(shout), "s", "hello")
    assert (row(runtime, "s").state, row(runtime, "s").attempts) == ("ready", 0)


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


def test_a_step_that_runs_here_already_is_left_alone(make: Any, runtime: Runtime) -> None:
    def again(step: Step, request: StepOptions) -> str:
        with pytest.raises(Ignore, match="runs in this process"):
            receive(make(shout), step.step_id, 1)
        return "first"

    assert receive(make(again), "s", 1) == "first"


def test_a_message_without_a_row_goes(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), pytest.raises(Ignore):
        woken(make(shout), "nobody")
    assert "nobody has no row" in caplog.text


def test_a_late_finisher_tells_nobody(make: Any, runtime: Runtime) -> None:
    def slow(step: Step, request: StepOptions) -> int:
        step.runtime.journal.give_back([step.step_id])
        assert isinstance(step.runtime.journal.claim(step.step_id).result(SOON), Claimed)
        return 1

    with pytest.raises(Ignore, match="too late"):
        receive(make(slow), "s", 1)
    assert row(runtime, "s").state == "running"


def test_a_finish_that_finds_no_row_gives_the_message_back(make: Any, runtime: Runtime) -> None:
    """A database that crashed may have forgotten a claim: it waits for no disk."""

    def slow(step: Step, request: StepOptions) -> int:
        with runtime.journal.engine.begin() as c:
            for name in ("steps", "runs"):
                c.exec_driver_sql(f"DELETE FROM {name}")
        return 1

    with pytest.raises(Reject) as given_back:
        receive(make(slow), "s", 1)
    assert given_back.value.requeue
    assert receive(make(shout), "s", "a") == "A"


# ---------------------------------------------------------------- what is refused


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


# ---------------------------------------------------------------- small parts


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(state=State.SKIPPED),
        Outcome(state=State.DEAD, error=ErrorInfo.of(StepDeadError("x"))),
        Outcome(state=State.CANCELLED, error=ErrorInfo.of(StepCancelledError())),
    ],
)
def test_only_the_outermost_task_raises(make: Any, outcome: Outcome) -> None:
    task = make(shout)
    with message(task, "s"):
        assert (
            task._report(task.request, Ended(outcome, claim(parent_id="parent")))["state"]
            == outcome.state
        )
        with pytest.raises(AgentsError) as error:
            task._report(task.request, Ended(outcome, claim(payload={})))
        assert reported(task.request).outcome == outcome.compact()
    assert error.value.kind == (outcome.error.kind if outcome.error else "cancelled")


def test_what_people_see_of_the_arguments_is_short_and_redacted(make: Any) -> None:
    seen: list[dict[str, Any]] = []

    def sent(headers: dict[str, Any], **_: Any) -> None:
        seen.append(headers)

    signals.before_task_publish.connect(sent)
    make(shout).apply_async(("x" * 500,), {"instructions": "api_key=abc123"})
    (headers,) = seen
    assert len(headers["argsrepr"]) <= SHOWN + 2
    assert "abc123" not in headers["kwargsrepr"]


# ---------------------------------------------------------------- what the journal refuses


def refusing(monkeypatch: pytest.MonkeyPatch, kind: Any, which: Callable[[Any], bool]) -> None:
    """Have the journal refuse some writes, as a database does a text that it cannot store."""
    apply, shot = kind.apply.__func__, kind.shot.__func__

    def refused(cls: Any, connection: Any, operations: Any) -> Any:
        if any(which(o) for o in operations):
            raise ValueError("a zero byte, or password=hunter2")
        return apply(cls, connection, operations)

    def none(cls: Any, operations: Any) -> Any:
        return None if any(which(o) for o in operations) else shot(cls, operations)

    monkeypatch.setattr(kind, "apply", classmethod(refused))
    monkeypatch.setattr(kind, "shot", classmethod(none))


def test_an_outcome_that_the_journal_refuses_is_a_failure_that_cost_the_same(
    make: Any, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing(monkeypatch, FinishStep, lambda o: o.conclusion.outcome.ok)
    with pytest.raises(AgentFailedError, match="journal does not take") as error:
        receive(make(shout), "s", "hello")
    assert "hunter2" not in error.value.message
    found = row(runtime, "s")
    assert (found.state, found.attempts, found.outcome["usage"]) == ("failed", 1, {"calls": 1})


def test_one_that_cannot_end_at_all_is_left_to_its_attempts(
    make: Any, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again when the heartbeat gives it back, until it is dead: not at once."""
    refusing(monkeypatch, FinishStep, lambda _: True)
    with pytest.raises(Ignore, match="cannot be ended"):
        receive(make(shout), "s", "hello")
    assert (row(runtime, "s").state, row(runtime, "s").attempts) == ("running", 1)


def test_members_that_the_journal_refuses_fail_their_pattern(
    make: Any, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parent(step: Step, request: StepOptions) -> Expand:
        return Expand(members=(Member(key="m", task="test.parent", input=1, options={}),))

    refusing(monkeypatch, ExpandStep, lambda _: True)
    with pytest.raises(AgentFailedError, match="journal does not take"):
        receive(make(parent), "p", 1)
    assert row(runtime, "p").state == "failed"


def test_a_pattern_that_asks_in_vain_fails(make: Any, runtime: Runtime) -> None:
    task = make(shout)

    def parent(step: Step, request: StepOptions) -> Expand:
        step.members()
        return Expand(members=(Member(key="m", task=task.name, input="x", options={}),))

    pattern = make(parent)
    with pytest.raises(Ignore):
        receive(pattern, "p", 1)
    woken(task, derived_id("p", "m"))
    with pytest.raises(AgentFailedError, match="for ever"):
        woken(pattern, "p")
    assert row(runtime, "p").state == "failed"


def test_a_row_that_the_journal_refuses_is_told(
    make: Any, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing(monkeypatch, ClaimStep, lambda _: True)
    with pytest.raises(InvalidPayloadError, match="does not take the step"):
        receive(make(shout), "s", "hello")
    with pytest.raises(Ignore, match="more seldom"):  # of a row that is there
        woken(make(shout), "s")


# ---------------------------------------------------------------- one id, one call


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


def test_a_stall_is_an_attempt_that_ended_badly(make: Callable[[Run], StepTask]) -> None:
    """It comes again as long as its attempts allow, then it is a dead letter."""

    async def stalls(step: Step, request: StepOptions) -> Any:
        raise LoopStalledError

    task = make(stalls)
    retry = {"max_attempts": 2, "base_delay_s": 0.001, "max_delay_s": 0.001}
    with pytest.raises(Retry):
        receive(task, "stalls", "x", retry=retry)
    time.sleep(0.01)
    with pytest.raises(StepDeadError, match=r"Given up after 2 attempts.*computed on its worker"):
        woken(task, "stalls")


def test_poison_on_the_loop_ends_as_a_dead_letter(
    make: Callable[[Run], StepTask], runtime: Runtime
) -> None:
    runtime.watchdog._patience_s, runtime.watchdog._every_s = 0.5, 0.05

    async def poison(step: Step, request: StepOptions) -> Any:
        while True:
            pass

    async def other(step: Step, request: StepOptions) -> Any:
        return Answer(value="served")

    with pytest.raises(StepDeadError, match="Given up after 1 attempts"):
        receive(make(poison), "poison", "x", retry={"max_attempts": 1})
    assert receive(make(other), "other", "x") == "served"
    assert [
        letter["id"] for letter in runtime.journal.read(lambda c: dead_letters.listed(c, 9))
    ] == ["poison"]
