"""The short way of a flow: one transaction for an end and what follows it, or nothing of that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select, text, update

from agents.plan import AwaitedAny, Expand, JoinPolicy
from app.journal import Journal
from app.journal.schema.models import Entry, Join, Step, Worker
from app.journal.schema.rows import Claimed, NewEntry, derived_id
from app.journal.sequels import FlowSeen, GoingOn
from celery_agents import names
from celery_agents.contracts.outcome import State
from celery_agents.sealing import Seals
from tests.support.fernet import fernet_key
from tests.unit.app.journal.support import DONE, SOON, World, claimed, member, step

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


def goes_on(journal: Journal, flow: Claimed, of: Claimed, **more: Any) -> Claimed | None:
    at = journal.flows.news(flow, [], -1).at
    seen = FlowSeen(flow, **{"heard": -1, "lines": 1, **more})
    going = GoingOn(DONE, at, seen, line(1), member("b", deadline_s=60.0))
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


def test_it_is_written_once(journal: Journal, world: World) -> None:
    flow, a = begun(journal, "a")
    assert goes_on(journal, flow, a) is not None
    assert goes_on(journal, flow, a) is None
    assert not journal.finish(a, DONE).result(SOON).applied
    assert lines(world) == [0, 1]


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
