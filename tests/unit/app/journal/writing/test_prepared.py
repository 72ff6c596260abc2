"""Single statements write what transactions write, and say the same."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from agents.plan import Expand, JoinPolicy
from app.journal import Journal
from app.journal.schema.models import Join, Step
from app.journal.schema.rows import Aftermath, Claimed, NewStep, derived_id
from app.journal.steps import compensations
from app.journal.steps.calls import FinishCall, StartCall
from app.journal.steps.claims import ClaimStep
from app.journal.steps.expansions import ExpandStep
from app.journal.steps.finishes import FinishStep, Settle
from app.journal.writing.connection import _BY_HASH, _BY_INDEX
from app.journal.writing.operation import Operation
from celery_agents.contracts.compensation import Compensation
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State, Usage
from tests.support.drawn import costly
from tests.unit.app.journal.proxy import Proxy
from tests.unit.app.journal.support import (
    DONE,
    FAILED,
    SOON,
    TIRED,
    World,
    batch,
    claimed,
    expand,
    member,
    plan,
    refused,
    step,
)

pytestmark = pytest.mark.databases("both")

UNDOABLE = Outcome(state=State.SUCCEEDED, value=1, compensation=Compensation(agent="undo"))


@pytest.fixture
def proxy(emptied_postgres_url: str) -> Iterator[Proxy]:
    with Proxy(emptied_postgres_url) as made:
        yield made


@pytest.fixture
def through(proxy: Proxy) -> Iterator[World]:
    """A journal behind the proxy, whose writer has its connections and knows its statements."""
    world = World(proxy.url)
    journal = world.journal()
    claim = claimed(journal, "warm", step("warm"))
    journal.start_call(claim, 0, "model", "f", "k").result(SOON)
    journal.finish_call(claim, 0, {"a": 1}).result(SOON)
    journal.finish(claim, DONE).result(SOON)
    journal.settle("warm", 1).result(SOON)
    for parent in ("warm pattern", "another"):
        (one,) = expand(journal, parent, plan("a"))
        journal.finish(one, DONE).result(SOON)
    yield world
    world.close()


def sent(proxy: Proxy, work: Callable[[], Any]) -> list[str]:
    """The first words of what is sent in each round trip of ``work``."""
    proxy.queries.clear()
    work()
    return [query.split("(")[0].strip().split("\n")[0] for query in proxy.queries]


def only(statement: str) -> list[str]:
    joined = statement in {"expand_steps", "finish_members", "finish_calls"}
    before = [_BY_INDEX, *[_BY_HASH] * joined]
    return ["; ".join([*before, f"EXECUTE {statement}"])]


def _finished(journal: Journal, claim: Claimed) -> Aftermath:
    return journal.finish(claim, DONE).result(SOON)


def _add(found: list[Any], work: Callable[[], Any]) -> None:
    found.append(work())


# ---------------------------------------------------------------- round trips


@pytest.mark.postgres
def test_who_opened_it_first_does_not_wait_at_its_first_step(proxy: Proxy) -> None:
    world = World(proxy.url)
    unopened, journal = world.journal("one"), world.journal("other")
    first = sent(proxy, lambda: claimed(unopened, "early", step("early")))
    assert any("PREPARE" in query for query in first)
    journal.open()
    claims: list[Claimed] = []
    claim = sent(proxy, lambda: claims.append(claimed(journal, "s", step("s"))))
    assert claim == only("claim_step")
    assert not any("PREPARE" in one for one in sent(proxy, lambda: _finished(journal, claims[0])))
    assert world.row("s").state == "succeeded"
    world.close()


@pytest.mark.postgres
class TestOneRoundTrip:
    def test_a_step_with_a_call(self, proxy: Proxy, through: World) -> None:
        journal = through.journals[0]
        claims: list[Claimed] = []
        claim = sent(proxy, lambda: claims.append(claimed(journal, "s", step())))
        assert claim == only("claim_step")
        start = sent(proxy, lambda: journal.start_call(claims[0], 0, "m", "f", "k").result(SOON))
        assert start == only("start_calls")
        end = sent(proxy, lambda: journal.finish_call(claims[0], 0, {"a": 1}).result(SOON))
        assert end == only("finish_calls")
        finish = sent(proxy, lambda: journal.finish(claims[0], DONE).result(SOON))
        assert finish == only("finish_step")
        assert sent(proxy, lambda: journal.settle("s", 1).result(SOON)) == only("settle_steps")
        assert (through.row("s").state, through.row("s").settled) == ("succeeded", True)
        assert through.calls("s")[0].answer == {"a": 1}

    def test_a_finish_with_its_last_call(self, proxy: Proxy, through: World) -> None:
        journal = through.journals[0]
        claim = claimed(journal, "s", step())
        journal.start_call(claim, 0, "m", "f", "k").result(SOON)
        both: list[Operation[Any]] = [
            FinishStep(claim, DONE, journal.rules),
            FinishCall(claim, 0, {"a": "%s; ' \\"}),
        ]
        assert sent(proxy, lambda: journal._writer._commit(both)) == only("finish_calls")
        assert "EXECUTE finish_step" in proxy.queries[0]
        assert both[0].future.result(SOON).applied
        assert both[1].future.result(SOON) is None
        assert through.calls("s")[0].answer == {"a": "%s; ' \\"}
        assert through.run("s").state == "succeeded"

    def test_a_member_and_what_its_end_wakes(self, proxy: Proxy, through: World) -> None:
        journal = through.journals[0]
        parent = claimed(journal, "p", step("p", payload={"args": ["ü"], "kwargs": {}}))
        made = journal.expand(parent, plan("a", "b")).result(SOON).members
        claims: list[Claimed] = []
        for woken in made:
            words = sent(proxy, partial(_add, claims, partial(claimed, journal, woken.id)))
            assert words == only("take_steps")
        assert (claims[0].payload, claims[0].policy) == (made[0].payload, "all")
        ends: list[Aftermath] = []
        for claim in claims:
            words = sent(proxy, partial(_add, ends, partial(_finished, journal, claim)))
            assert words == only("finish_members")
        assert ends[0].wakes == []
        (wake,) = ends[1].wakes
        assert (wake.id, wake.payload, wake.envelope) == ("p", parent.payload, None)
        assert (through.join("p").state, through.row("p").state) == ("fired", "ready")
        again = sent(proxy, partial(_add, claims, lambda: claimed(journal, "p")))
        assert again == only("take_steps")
        assert (claims[-1].token, claims[-1].attempt, claims[-1].policy) == (2, 1, None)

    def test_first_expansions(self, proxy: Proxy, through: World) -> None:
        journal = through.journals[0]
        envelope = {"chain": [{"task": "x"}]}
        parents = [
            claimed(journal, "p", step("p", envelope=envelope, queue="slow", priority=8)),
            claimed(journal, "q", step("q")),
        ]
        plans = [plan("a", "b", timeout_s=60), plan("a", kind="first", keep=True)]
        both: list[Operation[Any]] = [
            ExpandStep(claim, what, journal.rules)
            for claim, what in zip(parents, plans, strict=True)
        ]
        assert sent(proxy, lambda: journal._writer._commit(both)) == only("expand_steps")
        first, second = [o.future.result(SOON) for o in both]
        assert [m.id for m in first.members] == [derived_id("p", k) for k in "ab"]
        assert (first.timer.id, first.timer.envelope) == ("p", envelope)
        assert (first.timer.queue, first.timer.priority) == ("slow", 8)
        assert (second.members[0].payload["args"], second.timer) == (["a"], None)
        row = through.row(derived_id("p", "b"))
        assert (row.queue, row.priority, row.position, row.run_id) == ("slow", 8, 1, "p")
        join = through.join("q")
        assert (join.policy, join.keep, join.expected, join.deadline_at) == ("first", True, 1, None)

    def test_claims_of_both_kinds(self, proxy: Proxy, through: World) -> None:
        """Each answers, so each is sent by itself."""
        journal = through.journals[0]
        journal.postpone(claimed(journal, "old", step("old")), delay_s=0).result(SOON)
        both: list[Operation[Any]] = [
            ClaimStep("old", journal.me.id, journal.rules),
            ClaimStep("new", journal.me.id, journal.rules, step("new")),
        ]
        words = sent(proxy, lambda: journal._writer._commit(both))
        assert words == [*only("claim_step"), *only("take_steps")]
        assert [o.future.result(SOON).token for o in both] == [2, 1]

    def test_each_part_of_a_batch(self, proxy: Proxy, through: World) -> None:
        journal = through.journals[0]
        old = [claimed(journal, i, step(i)) for i in "abcd"]
        many: list[Operation[Any]] = [
            *(FinishStep(claim, DONE, journal.rules) for claim in old[:2]),
            *(StartCall(claim, 0, "m", "f", "k") for claim in old[2:]),
            *(Settle(i, 1) for i in ("warm", "unheard of")),
            *(ClaimStep(i, journal.me.id, journal.rules, step(i)) for i in "xyz"),
        ]
        first = [FinishStep(claimed(journal, i, step(i)), DONE, journal.rules) for i in "mn"]
        two = [ClaimStep(i, journal.me.id, journal.rules, step(i)) for i in "op"]
        # Tells the connection the statements.
        journal._writer._commit([*first, Settle("warm", 1), *two])
        words = sent(proxy, lambda: journal._writer._commit(many))
        assert words == [*only("settle_steps"), *only("start_calls")]
        assert [query.count("EXECUTE") for query in proxy.queries] == [2, 2]  # and what they answer
        assert [o.future.result(SOON).applied for o in many[:2]] == [True, True]
        assert [o.future.result(SOON).id for o in many[-3:]] == ["x", "y", "z"]
        assert [through.run(i).state for i in "abcx"] == ["succeeded", "succeeded", "open", "open"]
        assert len(through.calls("c")) == 1


def _another(world: World) -> Claimed:
    return claimed(world.journals[0], "s", step())


def _stale(world: World) -> Callable[[], Any]:
    claim = _another(world)
    world.set("s", token=2)
    return lambda: world.journals[0].finish(claim, DONE).result(SOON)


def _failed(world: World) -> Callable[[], Any]:
    claim = _another(world)
    return lambda: world.journals[0].finish(claim, FAILED).result(SOON)


def _member(
    kind: str, outcome: Outcome = DONE, *, again: bool = False
) -> Callable[[World], Callable[[], Any]]:
    """The last of a join's members."""

    def prepare(world: World) -> Callable[[], Any]:
        journal = world.journals[0]
        if again:
            (first,) = expand(journal, "p", plan("z"))
            journal.finish(first, DONE).result(SOON)
        *_, claim = expand(journal, "p", plan("a", "b", kind=kind))
        return lambda: journal.finish(claim, outcome).result(SOON)

    return prepare


