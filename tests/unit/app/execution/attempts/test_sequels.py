"""Flows that ask one agent after the other, as a worker's messages drive them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
from celery import signals
from celery.exceptions import Ignore, Reject
from celery.worker import state
from sqlalchemy import delete, func, select, update

import tasks
from app.concurrency.fibers import alone
from app.execution import publish as publishing
from app.execution.attempts import sequels
from app.execution.runtime import Runtime
from app.journal.schema.models import Entry
from app.journal.schema.models import Step as StepRow
from app.journal.schema.rows import derived_id
from app.journal.sequels import GoingOn, Sequels
from celery_agents import StepContext, agent, flow, names
from celery_agents.errors import AgentFailedError, AgentsError, ProviderUnavailableError
from tests.support.fibers import in_a_fiber
from tests.unit.app.execution.task.support import due, message, row, woken
from tests.unit.app.journal.support import claimed

FLOW = "flow-1"
STEPS = 12


@agent
async def act(told: Any, step: StepContext) -> Any:
    """Gives its input back; does, for the one of a number, what its test wants."""
    return await DOES.get(told["n"], _back)(told, step)


@agent(effects="pure")
async def ponder(told: Any, step: StepContext) -> Any:
    """Does as the other one, and says that it has no effects."""
    return await DOES.get(told["n"], _back)(told, step)


async def _back(told: Any, _: Any) -> Any:
    return told["n"]


DOES: dict[int, Any] = {}


@flow
async def sequence(run: Any, told: Any) -> Any:
    """Asks one after the other, whatever becomes of each."""
    found: list[Any] = []
    for n in range(STEPS):
        try:
            found.append(await run.ask("act", {"n": n}))
        except AgentsError as error:
            found.append(error.kind)
    return found


#: Whom the flow below asks, one after the other.
WHOM: list[str] = []


@flow
async def named(run: Any, told: Any) -> Any:
    """Asks those, one after the other."""
    return [await run.ask(name, {"n": n}) for n, name in enumerate(WHOM)]


@flow
async def told_amid(run: Any, told: Any) -> Any:
    """Waits for a word behind the first half."""
    found = [await run.ask("act", {"n": n}) for n in range(STEPS // 2)]
    found.append(await run.signal("word"))
    return found + [await run.ask("act", {"n": n}) for n in range(STEPS // 2, STEPS)]


RAN: list[str] = []


@flow
async def watched(run: Any, told: Any) -> Any:
    """Notes in which thread its code runs, which may block."""
    for n in range(STEPS):
        RAN.append(threading.current_thread().name)
        await run.ask("act", {"n": n})
    return STEPS


class Worker:
    """Takes the messages that are sent, one after the other."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.sent: list[tuple[str, str]] = []
        self.taken = 0
        signals.before_task_publish.connect(self._sent)

    def _sent(self, headers: dict[str, Any], **_: Any) -> None:
        self.sent.append((headers["task"], headers["id"]))

    def start(self, name: str) -> None:
        payload: Any = {"flow": name}
        task = self.runtime.app.tasks[names.FLOW]
        about: Any = {"args": (None,), "kwargs": payload, "delivery_info": {"routing_key": "q"}}
        with pytest.raises(Ignore), message(task, FLOW, **about):
            task(None, **payload)

    def work(self) -> Any:
        """The flow's end, once no message is left."""
        end = None
        while self.taken < len(self.sent):
            name, step_id = self.sent[self.taken]
            self.taken += 1
            try:
                found = woken(self.runtime.app.tasks[name], step_id)
            except Ignore:
                continue
            end = found if step_id == FLOW else end
        return end

    def members(self) -> dict[str, Any]:
        which = select(StepRow.__table__).where(StepRow.parent_id == FLOW)
        rows = self.runtime.journal.read(lambda c: c.execute(which).all())
        return {one.member: one for one in rows}

    def history(self) -> list[tuple[str, str, Any]]:
        found = self.runtime.journal.flows.history("", FLOW)
        return [(line.kind, line.data["key"], line.data.get("then")) for line in found]


