"""The short way of a flow: one transaction for an end and what follows it, or nothing of that."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine, event, insert, select, text, update
from sqlalchemy.exc import OperationalError

from agents.plan import AwaitedAny, Expand, JoinPolicy
from app.journal import Journal, sequels
from app.journal.schema.models import Entry, Join, Step, Worker
from app.journal.schema.rows import Claimed, NewEntry, derived_id
from app.journal.sequels import FlowSeen, GoingOn
from app.journal.writing.connection import Held
from celery_agents import names
from celery_agents.contracts.outcome import State
from celery_agents.sealing import Seals
from tests.support.apart import apart
from tests.support.fernet import fernet_key
from tests.unit.app.journal.support import DONE, SOON, World, claimed, member, step

pytestmark = pytest.mark.databases("both")

FLOW = "flow-1"


def line(number: int) -> NewEntry:
    return NewEntry("", f"flow/{FLOW}", "done", {"key": str(number), "at": 1.0}, run_id=FLOW)


def begun(journal: Journal, *keys: str) -> tuple[Claimed, Claimed]:
    """A flow that waits for members, and the first of them, claimed."""
    claim = claimed(journal, FLOW, step(FLOW, task=names.FLOW, agent=None))
    plan = Expand(
        members=tuple(map(member, keys)),
        join=JoinPolicy(kind="any"),
        awaited=AwaitedAny(open=keys),
    )
    assert journal.expand(claim, plan, entries=[line(0)]).result(SOON).applied
    return claim, claimed(journal, derived_id(FLOW, keys[0]))


def goes_on(
    journal: Journal,
    flow: Claimed,
    of: Claimed,
    *,
    at: float | None = None,
    final: bool = True,
    **more: Any,
) -> Claimed | None:
    at = journal.flows.news(flow, [], -1).at if at is None else at
    seen = FlowSeen(flow, **{"heard": -1, "lines": 1, **more})
    going = GoingOn(DONE, at, seen, line(1), member("b", deadline_s=60.0), final)
    return journal.sequels.go_on(of, going, journal.me.id).result(SOON)


def lines(world: World) -> list[int]:
    with world.engine.connect() as c:
        return list(c.execute(select(Entry.seq).where(Entry.stream == f"flow/{FLOW}")).scalars())


def test_an_end_its_line_and_the_next_one_are_there_together(
    world: World, journal: Journal
) -> None:
    flow, a = begun(journal, "a")
    b = goes_on(journal, flow, a)
    assert b is not None
    assert (b.id, b.token, b.member, b.attempt) == (derived_id(FLOW, "b"), 1, "b", 1)
    assert world.states(FLOW, "ab") == ["succeeded", "running"]
    row = world.row(b.id)
    first = world.row(a.id)
    assert (row.position, row.round, row.worker_id) == (1, first.round, journal.me.id)
    assert (row.payload, row.max_attempts) == ({"args": ["b"], "kwargs": {"agent": "a"}}, 4)
    assert 55 < row.deadline_at - row.created_at < 65
    assert (first.settled, first.outcome["value"]) == (True, "yes")
    assert world.row(FLOW).state == "waiting"
    assert lines(world) == [0, 1]
    # It is a member as others are: its end lets the flow go on.
    assert [w.id for w in journal.finish(b, DONE).result(SOON).wakes] == [FLOW]


def _signal(world: World, journal: Journal) -> None:
    assert journal.flows.signal(FLOW, ("word", 1), "id", journal.rules)[0] == "taken"


def _set(model: Any, key: Any, **values: Any) -> Callable[[World, Journal], None]:
    def work(world: World, journal: Journal) -> None:
        with world.engine.begin() as c:
            c.execute(update(model).where(key == FLOW).values(**values))

    return work


def _lapse(world: World, journal: Journal) -> None:
    with world.engine.begin() as c:
        c.execute(update(Worker).values(lease_until=1.0))


def _taken(world: World, journal: Journal) -> None:
    """Another run has the next one's id."""
    claimed(journal, derived_id(FLOW, "b"), step(derived_id(FLOW, "b")))


def _history(world: World, journal: Journal) -> None:
    journal.streams.append("", f"flow/{FLOW}", [line(1)])


def _stop(world: World, journal: Journal) -> None:
    with world.engine.begin() as c:
        c.execute(update(Step).where(Step.member == "a").values(cancel_requested=True))


def _other(world: World, journal: Journal) -> None:
    with world.engine.begin() as c:
        c.execute(update(Step).where(Step.member == "a").values(token=2))


@pytest.mark.parametrize(
    "change",
    [
        _signal,
        _lapse,
        _taken,
        _history,
        _stop,
        _other,
        _set(Step, Step.id, token=2),
        _set(Step, Step.id, state=State.READY),
        _set(Step, Step.id, cancel_requested=True),
        _set(Join, Join.step_id, state="fired"),
        _set(Join, Join.step_id, deadline_at=1.0),
        _set(Join, Join.step_id, policy="all"),
    ],
)
def test_nothing_is_written_where_it_is_not_as_the_code_took_it_to_be(
    world: World, journal: Journal, change: Callable[[World, Journal], None]
) -> None:
    flow, a = begun(journal, "a")
    change(world, journal)
    before = (world.row(a.id), lines(world))
    assert goes_on(journal, flow, a) is None
    assert (world.row(a.id), lines(world)) == before
    with world.engine.connect() as c:
        assert c.execute(select(Step.id).where(Step.parent_id == FLOW)).scalars().all() == [a.id]