def _standing(world: World) -> Callable[[], Any]:
    world.journals[0].postpone(_another(world), delay_s=0, error=TIRED).result(SOON)
    return lambda: claimed(world.journals[0], "s", step())


def _early(world: World) -> Callable[[], Any]:
    world.journals[0].postpone(_another(world), delay_s=60, error=TIRED).result(SOON)
    return lambda: refused(world.journals[0], "s")


def _orphan(world: World) -> Callable[[], Any]:
    other = world.journal("other")
    claimed(other, "s", step())
    world.end_lease(other)
    return lambda: claimed(world.journals[0], "s")


def _without_row(world: World) -> Callable[[], Any]:
    return lambda: refused(world.journals[0], "unheard of")


def _twice(world: World) -> Callable[[], Any]:
    journal = world.journals[0]
    both = [ClaimStep("s", journal.me.id, journal.rules, step()) for _ in range(2)]
    return lambda: journal._writer._commit(list(both))


def _ended_twice(world: World) -> Callable[[], Any]:
    claim, journal = _another(world), world.journals[0]
    both = [FinishStep(claim, outcome, journal.rules) for outcome in (DONE, UNDOABLE)]
    return lambda: journal._writer._commit(list(both))


@pytest.mark.postgres
@pytest.mark.parametrize(
    "prepare",
    [
        *(_stale, _failed, _standing, _early, _orphan, _without_row, _twice, _ended_twice),
        *(_member("decided"), _member("first"), _member("unbroken", FAILED)),
        _member("all", UNDOABLE),
    ],
)
def test_all_else_is_a_transaction(
    proxy: Proxy, through: World, prepare: Callable[[World], Callable[[], Any]]
) -> None:
    work = prepare(through)
    words = sent(proxy, work)
    assert "BEGIN" in words
    assert words[-1] in {"COMMIT", "ROLLBACK"}


