from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import OperationalError

from app.journal import Journal
from app.journal.schema.models import Entry, Session, Wait
from app.journal.schema.rows import (
    Aftermath,
    Claimed,
    HeldSession,
    NewExchange,
    Unheld,
)
from app.journal.steps import sessions
from app.journal.steps.finishes import FinishStep
from app.journal.steps.sessions import LOOK_S, HoldSession
from celery_agents.contracts.outcome import Outcome, State
from tests.unit.app.journal.support import (
    DONE,
    FAILED,
    SOON,
    TIRED,
    OnPostgres,
    World,
    batch,
    claimed,
    finished,
    ids,
    meanwhile,
    refused,
    step,
)

SAID = NewExchange({"messages": []}, tokens=10)
ENOUGH = 1_000


def hold(
    journal: Journal, claim: Claimed, name: str = "chat", budget: int = ENOUGH
) -> HeldSession | Unheld:
    return journal.sessions.hold(claim, name, budget).result(SOON)


def held(journal: Journal, run_id: str, name: str = "chat", **new: Any) -> Claimed:
    """Claim a new run, which gets the session."""
    claim = claimed(journal, run_id, step(run_id, **new))
    assert isinstance(hold(journal, claim, name), HeldSession)
    return claim


def waits(journal: Journal, run_id: str, name: str = "chat", **new: Any) -> None:
    """Claim a new run, which has to wait for the session."""
    claim = claimed(journal, run_id, step(run_id, **new))
    assert hold(journal, claim, name) is Unheld.WAITS


def end(journal: Journal, claim: Claimed, outcome: Outcome = DONE) -> Aftermath:
    exchange = SAID if outcome.ok else None
    return journal.finish(claim, outcome, exchange).result(SOON)


def talk(journal: Journal, *run_ids: str, name: str = "chat", tokens: int = 10) -> None:
    """Let runs have talked."""
    for run_id in run_ids:
        claim = held(journal, run_id, name)
        journal.finish(claim, DONE, NewExchange({"messages": []}, tokens)).result(SOON)


def session(world: World, name: str = "chat") -> Any:
    return world.one(Session, Session.name == name)


def entries(world: World, stream: str = "session/chat") -> list[Any]:
    with world.engine.connect() as c:
        query = select(Entry.__table__).where(Entry.stream == stream).order_by(Entry.seq)
        return list(c.execute(query))


def waiting(world: World) -> list[str]:
    with world.engine.connect() as c:
        return list(c.execute(select(Wait.step_id).order_by(Wait.since)).scalars())


# ---------------------------------------------------------------- one run


def test_an_end_adds_an_exchange(world: World, journal: Journal) -> None:
    claim = claimed(journal, "r", step("r"))
    assert hold(journal, claim) == HeldSession("", "chat", begins=0, exchanges=0)
    assert session(world).holder == "r"
    assert end(journal, claim) == Aftermath()
    (entry,) = entries(world)
    assert (entry.seq, entry.kind, entry.run_id, entry.tokens) == (0, "exchange", "r", 10)
    assert entry.data == {"messages": []}
    found = session(world)
    assert (found.holder, found.exchanges) == (None, 1)
    assert found.changed_at == pytest.approx(world.run("r").finished_at, abs=5)


def test_places_follow_each_other(world: World, journal: Journal) -> None:
    talk(journal, "a", "b", "c")
    assert [(e.seq, e.run_id) for e in entries(world)] == [(0, "a"), (1, "b"), (2, "c")]


def test_an_end_is_written_once(world: World, journal: Journal) -> None:
    claim = held(journal, "r")
    assert end(journal, claim).applied
    assert not end(journal, claim).applied
    assert len(entries(world)) == 1


def test_who_lost_its_lease_adds_nothing(world: World, journal: Journal) -> None:
    late = held(journal, "r")
    world.end_lease(journal)
    other = world.journal("other")
    again = claimed(other, "r")
    assert not end(journal, late).applied
    assert hold(journal, late) is Unheld.LOST
    assert isinstance(hold(other, again), HeldSession)
    assert end(other, again).applied
    assert len(entries(world)) == 1


def test_a_run_that_holds_nothing_adds_nothing(world: World, journal: Journal) -> None:
    claim = claimed(journal, "r", step("r"))
    with pytest.raises(RuntimeError, match="lost its session"):
        end(journal, claim)
    assert world.row("r").state == State.RUNNING
    assert entries(world) == []