def test_a_signal_that_was_told_is_none_of_those(journal: Journal, world: World) -> None:
    flow, a = begun(journal, "a")
    with world.engine.begin() as c:
        c.execute(
            text(
                "INSERT INTO entries (tenant, stream, seq, kind, data, tokens, at) "
                f"VALUES ('', 'signals/{FLOW}', 0, 'signal', '{{}}', 0, 1)"
            )
        )
    assert goes_on(journal, flow, a) is None
    assert goes_on(journal, flow, a, heard=0) is not None


@pytest.mark.parametrize("final", [True, False])
def test_it_waits_for_the_disk_where_it_has_to(
    journal: Journal, world: World, monkeypatch: pytest.MonkeyPatch, final: bool
) -> None:
    """Else a later commit takes it along; either way it is there for whoever looks."""
    flow, a = begun(journal, "a")
    waits: list[bool] = []
    for name in ("transaction", "statement", "shoot"):

        def noting(real: Callable[..., Any], held: Held, work: Any) -> Any:
            if held in (journal._writer._final, journal._writer._relaxed):  # others only read
                waits.append(held is journal._writer._final)
            return real(held, work)

        monkeypatch.setattr(Held, name, _method(noting, getattr(Held, name)))
    assert goes_on(journal, flow, a, final=final) is not None
    assert set(waits) == {final}
    assert world.states(FLOW, "ab") == ["succeeded", "running"]
    assert lines(world) == [0, 1]


def test_it_is_written_once(journal: Journal, world: World) -> None:
    flow, a = begun(journal, "a")
    assert goes_on(journal, flow, a) is not None
    assert goes_on(journal, flow, a) is None
    assert not journal.finish(a, DONE).result(SOON).applied
    assert lines(world) == [0, 1]