# ---------------------------------------------------------------- the same as before


_TENS_S = st.integers(1, 99_999).map(lambda tens: 10.0 * tens)
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=3), below),
    max_leaves=5,
)
steps = st.builds(
    NewStep,
    id=st.just("s"),
    run_id=st.sampled_from(["s", "r"]),
    task=texts,
    queue=texts,
    payload=st.fixed_dictionaries({"args": st.lists(values, max_size=2), "kwargs": st.just({})}),
    max_attempts=st.integers(1, 9),
    parent_id=st.none() | st.just("p"),
    member=st.none() | texts,
    position=st.integers(0, 9),
    agent=st.none() | texts,
    priority=st.integers(0, 9),
    envelope=st.none() | st.dictionaries(texts, values, max_size=2),
    timeout_s=st.none() | _TENS_S,
)
json_values: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | texts,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(texts, below, max_size=3),
    max_leaves=5,
)
outcomes = st.builds(
    Outcome,
    state=st.sampled_from([State.SUCCEEDED, State.FAILED, State.CANCELLED]),
    value=json_values,
    error=st.none() | st.builds(ErrorInfo, kind=texts, message=texts),
    agent=st.none() | texts,
    usage=st.builds(Usage, calls=st.integers(0, 9), cost_usd=st.none() | st.floats(0, 9)),
    compensation=st.none() | st.builds(Compensation, agent=st.just("undo")),
)
_TIMES = {"ready_at", "wake_at", "deadline_at", "created_at", "started_at", "finished_at"}


