"""Agents without effects that a flow asks in a row: each runs before the end before it is written.

Whatever comes between, the flow comes to what it would have come to without that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from celery import signals
from celery.worker import state
from sqlalchemy import select

import tasks
from agents.current import CURRENT
from app.admission.guards.admission import AdmissionGuard
from app.execution.attempts import sequels
from app.execution.runtime import Runtime
from app.journal.ahead import Ahead
from app.journal.schema.models import Call
from app.journal.schema.rows import derived_id
from app.telemetry import metrics
from app.telemetry.metrics import Metrics
from celery_agents import agent, flow, names
from celery_agents.contracts.outcome import Answer, Usage
from celery_agents.errors import AgentFailedError, AgentsError, ProviderUnavailableError
from tests.support.fibers import in_a_fiber
from tests.unit.app.execution.attempts.test_sequels import FLOW, STEPS, Worker
from tests.unit.app.execution.task.support import due, row

assert tasks  # they are tasks of each app
LONG_S = 3600.0
SOON_S = 60.0
DOES: dict[int, Any] = {}
ASKED: list[int] = []


@agent(effects="pure")
async def think(told: Any) -> Any:
    """Gives its input back; does, for the one of a number, what its test wants."""
    n = told["n"]
    ASKED.append(n)
    return await DOES[n](n) if n in DOES else n


@agent
async def charge(told: Any) -> Any:
    """Does as the other one, and says nothing of its effects."""
    return await think(told)


#: Whom the flow asks, one after the other; by default the one without effects.
WHOM: dict[int, str] = {}
#: Options of each.
OPTIONS: dict[str, Any] = {}


@flow
async def thoughts(run: Any, told: Any) -> Any:
    """Asks one after the other, whatever becomes of each."""
    found: list[Any] = []
    for n in range(STEPS):
        try:
            found.append(await run.ask(WHOM.get(n, "think"), {"n": n}, **OPTIONS))
        except AgentsError as error:
            found.append(error.kind)
    return found


@flow
async def hears(run: Any, told: Any) -> Any:
    """Waits for a word behind all."""
    found = [await run.ask("think", {"n": n}) for n in range(STEPS)]
    return [*found, await run.signal("word")]


@pytest.fixture
def worker(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    module = ModuleType("flows")
    vars(module).update(think=think, charge=charge, thoughts=thoughts, hears=hears)
    runtime.agents.registry.flows.add_module(module)
    runtime.agents.registry.add_module(module)
    monkeypatch.setattr("app.execution.task.SEQUEL_S", LONG_S)
    monkeypatch.setattr(sequels, "SHARED_S", LONG_S)
    made = Worker(runtime)
    yield made
    signals.before_task_publish.disconnect(made._sent)
    for one in (DOES, WHOM, ASKED, OPTIONS):
        one.clear()


def ends(worker: Worker, name: str = "thoughts") -> Any:
    def work() -> Any:
        worker.start(name)
        return worker.work()

    return in_a_fiber(work)


def goes_on(worker: Worker) -> Any:
    return in_a_fiber(worker.work)


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[Ahead]:
    """The rows of ends that are written, in their order."""
    found: list[Ahead] = []
    write = Ahead.write

    def noting(self: Ahead) -> Any:
        if self not in found:
            found.append(self)
        return write(self)

    monkeypatch.setattr(Ahead, "write", noting)
    return found


def same_as_by_messages(worker: Worker, *, done: int = STEPS) -> None:
    told = worker.history()
    assert [kind for kind, *_ in told].count("done") == done
    assert [then[0][1] for *_, then in told if then].count("ask") == STEPS
    members = worker.members().values()
    assert sorted(one.position for one in members) == [*range(STEPS)]
    assert {(one.token, one.settled) for one in members} == {(1, True)}


@pytest.mark.parametrize(
    ("whom", "lengths"),
    [
        ({}, [STEPS - 1]),
        # One with effects begins when all before it is written, and its end is by itself.
        ({5: "charge"}, [5, STEPS - 7]),
        (dict.fromkeys(range(STEPS), "charge"), []),
    ],
)
def test_ends_are_written_together(
    worker: Worker, rows: list[Ahead], whom: dict[int, str], lengths: list[int]
) -> None:
    WHOM.update(whom)
    assert ends(worker) == [*range(STEPS)]
    assert [len(one.goings) for one in rows] == lengths
    same_as_by_messages(worker)
    assert [*range(STEPS)] == ASKED
    assert len(worker.sent) <= 6, worker.sent


def test_a_row_lasts_no_longer_than_it_may(
    worker: Worker, rows: list[Ahead], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequels, "SHARED_S", 0.0)
    assert ends(worker) == [*range(STEPS)]
    assert len(rows) >= (STEPS - 1) / 2
    same_as_by_messages(worker)


def test_in_a_thread_each_is_written_by_itself(worker: Worker, rows: list[Ahead]) -> None:
    """Nobody there would write them in time."""
    worker.start("thoughts")
    assert worker.work() == [*range(STEPS)]
    assert not rows


def test_an_end_is_written_while_the_next_one_takes_long(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequels, "SHARED_S", 0.01)
    journal, states = worker.runtime.journal, []

    async def waits(n: int) -> int:
        until = time.monotonic() + SOON_S
        last = derived_id(FLOW, str(n + 1))
        while not await asyncio.to_thread(journal.known, last):
            assert time.monotonic() < until, "it is not written"
            await asyncio.sleep(0.01)
        states.append({key: one.state for key, one in worker.members().items()})
        return n

    DOES[4] = waits
    assert ends(worker) == [*range(STEPS)]
    assert states == [dict.fromkeys("1234", "succeeded") | {"5": "running"}]
    assert [*range(STEPS)] == ASKED


def _says(worker: Worker) -> Any:
    journal = worker.runtime.journal

    async def says(n: int) -> Any:
        if ASKED.count(n) > 1:
            return n
        _, after = journal.flows.signal(FLOW, ("word", "early"), "id", journal.rules)
        worker.runtime.follow(after)
        return n

    return says


@pytest.mark.parametrize("n", [0, 1, 4, STEPS - 1])
def test_a_word_that_comes_amid_is_told_and_the_rest_is_done_again(worker: Worker, n: int) -> None:
    DOES[n] = _says(worker)
    assert ends(worker, "hears") == [*range(STEPS), "early"]
    kinds = [kind for kind, *_ in worker.history()]
    assert (kinds.count("done"), kinds.count("signal")) == (STEPS, 1)
    # The first of the row had ended by the journal; what came behind it nobody had seen.
    assert [*range(STEPS), *range(1, STEPS)] == ASKED
    same_as_by_messages(worker)


@pytest.mark.parametrize("n", [0, 1, 4, STEPS - 1])
def test_each_is_counted_and_told_once_though_it_is_done_again(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, n: int
) -> None:
    seen: list[tuple[str, str]] = []
    tells = SimpleNamespace(enabled=True, send=lambda kind, uuid, **_: seen.append((uuid, kind)))
    requests = SimpleNamespace(get=lambda _: SimpleNamespace(_eventer=tells))
    monkeypatch.setattr(state, "requests", requests)
    counts = worker.runtime.metrics = Metrics(["think"])
    DOES[n] = _says(worker)
    assert ends(worker, "hears") == [*range(STEPS), "early"]
    assert len(ASKED) > STEPS
    found = {(metric.name, labels): value for metric, labels, value in counts.read()}
    assert found[metrics.STEPS.name, (names.ASK, "think", "succeeded")] == STEPS
    waits = found[metrics.WAIT.name, (names.ASK,)]
    assert isinstance(waits, list)
    assert sum(waits[:-1]) == STEPS  # claims; the last one is the sum of the seconds
    assert len(seen) >= 2 * STEPS  # Celery tells of those that have had a message
    assert len(seen) == len({*seen})


def test_what_its_calls_have_cost_is_counted_once_though_its_end_is_written_twice(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(self: Ahead) -> Any:
        raise ValueError("no")

    async def pays(n: int) -> Any:
        within = CURRENT.get()
        assert within is not None

        async def perform(_: str) -> Answer:
            return Answer(value=n, usage=Usage(input_tokens=7))

        return (await within.step.call("pays", perform)).value

    monkeypatch.setattr(Ahead, "write", refuses)
    counts = worker.runtime.metrics = Metrics(["think"])
    DOES[0] = pays
    assert ends(worker) == [*range(STEPS)]
    found = {(metric.name, labels): value for metric, labels, value in counts.read()}
    assert found[metrics.TOKENS.name, ("think", "input")] == 7
    assert found[metrics.STEPS.name, (names.ASK, "think", "succeeded")] == STEPS


def test_one_that_is_cancelled_amid_ends(worker: Worker) -> None:
    async def cancels(n: int) -> int:
        worker.runtime.follow(worker.runtime.journal.cancel(FLOW))
        return n

    DOES[3] = cancels
    with pytest.raises(AgentsError, match="cancelled"):
        ends(worker)
    assert row(worker.runtime, FLOW).state == "cancelled"
    assert [*worker.members()] == ["1"]


def test_one_whose_row_is_refused_while_it_takes_long_stops(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    says, stopped = _says(worker), list[int]()

    async def lasts(n: int) -> int:
        if not stopped:
            await says(n)
            try:
                await asyncio.sleep(LONG_S)
            except asyncio.CancelledError:
                stopped.append(n)
                raise
        return n

    monkeypatch.setattr(sequels, "SHARED_S", 2.0)  # all before it are in the row
    DOES[2] = lasts
    assert ends(worker, "hears") == [*range(STEPS), "early"]
    assert stopped == [2]
    same_as_by_messages(worker)


def test_who_fails_for_good_is_told_the_flow(worker: Worker, rows: list[Ahead]) -> None:
    async def fails(n: int) -> Any:
        raise AgentFailedError("no")

    DOES[5] = fails
    assert ends(worker) == [*range(5), "agent_failed", *range(6, STEPS)]
    assert [len(one.goings) for one in rows] == [5, STEPS - 7]
    same_as_by_messages(worker, done=STEPS - 1)


def test_who_fails_for_now_is_sent_a_message_and_the_rest_goes_on(worker: Worker) -> None:
    async def once(n: int) -> int:
        if ASKED.count(n) == 1:
            raise ProviderUnavailableError("down", {"retry_after_s": 30.0})
        return n

    DOES[3] = once
    assert ends(worker) is None
    fourth = derived_id(FLOW, "4")
    assert (row(worker.runtime, fourth).state, row(worker.runtime, fourth).attempts) == ("ready", 1)
    worker.taken -= 1
    due(worker.runtime, fourth)
    assert goes_on(worker) == [*range(STEPS)]
    assert worker.members()["4"].attempts == 2
    assert [*range(4), *range(3, STEPS)] == ASKED


def test_where_it_cannot_be_written_the_first_end_is_told_and_the_rest_is_done_again(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, broken = Ahead.write, list[Ahead]()

    def refuses(self: Ahead) -> Any:
        if not broken or self in broken:
            broken.append(self)
            raise ValueError("no")
        return write(self)

    monkeypatch.setattr(Ahead, "write", refuses)
    assert ends(worker) == [*range(STEPS)]
    assert [*range(STEPS), *range(1, STEPS)] == ASKED
    same_as_by_messages(worker)


def test_who_is_done_again_is_not_under_way_here_any_more(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its next message may be here before its first attempt has been left."""
    runtime, under_way = worker.runtime, list[set[str]]()
    finish = runtime.journal.finish

    def refuses(self: Ahead) -> Any:
        raise ValueError("no")

    def noting(claim: Any, *args: Any, **more: Any) -> Any:
        if claim.id == derived_id(FLOW, "1"):
            under_way.append({*runtime.active})
        return finish(claim, *args, **more)

    monkeypatch.setattr(Ahead, "write", refuses)
    monkeypatch.setattr(runtime.journal, "finish", noting)
    assert ends(worker) == [*range(STEPS)]
    assert under_way == [{derived_id(FLOW, "1")}]