def _method(around: Callable[..., Any], real: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, work: around(real, self, work)


def lose_a_commits_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    lost: list[bool] = []

    def losing(real: Callable[..., Any], *args: Any) -> Any:
        found = real(*args)
        if not lost:
            lost.append(True)
            raise OperationalError("COMMIT", None, Exception("server closed the connection"))
        return found

    for name in ("transaction", "statement", "shoot"):
        monkeypatch.setattr(Held, name, _method(losing, getattr(Held, name)))


def test_an_answer_that_is_lost_is_found(
    journal: Journal, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written: this worker has the next one, for which no message comes."""
    flow, a = begun(journal, "a")
    at = journal.flows.news(flow, [], -1).at
    lose_a_commits_answer(monkeypatch)
    b = goes_on(journal, flow, a, at=at)
    assert b is not None
    assert (b.id, b.token) == (derived_id(FLOW, "b"), 1)
    assert lines(world) == [0, 1]
    assert journal.finish(b, DONE).result(SOON).applied


def test_a_row_of_another_way_is_not_taken_for_it(
    journal: Journal, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow, a = begun(journal, "a")
    at = journal.flows.news(flow, [], -1).at
    _taken(world, journal)
    lose_a_commits_answer(monkeypatch)
    assert goes_on(journal, flow, a, at=at) is None


def test_what_is_written_is_encrypted(sqlite_journal_url: str) -> None:
    world = World(sqlite_journal_url, Seals([fernet_key("one")]))
    journal = world.journal()
    flow, a = begun(journal, "a")
    b = goes_on(journal, flow, a)
    assert b is not None
    assert b.payload["args"] == ["b"]
    assert "yes" not in str(world.row(a.id).outcome)
    assert '"b"' not in str(world.row(b.id).payload)
    assert journal.flows.history("", FLOW)[-1].data["key"] == "1"
    world.close()


def nothing_of_it(world: World, a: Claimed) -> None:
    """The member runs, its flow was told nothing, and the next one is not there."""
    assert world.states(FLOW, "a") == ["running"]
    assert (world.row(a.id).outcome, world.row(a.id).worker_id is None) == (None, False)
    assert lines(world) == [0]
    with world.engine.connect() as c:
        assert c.execute(select(Step.id).where(Step.parent_id == FLOW)).scalars().all() == [a.id]


def dies(url: str, statements: int) -> None:
    """Be killed behind so many statements of a short way, in a process of its own."""
    world = World(url)
    journal = world.journal()
    journal._writer._final.shoots = False  # as behind a pooler: else it is one message
    flow, a = begun(journal, "a")
    left = [statements]

    def count(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement in sequels._statements() or "%(flow)s" in statement:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "after_cursor_execute", count)
    goes_on(journal, flow, a)


@pytest.mark.parametrize("statements", [1, 2, 3])
def test_killed_amid_its_statements_it_has_written_nothing(world: World, statements: int) -> None:
    process = apart.Process(target=dies, args=(world.url, statements))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    a = world.row(derived_id(FLOW, "a"))
    nothing_of_it(world, a)
    # Whoever takes it over ends it as any member, and the flow goes on by that.
    journal = world.journal("other@here")
    claim = Claimed(
        **{n: getattr(a, n) for n in ("id", "token", "run_id", "parent_id", "member", "task")},
        **{n: getattr(a, n) for n in ("agent", "queue", "priority", "payload", "max_attempts")},
        attempt=1,
        remaining_s=None,
    )
    assert [w.id for w in journal.finish(claim, DONE).result(SOON).wakes] == [FLOW]


_REFUSES_ROW = """CREATE TRIGGER refuses BEFORE INSERT ON {0} WHEN {1}
BEGIN SELECT RAISE(ABORT, 'no'); END"""
_REFUSE = """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN RAISE EXCEPTION 'no'; END$$"""
_REFUSES = """CREATE TRIGGER refuses BEFORE INSERT ON {0}
FOR EACH ROW WHEN ({1}) EXECUTE FUNCTION refuse()"""
_REFUSING = {"sqlite": [_REFUSES_ROW], "postgresql": [_REFUSE, _REFUSES]}


@pytest.mark.parametrize(("table", "when"), [("steps", "NEW.member = 'b'"), ("entries", "1 = 1")])
def test_a_part_that_is_refused_takes_the_rest_along(
    world: World, journal: Journal, table: str, when: str
) -> None:
    flow, a = begun(journal, "a")
    dialect = world.engine.dialect.name
    with world.engine.begin() as c:
        for statement in _REFUSING[dialect]:
            c.exec_driver_sql(statement.format(table, when))
    try:
        with pytest.raises(Exception, match="no"):
            goes_on(journal, flow, a)
        nothing_of_it(world, a)
    finally:
        on = f" ON {table}" if dialect == "postgresql" else ""
        with world.engine.begin() as c:
            c.exec_driver_sql(f"DROP TRIGGER refuses{on}")
            if dialect == "postgresql":
                c.exec_driver_sql("DROP FUNCTION refuse()")
    assert [w.id for w in journal.finish(a, DONE).result(SOON).wakes] == [FLOW]


def test_a_part_that_finds_nothing_takes_the_rest_along(
    sqlite_journal_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(sqlite_journal_url)
    journal = world.journal()
    flow, a = begun(journal, "a")
    first, second, third = sequels._statements()
    for broken in ((first, second + " AND false", third), (first, second, third + " AND false")):
        monkeypatch.setattr(sequels, "_statements", lambda found=broken: found)
        with pytest.raises(RuntimeError, match="only a part"):
            goes_on(journal, flow, a)
        nothing_of_it(world, a)
    world.close()


@pytest.mark.postgres
def test_a_connection_that_ends_amid_it_leaves_nothing_and_it_is_written_again(
    emptied_postgres_url: str,
) -> None:
    world = World(emptied_postgres_url)
    journal = world.journal()
    flow, a = begun(journal, "a")
    other = world.engine.connect()
    amid = other.begin()
    # Its last part waits for this one, with the others written.
    entry = {"tenant": "", "stream": f"flow/{FLOW}", "seq": 1, "kind": "x", "data": {}}
    other.execute(insert(Entry).values(**entry, tokens=0, at=1.0, xid=1))
    with ThreadPoolExecutor(1) as threads:
        going = threads.submit(goes_on, journal, flow, a)
        blocked = text(
            "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
            "AND datname = current_database() AND query LIKE '%go_on%'"
        )
        deadline = time.monotonic() + 60
        while (pid := _scalar(world, blocked)) is None:
            assert time.monotonic() < deadline, "nobody waits"
        nothing_of_it(world, a)
        assert _scalar(world, text(f"SELECT pg_terminate_backend({pid})"))
        while _scalar(world, text(f"SELECT pid FROM pg_stat_activity WHERE pid = {pid}")):
            assert time.monotonic() < deadline, "it goes on"
        nothing_of_it(world, a)
        amid.rollback()
        other.close()
        b = going.result(60)
    assert b is not None
    assert lines(world) == [0, 1]
    assert world.states(FLOW, "ab") == ["succeeded", "running"]
    world.close()


def _scalar(world: World, query: Any) -> Any:
    with world.engine.connect() as c:
        return c.execute(query).scalar()


@pytest.mark.postgres
def test_a_step_of_a_flow_is_one_round_trip(emptied_postgres_url: str) -> None:
    world = World(emptied_postgres_url)
    journal = world.journal()
    flow, a = begun(journal, "a")
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    at = journal.flows.news(flow, [], -1).at
    event.listen(Engine, "before_cursor_execute", note)
    try:
        b = goes_on(journal, flow, a, at=at)
        assert b is not None
        prepares = [one for one in sent if one.startswith("PREPARE")]
        assert len(sent) == len(prepares) + 1, sent
        sent.clear()
        seen = FlowSeen(flow, heard=-1, lines=2)
        going = GoingOn(DONE, at, seen, line(2), member("c"))
        assert journal.sequels.go_on(b, going, journal.me.id).result(SOON) is not None
        assert len(sent) == 1, sent
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    world.close()