def left(world: World, since: float) -> list[dict[str, Any]]:
    """The rows, times as whole tens of seconds after ``since``."""
    found = [world.row("s")._mapping]
    if found[0]["parent_id"] is None:
        found.append(world.run("s")._mapping)
    found += [call._mapping for call in world.calls("s")]
    return [timeless(row, since) for row in found]


def timeless(row: Any, since: float) -> dict[str, Any]:
    # What is meant are whole tens of seconds (_TENS_S), and it comes less than ten later than that.
    return {
        k: (v - since + 0.5) // 10 if k in _TIMES and v is not None else v
        for k, v in row.items()
        if k != "worker_id" or v is None
    }


def emptied(world: World) -> None:
    with world.engine.begin() as c:
        for name in ("calls", "joins", "events", "steps", "runs"):
            c.exec_driver_sql(f"DELETE FROM {name}")


def played(
    world: World, new: NewStep, outcome: Outcome, token: int, *, alone: bool
) -> tuple[Any, ...]:
    """What a step's life leaves behind and says, written either way."""
    emptied(world)
    journal = world.journals[0]
    for held in (journal._writer._final, journal._writer._relaxed):
        held.shoots = alone
    since = world.clock()
    claim = claimed(journal, "s", new)
    if claim.parent_id:
        world.set("s", round=1)
    first = left(world, since)
    journal.start_call(claim, 0, "model", "f", "k").result(SOON)
    journal.start_call(claim, 0, "again", "f", "k").result(SOON)
    journal.finish_call(claim, 0, {"a": [1, None]}).result(SOON)
    given = {f: getattr(claim, f) for f in Claimed.__slots__ if f != "since"}
    assert claim.payload == world.row("s").payload
    ended = journal.finish(Claimed(**{**given, "token": token}), outcome).result(SOON)
    again = journal.finish(claim, FAILED).result(SOON)
    told = (given, ended.applied, [w.id for w in ended.wakes], ended.cancels, again.applied)
    return told, first, left(world, since)