def test_a_cancelled_run_takes_no_session(world: World, journal: Journal) -> None:
    claim = claimed(journal, "r", step("r"))
    journal.cancel("r")
    assert hold(journal, claim) is Unheld.CANCELLED
    assert world.row("r").state == State.RUNNING


def test_each_tenant_has_its_own(world: World, journal: Journal) -> None:
    one, other = held(journal, "a", tenant="one"), held(journal, "b", tenant="other")
    end(journal, one)
    end(journal, other)
    assert [(e.tenant, e.seq) for e in entries(world)] == [("one", 0), ("other", 0)]


# ---------------------------------------------------------------- what a run is told


@pytest.mark.parametrize(
    ("budget", "begins"), [(0, 3), (9, 3), (10, 2), (29, 1), (30, 0), (ENOUGH, 0)]
)
def test_the_window_has_the_newest_that_fit(journal: Journal, budget: int, begins: int) -> None:
    talk(journal, "a", "b", "c")
    claim = claimed(journal, "r", step("r"))
    assert hold(journal, claim, budget=budget) == HeldSession("", "chat", begins, 3)


def test_it_has_no_gap(journal: Journal) -> None:
    talk(journal, "a", tokens=1)
    talk(journal, "b", tokens=500)
    talk(journal, "c", tokens=1)
    claim = claimed(journal, "r", step("r"))
    assert hold(journal, claim, budget=100) == HeldSession("", "chat", begins=2, exchanges=3)


