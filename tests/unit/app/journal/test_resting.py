"""Roots that wait on for anything: many in one transaction come out as each does alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from sqlalchemy import event, select

from agents.plan import AwaitedAny, Expand, JoinPolicy
from app.journal import Journal
from app.journal.schema.engine import read_clock
from app.journal.schema.models import Entry
from app.journal.schema.rows import Claimed, NewEntry, derived_id
from app.journal.steps.expansions import ExpandStep
from celery_agents import names
from tests.unit.app.journal.support import DONE, SOON, World, batch, claimed, ids, member, step


class Way(NamedTuple):
    """How a root stands when it is to wait, and what comes of that."""

    name: str
    meanwhile: Callable[[World, Journal, Claimed], object]
    state: str
    awaited: AwaitedAny = AwaitedAny()
    applied: bool = True
    first: Expand | None = None


def _signal(_: World, journal: Journal, claim: Claimed) -> None:
    journal.flows.signal(claim.id, ("go", 1), "k", journal.rules)


def _cancel_entry(world: World, journal: Journal, claim: Claimed) -> None:
    """A cancellation that the flow is told of, as its row is not to end yet."""
    _signal(world, journal, claim)
    journal.cancel(claim.id)


def _end(_: World, journal: Journal, claim: Claimed) -> None:
    journal.finish(claimed(journal, derived_id(claim.id, "b")), DONE).result(SOON)


def _anew(world: World, journal: Journal, claim: Claimed) -> None:
    """Another worker has it."""
    world.set(claim.id, token=claim.token + 1)


def _nothing(*_: object) -> None:
    return None


def _wants(*keys: str) -> Expand:
    members = tuple(member(key) for key in keys)
    return Expand(members=members, join=JoinPolicy(kind="any"), awaited=AwaitedAny(open=keys))


HAD = _wants("a", "b")
WAYS = [
    Way("new", _nothing, "waiting"),
    Way("told", _signal, "ready"),
    Way("heard", _signal, "waiting", AwaitedAny(heard=0)),
    Way("deaf", _signal, "waiting", AwaitedAny(deaf=True)),
    Way("deaf-cancelled", _cancel_entry, "ready", AwaitedAny(deaf=True)),
    Way("anew", _anew, "running", applied=False),
    Way("gone", lambda w, _, c: w.set(c.id, cancel_requested=True), "running", applied=False),
    Way("left", lambda w, _, c: w.set(c.id, state="ready"), "ready", applied=False),
    Way("open", _nothing, "waiting", AwaitedAny(open=("b",)), first=HAD),
    Way("ended", _end, "ready", AwaitedAny(open=("b",)), first=HAD),
    Way("let-be", _end, "waiting", AwaitedAny(open=()), first=HAD),
]


def _prepared(world: World, journal: Journal, way: Way) -> Claimed:
    claim = claimed(journal, way.name, step(way.name, task=names.FLOW, agent=None))
    if way.first is not None:
        journal.expand(claim, way.first, entries=[_line(way, "old")]).result(SOON)
        journal.finish(claimed(journal, derived_id(way.name, "a")), DONE).result(SOON)
        claim = claimed(journal, way.name)
    way.meanwhile(world, journal, claim)
    return claim


def _line(way: Way, kind: str) -> NewEntry:
    return NewEntry("", f"flow/{way.name}", kind, {"value": 1}, run_id=way.name)


def _rest(journal: Journal, way: Way, claim: Claimed) -> ExpandStep:
    awaited = way.awaited.model_copy(update={"begins": int(way.first is not None)})
    what = Expand(join=JoinPolicy(kind="any", timeout_s=600.0), awaited=awaited)
    return ExpandStep(claim, what, journal.rules, entries=[_line(way, "line")])


def _lines(world: World, way: Way) -> list[str]:
    with world.engine.connect() as c:
        query = select(Entry.kind).where(Entry.stream == f"flow/{way.name}").order_by(Entry.seq)
        return [*c.execute(query).scalars()]


@pytest.mark.parametrize("together", [True, False], ids=["together", "each alone"])
def test_each_waits_or_goes_on_as_it_stands(world: World, journal: Journal, together: bool) -> None:
    rests = [_rest(journal, way, _prepared(world, journal, way)) for way in WAYS]
    assert all(one.rest is not None for one in rests)
    if together:
        found = batch(journal, *rests)
    else:
        found = [one for rest in rests for one in batch(journal, rest)]
    for way, after in zip(WAYS, found, strict=True):
        told = (after.applied, ids(after.wakes), world.row(way.name).state, _lines(world, way))
        woken = [way.name] if way.applied and way.state == "ready" else []
        assert told == (way.applied, woken, way.state, ["line"] * way.applied), way.name
        if way.applied:
            join = world.join(way.name)
            state = "open" if way.state == "waiting" else "fired"
            assert (join.state, join.policy, join.expected, join.done) == (state, "any", 1, 0)
            assert join.deadline_at > world.clock() + 500, way.name
        if way.first is not None:  # whom it had runs on, and counts in the first round
            assert world.join(way.name).round == 1
            assert world.row(derived_id(way.name, "b")).round == 1


def test_their_times_are_those_of_their_timers_however_long_it_took_to_be_written(
    world: World, journal: Journal
) -> None:
    at = journal.read(read_clock)
    what = Expand(
        join=JoinPolicy(kind="any", timeout_s=100.0, since=at - 40.0), awaited=AwaitedAny(open=())
    )
    ways = [one for one in WAYS if one.name in {"new", "let-be"}]
    claims = [_prepared(world, journal, way) for way in ways]
    found = batch(journal, *(ExpandStep(claim, what, journal.rules) for claim in claims))
    assert [one.applied for one in found] == [True, True]
    for way in ways:
        assert world.join(way.name).deadline_at == pytest.approx(at + 60.0, abs=0.1), way.name


def test_many_take_as_many_statements_as_few(world: World, journal: Journal) -> None:
    sent: list[str] = []
    event.listen(journal.engine, "before_cursor_execute", lambda *about: sent.append(str(about[2])))
    counts = []
    for number in (2, 50):
        ways = [Way(f"f{number}-{n}", _nothing, "waiting") for n in range(number)]
        claims = [_prepared(world, journal, way) for way in ways]
        sent.clear()
        rests = [_rest(journal, w, c) for w, c in zip(ways, claims, strict=True)]
        assert all(one.applied for one in batch(journal, *rests))
        counts.append(len(sent))
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    "more",
    [
        {"members": (member("a"),)},
        {"awaited": AwaitedAny(lets_go=("a",))},
        {"awaited": None},
        {"note": {"kind": "told"}},
    ],
    ids=["members", "lets go", "no flow", "a note"],
)
def test_what_wants_more_goes_by_itself(journal: Journal, more: dict[str, Any]) -> None:
    claim = claimed(journal, "s", step("s", task=names.FLOW, agent=None))
    what = Expand(join=JoinPolicy(kind="any"), awaited=AwaitedAny()).model_copy(update=more)
    operation = ExpandStep(claim, what, journal.rules)
    assert (operation.rest, operation.shares) == (None, False)