@settings(
    max_examples=costly(40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps, outcomes, st.sampled_from([1, 1, 2]))
def test_both_ways_leave_the_same(
    world: World, journal: Journal, new: NewStep, outcome: Outcome, token: int
) -> None:
    assert world.journals == [journal]
    if new.parent_id is None and new.run_id != "s":
        new = step("s", payload=new.payload, envelope=new.envelope)
    alone = played(world, new, outcome, token, alone=True)
    assert alone == played(world, new, outcome, token, alone=False)


def mixed(world: World, ends: list[tuple[Outcome, int]], known: list[bool]) -> tuple[Any, ...]:
    """A batch of ends, some under a wrong token, and of claims, some of rows that are there."""
    emptied(world)
    journal = world.journals[0]
    claims = [claimed(journal, f"e{n}", step(f"e{n}")) for n in range(len(ends))]
    for n, (_, token) in enumerate(ends):
        world.set(f"e{n}", token=token)
    new = [step(f"n{n}", timeout_s=n or None) for n in range(len(known))]
    for standing in (s for s, there in zip(new, known, strict=True) if there):
        journal.postpone(claimed(journal, standing.id, standing), delay_s=0).result(SOON)
    batch: list[Operation[Any]] = [
        *(FinishStep(c, o, journal.rules) for c, (o, _) in zip(claims, ends, strict=True)),
        *(ClaimStep(s.id, journal.me.id, journal.rules, s) for s in new),
    ]
    journal._writer._commit(batch)
    results = [o.future.result(SOON) for o in batch]
    told = [(r.applied, [w.id for w in r.wakes]) for r in results[: len(ends)]]
    got = [(r.id, r.token, r.attempt, r.payload) for r in results[len(ends) :]]
    ids = [c.id for c in claims] + [s.id for s in new]
    rows = [(r.state, r.token, r.attempts, r.outcome, r.settled) for r in map(world.row, ids)]
    return told, got, rows, [(r.state, r.usage) for r in map(world.run, ids)]


@settings(
    max_examples=costly(25, part=3),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.tuples(st.sampled_from([DONE, DONE, UNDOABLE, FAILED]), st.sampled_from([1, 1, 2])),
        max_size=4,
    ),
    st.lists(st.booleans(), max_size=4),
)
def test_batches_too(
    world: World, journal: Journal, ends: list[tuple[Outcome, int]], known: list[bool]
) -> None:
    found = []
    for alone in (True, False):
        writer = journal._writer
        writer._final.shoots = writer._relaxed.shoots = alone
        found.append(mixed(world, ends, known))
    assert found[0] == found[1]


_MEMBERS = st.builds(
    member,
    st.sampled_from("abcd"),
    task=st.sampled_from(["agents.ask", "agents.vote"]),
    input=json_values,
    options=st.dictionaries(texts, json_values, max_size=2),
    agent=st.none() | texts,
    max_attempts=st.integers(1, 9),
    deadline_s=st.none() | _TENS_S,
    waits=st.booleans(),
)
_PLANS = st.builds(
    Expand,
    members=st.lists(_MEMBERS, max_size=4).map(tuple),
    join=st.builds(
        JoinPolicy,
        kind=st.sampled_from(["all", "first", "decided", "unbroken"]),
        timeout_s=st.none() | _TENS_S.map(lambda s: s + 10),
        keep=st.booleans(),
    ),
    note=st.none() | st.none() | st.just({"why": "tie"}),
)


def expanded(world: World, wanted: list[tuple[Expand, str]]) -> Any:
    """What is told of expansions in one batch, and what they leave behind."""
    emptied(world)
    journal = world.journals[0]
    since = world.clock()
    claims = [claimed(journal, f"p{n}", step(f"p{n}")) for n in range(len(wanted))]
    for claim, (_, state) in zip(claims, wanted, strict=True):
        match state:
            case "cancelled":
                journal.cancel(claim.id)
            case "stale":
                world.set(claim.id, token=2)
            case "repeated":
                journal.expand(claim, plan("a", "z")).result(SOON)
                world.set(claim.id, state="running")
    operations = [
        ExpandStep(c, what, journal.rules) for c, (what, _) in zip(claims, wanted, strict=True)
    ]
    journal._writer._commit(list(operations))
    results = [o.future.result(SOON) for o in operations]
    with world.engine.connect() as c:
        rows = [
            *c.execute(select(Step.__table__).order_by(Step.id)).mappings(),
            *c.execute(select(Join.__table__).order_by(Join.step_id)).mappings(),
        ]
    return (
        [(r.applied, r.members, r.timer, r.wakes, r.cancels) for r in results],
        [timeless(row, since) for row in rows],
    )


