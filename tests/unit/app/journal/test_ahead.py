"""A row of ends of a flow's members: all of it in one transaction, or nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import Engine, event, select, update

from app.journal import Journal, ahead
from app.journal.ahead import Ahead
from app.journal.schema.models import Join, Step, Worker
from app.journal.schema.rows import Claimed, derived_id
from app.journal.sequels import FlowSeen, GoingOn
from celery_agents.contracts.outcome import Outcome, State
from celery_agents.errors import JournalUnavailableError
from celery_agents.sealing import Seals
from tests.support.fernet import fernet_key
from tests.unit.app.journal import test_sequels
from tests.unit.app.journal.support import DONE, SOON, World, claimed, member, step
from tests.unit.app.journal.test_sequels import FLOW, begun, line, lines, nothing_of_it

pytestmark = pytest.mark.databases("both")

KEYS = "bcd"


def row_of(
    journal: Journal, flow: Claimed, of: Claimed, keys: str = KEYS, at: float = 0.0
) -> Ahead:
    """A row of as many ends, each of which begins the member of the next key."""
    row = Ahead(journal.sequels, of, journal.me.id)
    begins_at = journal.flows.news(flow, [], -1).at
    for n, key in enumerate(keys):
        seen = FlowSeen(flow, heard=-1, lines=n + 1)
        outcome = DONE.model_copy(update={"value": f"end {n}"})
        asks = member(key, deadline_s=60.0)
        going = GoingOn(outcome, begins_at + n / 1000, seen, line(n + 1), asks)
        last = row.add(going)
        assert last is not None
        assert (last.id, last.ahead) == (derived_id(FLOW, key), row)
    return row


def test_all_of_it_is_there_together(world: World, journal: Journal) -> None:
    flow, a = begun(journal, "a")
    row = row_of(journal, flow, a)
    nothing_of_it(world, a)
    last = row.write().result(SOON)
    assert last is not None
    assert (last.id, last.token, last.member, last.ahead) == (derived_id(FLOW, "d"), 1, "d", None)
    assert last.remaining_s == pytest.approx(60.0)
    assert world.states(FLOW, "abcd") == ["succeeded"] * 3 + ["running"]
    assert lines(world) == [0, 1, 2, 3]
    assert [one.data["key"] for one in journal.flows.history("", FLOW)[1:]] == ["1", "2", "3"]
    rows = [world.row(derived_id(FLOW, key)) for key in "abcd"]
    assert [one.position for one in rows] == [0, 1, 2, 3]
    assert {one.round for one in rows} == {rows[0].round}
    assert [one.settled for one in rows] == [True] * 3 + [False]
    assert [one.worker_id for one in rows] == [None] * 3 + [journal.me.id]
    assert [(one.attempts, one.token) for one in rows] == [(1, 1)] * 4
    assert [one.outcome and one.outcome["value"] for one in rows] == [
        *("end 0", "end 1", "end 2", None)
    ]
    assert rows[1].payload == {"args": ["b"], "kwargs": {"agent": "a"}}
    for before, after in pairwise(rows[1:]):
        assert before.created_at == before.started_at <= before.finished_at == after.created_at
    assert rows[2].wake_at > rows[2].finished_at
    assert 55 < rows[3].deadline_at - rows[3].created_at < 65
    assert world.row(FLOW).state == "waiting"
    # The last one is a member as others are: its end lets the flow go on.
    assert [w.id for w in journal.finish(last, DONE).result(SOON).wakes] == [FLOW]


def test_it_is_written_once_and_nothing_is_added_then(world: World, journal: Journal) -> None:
    flow, a = begun(journal, "a")
    row = row_of(journal, flow, a)
    sent = [row.is_sent]
    with ThreadPoolExecutor(8) as threads:
        found = {*threads.map(lambda _: row.write(), range(32))}
    assert len(found) == 1
    assert [*sent, row.is_sent] == [False, True]
    assert row.write().result(SOON) is not None
    assert row.add(row.goings[0]) is None
    row.settle()
    assert lines(world) == [0, 1, 2, 3]


def _taken_last(world: World, journal: Journal) -> None:
    """Another run has the id of the last one."""
    claimed(journal, derived_id(FLOW, "d"), step(derived_id(FLOW, "d")))


@pytest.mark.parametrize(
    "change",
    [
        *(test_sequels._signal, test_sequels._lapse, test_sequels._taken, _taken_last),
        *(test_sequels._history, test_sequels._stop, test_sequels._other),
        test_sequels._set(Step, Step.id, token=2),
        test_sequels._set(Step, Step.id, state=State.READY),
        test_sequels._set(Step, Step.id, cancel_requested=True),
        test_sequels._set(Join, Join.step_id, state="fired"),
        test_sequels._set(Join, Join.step_id, deadline_at=1.0),
        test_sequels._set(Join, Join.step_id, policy="all"),
    ],
)
def test_nothing_is_written_where_it_is_not_as_the_code_took_it_to_be(
    world: World, journal: Journal, change: Callable[[World, Journal], None]
) -> None:
    flow, a = begun(journal, "a")
    row = row_of(journal, flow, a)
    change(world, journal)
    before = (world.row(a.id), lines(world))
    assert row.write().result(SOON) is None
    assert (world.row(a.id), lines(world)) == before
    with world.engine.connect() as c:
        assert c.execute(select(Step.id).where(Step.parent_id == FLOW)).scalars().all() == [a.id]
    with pytest.raises(JournalUnavailableError):
        row.settle()
    assert [row.is_given_up() for _ in range(2)] == [True, False]


def test_who_was_frozen_before_it_is_written_has_to_have_its_lease_still(
    world: World, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow, a = begun(journal, "a")
    row = row_of(journal, flow, a)
    with world.engine.begin() as c:
        c.execute(update(Worker).values(lease_until=row.goings[-1].at + 30.0))
    later = time.monotonic() + 60.0
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert row.write().result(SOON) is None
    nothing_of_it(world, a)


def test_an_answer_that_is_lost_is_found(
    journal: Journal, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow, a = begun(journal, "a")
    row = row_of(journal, flow, a)
    test_sequels.lose_a_commits_answer(monkeypatch)
    last = row.write().result(SOON)
    assert last is not None
    assert lines(world) == [0, 1, 2, 3]
    assert journal.finish(last, DONE).result(SOON).applied


def test_a_row_of_another_way_is_not_taken_for_it(
    journal: Journal, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow, a = begun(journal, "a")
    row = row_of(journal, flow, a)
    _taken_last(world, journal)
    test_sequels.lose_a_commits_answer(monkeypatch)
    assert row.write().result(SOON) is None


def test_what_is_written_is_encrypted(sqlite_journal_url: str) -> None:
    world = World(sqlite_journal_url, Seals([fernet_key("one")]))
    journal = world.journal()
    flow, a = begun(journal, "a")
    assert row_of(journal, flow, a).write().result(SOON) is not None
    for key in "abc":
        told = world.row(derived_id(FLOW, key))
        assert "end " not in str(told.outcome)
        assert f'"{key}"' not in str(told.payload)
    outcomes = [one.outcome for one in journal.members(FLOW)]
    assert [None if o is None else o.value for o in outcomes] == ["end 0", "end 1", "end 2", None]
    assert [one.data["key"] for one in journal.flows.history("", FLOW)[1:]] == ["1", "2", "3"]
    world.close()


@pytest.mark.parametrize(
    ("table", "when"),
    [("steps", "NEW.member = 'c'"), ("entries", "NEW.seq = 1"), ("entries", "NEW.seq = 3")],
)
def test_a_part_that_is_refused_takes_the_rest_along(
    world: World, journal: Journal, table: str, when: str
) -> None:
    flow, a = begun(journal, "a")
    dialect = world.engine.dialect.name
    with world.engine.begin() as c:
        for statement in test_sequels._REFUSING[dialect]:
            c.exec_driver_sql(statement.format(table, when))
    try:
        with pytest.raises(Exception, match="no"):
            row_of(journal, flow, a).write().result(SOON)
        nothing_of_it(world, a)
    finally:
        on = f" ON {table}" if dialect == "postgresql" else ""
        with world.engine.begin() as c:
            c.exec_driver_sql(f"DROP TRIGGER refuses{on}")
            if dialect == "postgresql":
                c.exec_driver_sql("DROP FUNCTION refuse()")


def test_it_is_no_longer_than_it_may_be(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    flow, a = begun(journal, "a")
    monkeypatch.setattr(ahead, "ENDS_MAX", 3)
    assert not row_of(journal, flow, a, "bc").full
    assert row_of(journal, flow, a, "bcd").full
    monkeypatch.setattr(ahead, "BYTES_MAX", 1_000)
    one = row_of(journal, flow, a, "")
    at = journal.flows.news(flow, [], -1).at
    large = Outcome(state=State.SUCCEEDED, value="x" * 1_000)
    one.add(GoingOn(large, at, FlowSeen(flow, heard=-1, lines=1), line(1), member("b")))
    assert one.full


@pytest.mark.postgres
def test_a_row_is_one_round_trip(emptied_postgres_url: str) -> None:
    world = World(emptied_postgres_url)
    journal = world.journal()
    flow, a = begun(journal, "a")
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    row = row_of(journal, flow, a)
    at = row.goings[-1].at
    event.listen(Engine, "before_cursor_execute", note)
    try:
        last = row.write().result(SOON)
        assert last is not None
        prepares = [one for one in sent if one.startswith("PREPARE")]
        assert len(sent) == len(prepares) + 1, sent
        sent.clear()
        more = Ahead(journal.sequels, last, journal.me.id)
        for n, key in enumerate("ef"):
            seen = FlowSeen(flow, heard=-1, lines=n + 4)
            more.add(GoingOn(DONE, at + n, seen, line(n + 4), member(key)))
        assert more.write().result(SOON) is not None
        assert len(sent) == 1, sent
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert lines(world) == [0, 1, 2, 3, 4, 5]
    world.close()


@pytest.mark.postgres
def test_behind_a_pooler_it_is_written_too(emptied_postgres_url: str) -> None:
    world = World(emptied_postgres_url)
    journal = world.journal()
    journal._writer._final.shoots = False
    flow, a = begun(journal, "a")
    last = row_of(journal, flow, a).write().result(SOON)
    assert last is not None
    assert world.states(FLOW, "abcd") == ["succeeded"] * 3 + ["running"]
    assert lines(world) == [0, 1, 2, 3]
    with world.engine.begin() as c:
        c.execute(update(Step).where(Step.id == FLOW).values(token=2))
    at, seen = row_of(journal, flow, a).goings[-1].at, FlowSeen(flow, heard=-1, lines=4)
    more = Ahead(journal.sequels, replace(last), journal.me.id)
    more.add(GoingOn(DONE, at, seen, line(4), member("e")))
    assert more.write().result(SOON) is None
    world.close()