def test_one_round_which_guards_stand_begins_when_all_before_it_is_written(
    worker: Worker, rows: list[Ahead], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They write of its step, and the loop would wait for its row."""
    monkeypatch.setattr(AdmissionGuard, "concerns", lambda _, agent: agent.name == "think")
    assert ends(worker) == [*range(STEPS)]
    assert not rows
    same_as_by_messages(worker)


@pytest.mark.parametrize("option", [{"max_cost": 1.0}, {"cache": "refresh"}])
def test_nor_one_that_is_counted_or_whose_answer_is_kept(
    worker: Worker, rows: list[Ahead], option: dict[str, Any]
) -> None:
    OPTIONS.update(option)
    assert ends(worker) == [*range(STEPS)]
    assert not rows


def test_a_call_of_one_that_finds_its_step_has_its_row(
    worker: Worker, rows: list[Ahead], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As code of other libraries does, which nobody hands a step."""

    async def calls(n: int) -> Any:
        within = CURRENT.get()
        assert within is not None

        async def perform(_: str) -> Answer:
            return Answer(value=n)

        said = await within.step.call("finds", perform, fingerprint="f")
        assert within.step.graphs is not None
        return said.value

    waited, settle = list[bool](), Ahead.settle

    def settles(self: Ahead) -> None:
        if not (self.is_sent and self.write().done()):
            waited.append(worker.runtime.loop.here)
        settle(self)

    monkeypatch.setattr(Ahead, "settle", settles)
    DOES[6] = calls
    assert ends(worker) == [*range(STEPS)]
    assert [len(one.goings) for one in rows] == [6, STEPS - 7]
    assert waited == [False], "the loop has waited for it"
    made = select(Call.step_id, Call.name)
    found = worker.runtime.journal.read(lambda c: c.execute(made).all())
    assert [tuple(one) for one in found] == [(derived_id(FLOW, "7"), "finds")]
    assert [*range(STEPS)] == ASKED
    same_as_by_messages(worker)