@pytest.mark.postgres
@settings(
    max_examples=costly(60),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.tuples(_PLANS, st.sampled_from(["", "", "", "cancelled", "stale", "repeated"])),
        min_size=1,
        max_size=3,
    )
)
def test_expansions_leave_the_same(through: World, wanted: list[tuple[Expand, str]]) -> None:
    found = []
    for alone in (True, False):
        through.journals[0]._writer._final.shoots = alone
        found.append(expanded(through, wanted))
    assert found[0] == found[1]


_JOINS = st.lists(
    st.tuples(
        st.sampled_from(["all", "all", "first", "unbroken", "decided"]),
        st.booleans(),  # in a second round
        st.lists(  # what its members come to; under a token that may be stale
            st.none()
            | st.tuples(
                st.sampled_from([DONE, DONE, FAILED, UNDOABLE]), st.sampled_from([1, 1, 2])
            ),
            min_size=1,
            max_size=4,
        ),
    ),
    min_size=1,
    max_size=3,
)


def joined(world: World, wanted: list[tuple[str, bool, list[Any]]]) -> Any:
    """What is told of members that end in one batch, and what it leaves behind."""
    emptied(world)
    journal = world.journals[0]
    ends: list[Operation[Any]] = []
    for n, (kind, second, members) in enumerate(wanted):
        if second:
            (before,) = expand(journal, f"p{n}", plan("before"))
            journal.finish(before, DONE).result(SOON)
        keys = [f"m{k}" for k in range(len(members))]
        for claim, end in zip(
            expand(journal, f"p{n}", plan(*keys, kind=kind)), members, strict=True
        ):
            if end is not None:
                outcome, token = end
                world.set(claim.id, token=token)
                ends.append(FinishStep(claim, outcome, journal.rules))
    journal._writer._commit(ends)
    results = [o.future.result(SOON) for o in ends]
    with world.engine.connect() as c:
        steps = c.execute(select(Step.__table__).order_by(Step.id)).all()
        joins = c.execute(select(Join.__table__).order_by(Join.step_id)).all()
    return (
        sorted((w.id, w.task, w.payload, w.run_id) for r in results for w in r.wakes),
        sorted(i for r in results for i in r.cancels),
        [r.applied for r in results],
        [(s.id, s.state, s.token, s.attempts, s.outcome, s.settled, s.round) for s in steps],
        [(j.step_id, j.state, j.done, j.succeeded, j.expected, j.round) for j in joins],
    )


@pytest.mark.postgres
@settings(
    max_examples=costly(60, part=6),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(_JOINS)
def test_members_leave_the_same(through: World, wanted: list[tuple[str, bool, list[Any]]]) -> None:
    found = []
    for alone in (True, False):
        for held in (through.journals[0]._writer._final, through.journals[0]._writer._relaxed):
            held.shoots = alone
        found.append(joined(through, wanted))
    assert found[0] == found[1]


@pytest.mark.postgres
def test_many_workers_members_of_one_join_are_all_counted(through: World) -> None:
    """Each ends its own at the same time as the others, some at once and some by themselves."""
    journals = [*through.journals, *(through.journal(f"w{n}") for n in range(3))]
    members = 120
    parent = claimed(journals[0], "p", step("p"))
    made = journals[0].expand(parent, plan(*map(str, range(members)))).result(SOON).members
    wakes: list[str] = []

    def work(place: int) -> None:
        journal = journals[place]
        claims = [claimed(journal, w.id) for w in made[place :: len(journals)]]
        while claims:
            some, claims = claims[: 1 + place * 3], claims[1 + place * 3 :]
            ends = [journal.finish(c, DONE) for c in some]
            wakes.extend(w.id for end in ends for w in end.result(SOON).wakes)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(journals))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    assert wakes == ["p"]
    join = through.join("p")
    assert (join.done, join.succeeded, join.state) == (members, members, "fired")
    assert claimed(journals[1], "p").token == 2


def test_a_row_that_was_made_by_its_claim_is_told_as_it_stands(
    world: World, journal: Journal
) -> None:
    """Also in a batch; what JSON changes is changed in the claim too."""
    odd = {"args": [(1, 2), math.nan, "\ud800", State.READY], "kwargs": {"a": {1: None}}}
    both = [ClaimStep(i, journal.me.id, journal.rules, step(i, payload=odd)) for i in "ab"]
    alone = claimed(journal, "c", step("c", payload=odd))
    for claim in (*batch(journal, *both), alone):
        assert claim.payload == world.row(claim.id).payload
        assert claim.payload["args"] == [[1, 2], None, "\ud800", "ready"]
        assert claim.payload["kwargs"] == {"a": {"1": None}}