assert tasks  # they are tasks of each app


@pytest.fixture
def worker(runtime: Runtime) -> Iterator[Worker]:
    module = ModuleType("flows")
    vars(module).update(sequence=sequence, told_amid=told_amid, act=act, watched=watched)
    vars(module).update(ponder=ponder, named=named)
    runtime.agents.registry.flows.add_module(module)
    runtime.agents.registry.add_module(module)
    made = Worker(runtime)
    yield made
    signals.before_task_publish.disconnect(made._sent)
    DOES.clear()
    WHOM.clear()


def by_messages(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody go the short way."""
    monkeypatch.setattr(sequels, "_may_go_on", lambda *_: False)


@pytest.mark.parametrize("name", ["sequence", "told_amid"])
@pytest.mark.parametrize("short", [True, False])
def test_it_comes_to_the_same_by_either_way(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, name: str, short: bool
) -> None:
    if not short:
        by_messages(worker, monkeypatch)
    journal = worker.runtime.journal
    worker.start(name)
    found = worker.work()
    if name == "told_amid":
        assert found is None
        _, after = journal.flows.signal(FLOW, ("word", "now"), "id", journal.rules)
        worker.runtime.follow(after)
        found = worker.work()
    half = STEPS // 2
    words = ["now"] if name == "told_amid" else []
    assert found == [*range(half), *words, *range(half, STEPS)]
    told = worker.history()
    assert [kind for kind, *_ in told].count("done") == STEPS
    assert [then[0][1] for *_, then in told if then].count("ask") == STEPS
    rows = worker.members().values()
    assert {(one.state, one.attempts, one.token, one.settled) for one in rows} == {
        ("succeeded", 1, 1, True)
    }
    assert sorted(one.position for one in rows) == [*range(STEPS)]
    messages = 2 * STEPS + len(words)
    assert len(worker.sent) == messages if not short else len(worker.sent) <= 6, worker.sent


def test_its_code_holds_up_no_loop(worker: Worker) -> None:
    """Not even where nothing else is under way there."""
    RAN.clear()
    asked: list[str] = []

    async def asks(told: Any, _: Any) -> Any:
        asked.append(threading.current_thread().name)

    DOES.update(dict.fromkeys(range(STEPS), asks))

    def work() -> Any:
        assert alone()
        worker.start("watched")
        return worker.work()

    assert in_a_fiber(work) == STEPS
    assert len(worker.sent) <= 6, worker.sent
    assert len(set(asked)) == 1
    assert not {*RAN} & {*asked}


def waited_for(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each end that began the next one, whether it was to wait for the disk."""
    found: list[bool] = []
    go_on = Sequels.go_on

    def noting(self: Sequels, claim: Any, going: GoingOn, worker_id: str) -> Any:
        found.append(going.final)
        return go_on(self, claim, going, worker_id)

    monkeypatch.setattr(Sequels, "go_on", noting)
    return found


@pytest.mark.parametrize(
    ("whom", "shared_s", "final"),
    [
        # The first one waits, as does each behind or before one that may have effects.
        (["ponder"] * 5, 3600.0, [True, False, False, False]),
        (["act"] * 5, 3600.0, [True] * 4),
        (["ponder", "ponder", "act", "ponder", "ponder"], 3600.0, [True, True, True, False]),
        (["ponder"] * 5, 0.0, [True] * 4),
    ],
)
def test_ends_of_those_without_effects_share_a_wait_for_the_disk(
    worker: Worker,
    monkeypatch: pytest.MonkeyPatch,
    whom: list[str],
    shared_s: float,
    final: list[bool],
) -> None:
    WHOM[:] = whom
    monkeypatch.setattr(sequels, "SHARED_S", shared_s)
    monkeypatch.setattr("app.execution.task.SEQUEL_S", 3600.0)
    found = waited_for(monkeypatch)
    worker.start("named")
    assert worker.work() == [*range(5)]
    assert found == final


def test_one_that_took_long_waits_for_the_disk(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    WHOM[:] = ["ponder"] * 5
    monkeypatch.setattr("app.execution.task.SEQUEL_S", 3600.0)
    found = waited_for(monkeypatch)

    async def ponders(told: Any, _: Any) -> Any:
        monkeypatch.setattr(sequels, "SHARED_S", 0.0)
        return told["n"]

    monkeypatch.setattr(sequels, "SHARED_S", 3600.0)
    DOES[2] = ponders
    worker.start("named")
    assert worker.work() == [*range(5)]
    assert found == [True, False, True, True]


def forget_the_last_end(worker: Worker, before: str, last: str) -> None:
    """As a database that crashed behind a commit that waited for no disk."""
    ended, begun = derived_id(FLOW, before), derived_id(FLOW, last)

    def work(connection: Any) -> None:
        one = update(StepRow).where(StepRow.id == ended)
        runs = one.values(state="running", worker_id=worker.runtime.journal.me.id, settled=False)
        connection.execute(runs.values(outcome=None, finished_at=None))
        connection.execute(delete(StepRow).where(StepRow.id == begun))
        told = select(func.max(Entry.seq)).where(Entry.stream == f"flow/{FLOW}").scalar_subquery()
        connection.execute(delete(Entry).where(Entry.stream == f"flow/{FLOW}", Entry.seq == told))

    worker.runtime.journal.transaction(work)


def test_an_end_that_a_crash_of_the_database_undid_comes_again(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing stands by what came behind it, and whoever runs nowhere is given back."""
    WHOM[:] = ["ponder"] * STEPS
    monkeypatch.setattr(sequels, "SHARED_S", 3600.0)
    asked: list[int] = []

    async def counts(told: Any, _: Any) -> Any:
        asked.append(told["n"])
        if len(asked) == 6:
            forget_the_last_end(worker, "5", "6")
        return told["n"]

    DOES.update(dict.fromkeys(range(STEPS), counts))
    worker.start("named")
    with pytest.raises(Reject):
        worker.work()
    assert worker.members()["5"].state == "running"
    for _ in range(2):
        worker.runtime._beat_once()
    assert worker.members()["5"].state == "ready"
    worker.sent.append((names.ASK, derived_id(FLOW, "5")))
    assert worker.work() == [*range(STEPS)]
    assert asked == [*range(6), *range(4, STEPS)]


def test_who_fails_for_now_is_sent_a_message_and_the_rest_goes_on(worker: Worker) -> None:
    async def once(told: Any, step: Any) -> Any:
        if step.attempt == 1:
            raise ProviderUnavailableError("down", {"retry_after_s": 30.0})
        return told["n"]

    DOES[3] = once
    worker.start("sequence")
    assert worker.work() is None
    third = derived_id(FLOW, "4")
    assert worker.sent[-1] == (names.ASK, third)
    assert (row(worker.runtime, third).state, row(worker.runtime, third).attempts) == ("ready", 1)
    worker.taken -= 1
    due(worker.runtime, third)
    assert worker.work() == [*range(STEPS)]
    assert worker.members()["4"].attempts == 2


def test_who_fails_for_good_is_told_the_flow(worker: Worker) -> None:
    async def fails(told: Any, step: Any) -> Any:
        raise AgentFailedError("no")

    DOES[5] = fails
    worker.start("sequence")
    assert worker.work() == [*range(5), "agent_failed", *range(6, STEPS)]


def test_a_word_that_comes_amid_is_told_in_its_turn(worker: Worker) -> None:
    journal = worker.runtime.journal

    async def says(told: Any, step: Any) -> Any:
        reply, after = journal.flows.signal(FLOW, ("word", "early"), "id", journal.rules)
        worker.runtime.follow(after)
        return reply

    DOES[2] = says
    worker.start("told_amid")
    half = STEPS // 2
    assert worker.work() == [0, 1, "taken", *range(3, half), "early", *range(half, STEPS)]
    told = [kind for kind, *_ in worker.history()]
    assert told.index("signal") == 3, "before the end of whoever said it"


def test_one_that_is_cancelled_amid_ends(worker: Worker) -> None:
    async def cancels(told: Any, step: Any) -> Any:
        after = worker.runtime.journal.cancel(FLOW)
        worker.runtime.follow(after)
        return told["n"]

    DOES[2] = cancels
    worker.start("sequence")
    with pytest.raises(AgentsError, match="cancelled"):
        worker.work()
    assert len(worker.members()) == 3
    assert row(worker.runtime, FLOW).state == "cancelled"


@pytest.mark.parametrize("why", ["time", "slots", "stops", "bounded"])
def test_others_have_their_turn(worker: Worker, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    """Then each step is a message, which any worker takes."""
    if why == "time":
        monkeypatch.setattr("app.execution.task.SEQUEL_S", 0.0)
    elif why == "slots":
        fiber = type("Fiber", (), {"job": type("Job", (), {"may_go_on": False})})
        monkeypatch.setattr(sequels, "current", fiber)
    elif why == "stops":
        monkeypatch.setattr(Runtime, "stopping", True)
    else:
        settings = worker.runtime.settings.model_copy(update={"max_cost": 1.0})
        monkeypatch.setattr(worker.runtime, "settings", settings)
    if why == "stops":
        worker.start("sequence")
        step: Any = worker.runtime.journal.claim(derived_id(FLOW, "1")).result(20)
        done: Any = None
        outcome = type("Outcome", (), {"ok": True, "compensation": None, "value": 1})()
        assert sequels.sequel(worker.runtime, step, outcome, time.monotonic() + 9) is done
        return
    worker.start("sequence")
    assert worker.work() == [*range(STEPS)]
    assert len(worker.sent) == 2 * STEPS


def test_a_worker_without_its_instance_leaves_it_to_others(worker: Worker) -> None:
    settings = worker.runtime.settings.model_copy(update={"flows_max": 0})
    worker.runtime.settings = settings
    worker.start("sequence")
    assert worker.work() == [*range(STEPS)]
    assert len(worker.sent) == 2 * STEPS


def test_a_claim_that_nobody_runs_is_given_back(worker: Worker) -> None:
    """As when the commit's answer was lost."""
    worker.start("sequence")
    claimed(worker.runtime.journal, derived_id(FLOW, "1"))
    for _ in range(2):
        worker.runtime._beat_once()
    assert worker.members()["1"].state == "ready"


@pytest.mark.parametrize(("told", "sent"), [(True, False), (True, True), (False, True)])
def test_watchers_are_told_of_those_without_a_message(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, told: bool, sent: bool
) -> None:
    """Where they asked: else Celery's main thread has nothing to do for a step."""
    seen: list[tuple[str, dict[str, Any]]] = []

    class Eventer:
        enabled = True
        groups: ClassVar[set[str]] = {"worker", "task"} if told else {"worker"}

        def send(self, kind: str, **fields: Any) -> None:
            seen.append((kind, fields))

    first = derived_id(FLOW, "1")
    monkeypatch.setitem(state.requests, first, SimpleNamespace(_eventer=Eventer()))
    monkeypatch.setattr(publishing, "tell_watchers", lambda *_: None)  # of those that have one
    worker.runtime.app.conf.task_send_sent_event = sent
    worker.start("sequence")
    assert worker.work() == [*range(STEPS)]
    if not told:
        assert not seen
        return
    steps = {derived_id(FLOW, str(n)): n - 1 for n in range(2, STEPS)}
    for step_id, n in steps.items():
        mine = [(kind, fields) for kind, fields in seen if fields["uuid"] == step_id]
        if sent:
            kind, about = mine.pop(0)
            assert (kind, about["queue"], about["name"]) == ("task-sent", "q", names.ASK)
        assert [kind for kind, _ in mine] == ["task-received", "task-started", "task-succeeded"]
        received, ended = mine[0][1], mine[2][1]
        assert (received["name"], received["root_id"], received["parent_id"]) == (
            *(names.ASK, FLOW, FLOW),
        )
        assert str(n) in received["args"]
        assert ended["result"] == str(n)
        assert ended["timestamp"] >= received["timestamp"]
    assert {fields["uuid"] for _, fields in seen} >= set(steps)