def test_a_long_session_is_read_in_pages(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_LAST_SIZES", sessions._LAST_SIZES.limit(2))
    monkeypatch.setattr(sessions, "_SIZES", sessions._SIZES.limit(2))
    talk(journal, *"abcdefg")
    claim = claimed(journal, "r", step("r"))
    assert hold(journal, claim, budget=50) == HeldSession("", "chat", begins=2, exchanges=7)


def test_each_attempt_is_told_the_same(world: World, journal: Journal) -> None:
    talk(journal, "a", "b", "c")
    claim = claimed(journal, "r", step("r"))
    first = hold(journal, claim, budget=20)
    journal.postpone(claim, delay_s=0, error=TIRED).result(SOON)
    assert hold(journal, claimed(journal, "r"), budget=ENOUGH) == first
    assert isinstance(first, HeldSession)
    assert first.begins == 1


def test_the_next_run_has_a_window_of_its_own(journal: Journal) -> None:
    talk(journal, "a", "b")
    claim = claimed(journal, "r", step("r"))
    hold(journal, claim, budget=10)
    waits(journal, "s")
    end(journal, claim)
    assert hold(journal, claimed(journal, "s")) == HeldSession("", "chat", begins=0, exchanges=3)


# ---------------------------------------------------------------- several runs


def test_the_second_waits_for_the_firsts_end(world: World, journal: Journal) -> None:
    first = held(journal, "a")
    waits(journal, "b")
    row = world.row("b")
    assert (row.state, row.attempts, row.worker_id) == (State.READY, 0, None)
    assert row.wake_at - world.clock() == pytest.approx(LOOK_S, abs=SOON)
    assert row.deadline_at is None  # no refusal, which would be told to come again until then
    assert waiting(world) == ["b"]
    after = end(journal, first)
    assert ids(after.wakes) == ["b"]
    assert session(world).holder == "b"
    assert world.row("b").wake_at - world.clock() < SOON  # a lost message is soon noticed
    told = hold(journal, claimed(journal, "b"))
    assert told == HeldSession("", "chat", begins=0, exchanges=1)
    assert waiting(world) == []


def test_a_look_ahead_of_time_changes_nothing(world: World, journal: Journal) -> None:
    held(journal, "a")
    waits(journal, "b")
    for looks in range(1, 9):
        assert hold(journal, claimed(journal, "b")) is Unheld.WAITS
        until_next = world.row("b").wake_at - world.clock()
        assert until_next == pytest.approx(LOOK_S * min(2**looks, 32), abs=SOON)
    assert world.row("b").attempts == 0
    assert waiting(world) == ["b"]


def test_nobody_overtakes(journal: Journal) -> None:
    claim = held(journal, "a")
    for run_id in "bcd":
        waits(journal, run_id)
    for run_id in "bcd":
        assert ids(end(journal, claim).wakes) == [run_id]
        waits(journal, f"late{run_id}")
        claim = claimed(journal, run_id)
        assert isinstance(hold(journal, claim), HeldSession)


def _fails(journal: Journal, claim: Claimed, world: World) -> Aftermath:
    return end(journal, claim, FAILED)


def _is_cancelled_amid_its_turn(journal: Journal, claim: Claimed, world: World) -> Aftermath:
    journal.cancel(claim.id)
    return journal.postpone(claim, delay_s=1, error=TIRED).result(SOON)


def _is_cancelled_between_attempts(journal: Journal, claim: Claimed, world: World) -> Aftermath:
    journal.postpone(claim, delay_s=60, error=TIRED).result(SOON)
    return journal.cancel(claim.id)


def _dies(journal: Journal, claim: Claimed, world: World) -> Aftermath:
    world.set(claim.id, attempts=3, worker_id="gone")
    found = finished(journal, claim.id)
    assert found.outcome.state is State.DEAD
    return found.aftermath


@pytest.mark.parametrize(
    "ends", [_fails, _is_cancelled_amid_its_turn, _is_cancelled_between_attempts, _dies]
)
def test_whoever_ends_lets_go(
    world: World, journal: Journal, ends: Callable[[Journal, Claimed, World], Aftermath]
) -> None:
    claim = held(journal, "a")
    waits(journal, "b")
    assert "b" in ids(ends(journal, claim, world).wakes)
    assert session(world).holder == "b"
    assert entries(world) == []
    assert hold(journal, claimed(journal, "b")) == HeldSession("", "chat", begins=0, exchanges=0)


def test_who_waits_and_is_cancelled_is_passed_over(world: World, journal: Journal) -> None:
    claim = held(journal, "a")
    waits(journal, "b")
    waits(journal, "c")
    assert ids(journal.cancel("b").wakes) == ["b"]  # to store its result
    assert waiting(world) == ["c"]
    assert ids(end(journal, claim).wakes) == ["c"]


def test_an_heir_that_is_cancelled_hands_it_on(world: World, journal: Journal) -> None:
    claim = held(journal, "a")
    waits(journal, "b")
    waits(journal, "c")
    end(journal, claim)
    assert set(ids(journal.cancel("b").wakes)) == {"b", "c"}
    assert session(world).holder == "c"


@pytest.mark.parametrize("holder", ["ended", "gone"])
def test_a_holder_that_is_no_more_holds_nothing(
    world: World, journal: Journal, holder: str
) -> None:
    if holder == "ended":
        journal.finish(claimed(journal, "ended", step("ended")), DONE).result(SOON)
    talk(journal, "a")
    with world.engine.begin() as c:
        c.execute(update(Session).values(holder=holder, begins=0))
    claim = held(journal, "b")
    end(journal, claim)
    assert [e.run_id for e in entries(world)] == ["a", "b"]


def test_a_deadline_is_noticed_while_it_waits(world: World, journal: Journal) -> None:
    held(journal, "a")
    waits(journal, "b", timeout_s=5)
    assert world.row("b").wake_at <= world.row("b").deadline_at
    assert waiting(world) == ["b"]


def test_waiting_uses_no_attempt_up(world: World, journal: Journal) -> None:
    claim = held(journal, "a")
    for _ in range(3):
        one = claimed(journal, "b", step("b", max_attempts=1))
        assert one.attempt == 1
        assert hold(journal, one) is Unheld.WAITS
    end(journal, claim)
    assert isinstance(hold(journal, claimed(journal, "b")), HeldSession)
    assert world.row("b").attempts == 1


def test_ends_and_holds_of_one_commit(world: World, journal: Journal) -> None:
    first, second = held(journal, "a"), held(journal, "b", "other")
    waits(journal, "c")
    other = claimed(journal, "d", step("d"))
    rules = journal.rules
    after = batch(
        journal,
        FinishStep(first, DONE, rules, SAID),
        FinishStep(second, FAILED, rules),
        HoldSession(other, "other", ENOUGH),
    )
    assert ids(after[0].wakes) == ["c"]
    assert after[2] == HeldSession("", "other", begins=0, exchanges=0)
    assert (session(world).holder, session(world, "other").holder) == ("c", "d")


def test_a_lost_answer_of_a_hold(
    world: World, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write is made again; who waits already is not ours any more, and waits."""
    claim = held(journal, "a")
    real, lost = sessions.HoldSession._hold, list[bool]()

    def losing(self: HoldSession, connection: Any) -> Any:
        found = real(self, connection)
        if not lost:
            lost.append(True)
            connection.commit()
            raise OperationalError("COMMIT", None, Exception("server closed the connection"))
        return found

    monkeypatch.setattr(sessions.HoldSession, "_hold", losing)
    assert isinstance(hold(journal, claim), HeldSession)
    lost.clear()
    assert hold(journal, claimed(journal, "b", step("b"))) is Unheld.LOST
    assert waiting(world) == ["b"]
    assert ids(end(journal, claim).wakes) == ["b"]


def test_many_at_once_leave_whole_sessions(world: World) -> None:
    """Three processes, each with threads, whose runs all want the same two sessions."""
    journals = [world.journal(f"w{n}@here") for n in range(3)]
    woken: dict[str, threading.Event] = {}
    failures: list[BaseException] = []

    def run(journal: Journal, run_id: str, name: str) -> None:
        try:
            claim = claimed(journal, run_id, step(run_id))
            if hold(journal, claim, name) is Unheld.WAITS:
                assert woken[run_id].wait(SOON), run_id
                claim = claimed(journal, run_id)
                assert isinstance(hold(journal, claim, name), HeldSession)
            for wake in end(journal, claim).wakes:
                woken[wake.id].set()
        except BaseException as error:  # noqa: BLE001 - the test shows whatever it was
            failures.append(error)

    threads = []
    for n in range(24):
        run_id = f"r{n:02}"
        woken[run_id] = threading.Event()
        about = (journals[n % 3], run_id, f"s{n % 2}")
        threads.append(threading.Thread(target=run, args=about))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * SOON)
    assert failures == []
    for name in ("s0", "s1"):
        found = entries(world, f"session/{name}")
        assert [e.seq for e in found] == [*range(12)]
        assert len({e.run_id for e in found}) == 12
        assert (session(world, name).holder, session(world, name).exchanges) == (None, 12)


class TestAmidAnotherTransaction(OnPostgres):
    def test_an_end_that_waits_for_a_hold_sees_who_waits(
        self, world: World, journal: Journal
    ) -> None:
        claim, other = held(journal, "a"), world.journal("other")
        late = claimed(other, "b", step("b"))
        with world.engine.connect() as c:
            operation = HoldSession(late, "chat", ENOUGH)
            assert operation.apply(c, [operation]) == [Unheld.WAITS]
            with meanwhile(world, lambda: end(journal, claim)) as after:
                c.commit()
        assert ids(after[0].wakes) == ["b"]

    def test_a_hold_that_waits_for_an_end_has_its_turn(
        self, world: World, journal: Journal
    ) -> None:
        claim, other = held(journal, "a"), world.journal("other")
        late = claimed(other, "b", step("b"))
        with world.engine.connect() as c:
            operation = FinishStep(claim, DONE, journal.rules, SAID)
            (after,) = operation.apply(c, [operation])
            with meanwhile(world, lambda: hold(other, late)) as found:
                c.commit()
        assert after.wakes == []
        assert found == [HeldSession("", "chat", begins=0, exchanges=1)]

    def test_who_takes_the_heir_is_not_waited_for(self, world: World, journal: Journal) -> None:
        claim = held(journal, "a")
        waits(journal, "b")
        look_at = world.row("b").wake_at
        with world.engine.connect() as c:
            c.exec_driver_sql("SELECT 1 FROM steps WHERE id = 'b' FOR NO KEY UPDATE")
            assert ids(end(journal, claim).wakes) == ["b"]
        assert world.row("b").wake_at == look_at

    def test_two_first_runs_of_a_session(self, world: World, journal: Journal) -> None:
        one, two = claimed(journal, "a", step("a")), claimed(journal, "b", step("b"))
        with world.engine.connect() as c:
            operation = HoldSession(one, "chat", ENOUGH)
            (found,) = operation.apply(c, [operation])
            assert isinstance(found, HeldSession)
            with meanwhile(world, lambda: hold(journal, two)) as second:
                c.commit()
        assert second == [Unheld.WAITS]


@pytest.mark.databases("both")
def test_steps_of_other_streams_are_left_alone(world: World, journal: Journal) -> None:
    """The tables are for more than sessions."""
    claim = held(journal, "a")
    claimed(journal, "b", step("b"))
    with world.engine.begin() as c:
        c.execute(insert(Wait).values(step_id="b", tenant="", stream="events", since=0.0))
        about = {"tenant": "", "stream": "events", "seq": 0, "kind": "k", "tokens": 0, "at": 0.0}
        c.execute(insert(Entry).values(data={}, **about))
    assert end(journal, claim).wakes == []
    assert refused(journal, "b")
    with world.engine.connect() as c:
        assert c.execute(select(func.count()).select_from(Entry)).scalar() == 2