def test_a_root_that_was_undoable_and_succeeded_is_left_as_it_is(
    world: World, journal: Journal
) -> None:
    (member,) = expand(journal, "r", plan("a"))
    journal.finish(member, UNDOABLE).result(SOON)
    assert world.run("r").compensable
    after = journal.finish(claimed(journal, "r"), UNDOABLE).result(SOON)
    assert (after.applied, after.wakes) == (True, [])
    assert (world.run("r").state, world.run("r").compensable) == ("succeeded", True)
    with world.engine.connect() as c:
        assert not compensations.begun(c, "r")


def test_a_root_that_was_cancelled_meanwhile(world: World, journal: Journal) -> None:
    claim = claimed(journal, "s", step())
    journal.cancel("s")
    assert journal.finish(claim, DONE).result(SOON).applied  # it was done before it was asked
    other = claimed(journal, "t", step("t"))
    world.set("t", state="cancelled", token=2)
    assert not journal.finish(other, DONE).result(SOON).applied
    assert world.run("t").state == "open"


def test_a_call_of_no_step_is_refused_and_harms_nothing(world: World, journal: Journal) -> None:
    claim = claimed(journal, "s", step())
    world.set("s", token=1)
    nobody = Claimed(
        **{**{f: getattr(claim, f) for f in Claimed.__slots__ if f != "since"}, "id": "no"}
    )
    assert journal.start_call(nobody, 0, "m", "f", "k").result(SOON) == "lost"
    good, bad = StartCall(claim, 0, "m", "f", "k"), StartCall(nobody, 0, "m", "f", "k")
    journal._writer._commit([good, bad])
    assert good.future.result(SOON) == "yes"
    assert bad.future.result(SOON) == "lost"
    assert len(world.calls("s")) == 1
    assert journal.finish(claim, DONE).result(SOON).applied


# ---------------------------------------------------------------- lost answers


@pytest.mark.postgres
@pytest.mark.parametrize("alone", [True, False], ids=["statement", "transaction"])
class TestLostAnswer:
    """What was written and not answered is written once, and told alike either way."""

    @pytest.fixture
    def journal(self, through: World, alone: bool) -> Journal:
        journal = through.journals[0]
        for held in (journal._writer._final, journal._writer._relaxed):
            held.shoots = alone
        return journal

    def test_of_a_claim(self, proxy: Proxy, through: World, journal: Journal, alone: bool) -> None:
        proxy.lose = "EXECUTE claim_step" if alone else "COMMIT"
        found = journal.claim("s", step()).result(SOON)
        assert proxy.lost
        assert isinstance(found, Claimed)
        assert (found.token, found.attempt) == (1, 1)  # of the try that was not heard of
        assert (through.row("s").token, through.row("s").attempts) == (1, 1)
        assert journal.beat().running == {"s": 1}

    def test_of_a_finish(self, proxy: Proxy, through: World, journal: Journal, alone: bool) -> None:
        claim = claimed(journal, "s", step())
        proxy.lose = "EXECUTE finish_step" if alone else "COMMIT"
        assert not journal.finish(claim, DONE).result(SOON).applied
        assert proxy.lost
        assert (through.row("s").state, through.run("s").state) == ("succeeded", "succeeded")
        assert through.row("s").finished_at == pytest.approx(through.clock(), abs=10)

    def test_of_a_call(self, proxy: Proxy, through: World, journal: Journal, alone: bool) -> None:
        claim = claimed(journal, "s", step())
        proxy.lose = "EXECUTE start_calls" if alone else "COMMIT"
        journal.start_call(claim, 0, "m", "f", "k").result(SOON)
        proxy.lose = "EXECUTE finish_calls" if alone else "COMMIT"
        journal.finish_call(claim, 0, {"a": 1}).result(SOON)
        assert proxy.lost
        assert [call.answer for call in through.calls("s")] == [{"a": 1}]
        assert journal.finish(claim, DONE).result(SOON).applied
