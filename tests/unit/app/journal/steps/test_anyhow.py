from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import pytest
from sqlalchemy import select, update

from agents.flows.history import CLEANUP_S
from agents.plan import AwaitedAny, Expand, JoinPolicy
from app.journal import Journal
from app.journal.schema.engine import read_clock
from app.journal.schema.models import Entry, Join, Step
from app.journal.schema.rows import Aftermath, Claimed, NewEntry, derived_id
from app.journal.steps import anyhow, signals
from app.journal.steps.due import DueFlow
from app.journal.steps.expansions import ExpandStep
from app.journal.steps.finishes import FinishStep
from app.journal.steps.joins import EARLY_S
from app.journal.stores import flows
from app.journal.stores.flows import Glance, _glanced
from celery_agents import names
from celery_agents.contracts.outcome import Outcome, State
from tests.unit.app.journal.support import (
    DONE,
    SOON,
    OnPostgres,
    World,
    claimed,
    finished,
    ids,
    meanwhile,
    member,
    refused,
    step,
)

FLOW = "flow-1"


def new(step_id: str = FLOW) -> Any:
    return step(step_id, task=names.FLOW, agent=None)


def wants(
    *keys: str, still: Sequence[str] = (), lets_go: Sequence[str] = (), **more: Any
) -> Expand:
    timeout_s, heard = more.pop("timeout_s", None), more.pop("heard", -1)
    return Expand(
        members=tuple(member(key) for key in keys),
        join=JoinPolicy(kind="any", timeout_s=timeout_s),
        awaited=AwaitedAny(open=(*still, *keys), lets_go=tuple(lets_go), heard=heard),
    )


def line(number: int) -> NewEntry:
    return NewEntry("", f"flow/{FLOW}", "done", {"key": str(number), "at": 1.0})


def waits(journal: Journal, claim: Claimed, what: Expand, *lines: NewEntry) -> Any:
    expanded = journal.expand(claim, what, entries=lines).result(SOON)
    assert expanded.applied
    return expanded


def sleeps(journal: Journal, claim: Claimed, kind: Literal["all", "any"]) -> None:
    """Have a step wait for a member, ten minutes at the most."""
    what = Expand(
        members=(member("a"),),
        join=JoinPolicy(kind=kind, timeout_s=600.0),
        awaited=AwaitedAny(open=("a",)) if kind == "any" else None,
    )
    assert journal.expand(claim, what).result(SOON).applied


def late(world: World, journal: Journal, *step_ids: str) -> None:
    """Flows that wait for a member, and whose time has come."""
    for step_id in step_ids:
        sleeps(journal, claimed(journal, step_id, new(step_id)), "any")
        world.set_join(step_id, deadline_at=lambda now: now - 3.0)


def taken(due: Sequence[DueFlow]) -> list[str]:
    return [one.claim.id for one in due]


def end(journal: Journal, key: str, outcome: Outcome = DONE, of: str = FLOW) -> Aftermath:
    claim = claimed(journal, derived_id(of, key))
    return journal.finish(claim, outcome).result(SOON)


def begun(journal: Journal, *keys: str, **more: Any) -> None:
    waits(journal, claimed(journal, FLOW, new()), wants(*keys, **more), line(0))


class TestMembers:
    def test_each_end_lets_it_go_on_and_the_others_run_on(
        self, world: World, journal: Journal
    ) -> None:
        begun(journal, "a", "b", "c")
        assert ids(end(journal, "b").wakes) == [FLOW]
        assert world.states(FLOW, "abc") == ["ready", "succeeded", "ready"]
        again = claimed(journal, FLOW)
        waits(journal, again, wants("d", still="ac"), line(1))
        assert world.row(derived_id(FLOW, "d")).position == 3
        assert ids(end(journal, "d").wakes) == [FLOW]
        assert world.states(FLOW, "ac") == ["ready", "ready"]

    def test_several_that_end_at_once_wake_it_once(self, journal: Journal) -> None:
        begun(journal, "a", "b")
        claims = [claimed(journal, derived_id(FLOW, key)) for key in "ab"]
        ended = [journal.finish(claim, DONE) for claim in claims]
        assert [w for f in ended for w in ids(f.result(SOON).wakes)] == [FLOW]

    def test_one_that_ended_meanwhile_lets_it_go_on_at_once(
        self, world: World, journal: Journal
    ) -> None:
        begun(journal, "a", "b", "c")
        end(journal, "a")
        again = claimed(journal, FLOW)
        assert not end(journal, "b").wakes  # it is not told of that one before it waits
        assert ids(waits(journal, again, wants(still="bc")).wakes) == [FLOW]
        assert world.states(FLOW, "c") == ["ready"]

    def test_one_that_nobody_awaits_does_not(self, journal: Journal) -> None:
        begun(journal, "a", "b")
        end(journal, "a")
        again = claimed(journal, FLOW)
        end(journal, "b")
        assert not waits(journal, again, wants("c")).wakes
        assert refused(journal, FLOW) == "waiting"

    def test_those_let_go_of_end_and_the_others_do_not(
        self, world: World, journal: Journal
    ) -> None:
        begun(journal, "a", "b", "c", "d")
        running = claimed(journal, derived_id(FLOW, "b"))
        end(journal, "a")
        gone = waits(journal, claimed(journal, FLOW), wants(still="d", lets_go="bc"))
        assert gone.cancels == [running.id]
        assert world.states(FLOW, "bcd") == ["running", "cancelled", "ready"]
        assert world.row(running.id).cancel_requested

    def test_members_of_those_let_go_of_end_too(self, world: World, journal: Journal) -> None:
        begun(journal, "a", "b")
        inner = claimed(journal, derived_id(FLOW, "a"))
        below = Expand(members=(member("x"),))
        journal.expand(inner, below).result(SOON)
        end(journal, "b")
        waits(journal, claimed(journal, FLOW), wants("c", lets_go="a"))
        assert world.states(FLOW, "ac") == ["cancelled", "ready"]
        assert world.states(inner.id, "x") == ["cancelled"]

    def test_its_end_lets_go_of_all(self, world: World, journal: Journal) -> None:
        begun(journal, "a", "b")
        end(journal, "a")
        claim = claimed(journal, FLOW)
        told: Any = {"entries": [line(1)], "lets_go": True}
        assert journal.finish(claim, DONE, **told).result(SOON).applied
        assert world.states(FLOW, "b") == ["cancelled"]
        assert finished(journal, FLOW).outcome.ok


class TestHistory:
    def test_lines_come_with_what_it_waits_for(self, journal: Journal) -> None:
        begun(journal, "a")
        assert journal.flows.lines("", FLOW) == [(0, "done", {"key": "0", "at": 1.0})]

    def test_one_that_begins_anew_forgets_those_of_before(self, journal: Journal) -> None:
        waits(journal, claimed(journal, FLOW, new()), wants(), line(0), line(1))
        journal.flows.signal(FLOW, ("go", 1), "k", journal.rules)
        begins = NewEntry("", f"flow/{FLOW}", "started", {"key": "", "at": 2.0})
        anew = wants("a@1", heard=0)
        assert anew.awaited is not None
        awaited = anew.awaited.model_copy(update={"begins": 2})
        waits(journal, claimed(journal, FLOW), anew.model_copy(update={"awaited": awaited}), begins)
        assert [(seq, kind) for seq, kind, _ in journal.flows.lines("", FLOW)] == [(2, "started")]
        assert journal.flows.history("", FLOW) == journal.flows.lines("", FLOW, 2)

    def test_who_was_frozen_writes_none(self, world: World, journal: Journal) -> None:
        claim = claimed(journal, FLOW, new())
        world.set(FLOW, token=2)
        assert not journal.expand(claim, wants("a"), entries=[line(0)]).result(SOON).applied
        assert not journal.finish(claim, DONE, entries=[line(0)]).result(SOON).applied
        assert journal.flows.lines("", FLOW) == []


def test_flows_that_are_looked_at_together_have_their_own(journal: Journal) -> None:
    """What each was told and is news for it, however many look at once; others' is not."""
    claims = []
    for number in range(3):
        name = f"flow-{number}"
        claim = claimed(journal, name, new(name))
        own = [NewEntry("", f"flow/{name}", "done", {"key": str(n)}) for n in range(number + 1)]
        waits(journal, claim, wants("a"), *own)
        end(journal, "a", of=name)
        journal.flows.signal(name, ("go", number), "k", journal.rules)
        claims.append(claimed(journal, name))
    about = [Glance("", c.id, 1, ("a", "b"), -1, None) for c in claims]
    with journal.engine.connect() as c:
        found = _glanced(c, about)
    for number, one in enumerate(about):
        lines, news = found[one]
        assert [(seq, data["key"]) for seq, _, data in lines] == [
            (seq, str(seq)) for seq in range(1, number + 1)
        ]
        assert [(told.member, told.outcome["value"]) for told in news.ends] == [("a", "yes")]
        assert [(told.seq, told.value) for told in news.signals] == [(0, number)]
        assert journal.flows.glance(claims[number], 1, ["a", "b"], -1)[0] == lines
    (_, later) = journal.flows.glance(claims[2], 9, [], 0)
    assert (later.ends, later.signals) == ([], [])
    lines, first = journal.flows.first_glance(claims[2])
    assert [seq for seq, _, _ in lines] == [0, 1, 2]
    assert (first.ends, [told.value for told in first.signals]) == ([], [2])


def test_whoever_hears_of_an_end_hears_of_the_signal_before_it(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look takes two statements, and both came between these: on PostgreSQL the later sees."""
    waits(journal, claimed(journal, FLOW, new()), wants("a"))
    journal.flows.signal(FLOW, ("first", 1), "k1", journal.rules)
    claim, looks = claimed(journal, FLOW), list[str]()

    def look(name: str, read: Any, *about: Any) -> Any:
        found = read(*about)
        looks.append(name)
        if len(looks) == 1:
            journal.flows.signal(FLOW, ("go", 1), "k2", journal.rules)
            end(journal, "a")
        return found

    for name in ("members_of", "read_behind"):
        monkeypatch.setattr(flows, name, partial(look, name, getattr(flows, name)))
    news = journal.flows.glance(claim, 0, ["a"], 0)[1]
    assert {*looks} == {"members_of", "read_behind"}
    assert [told.name for told in news.signals] == ["go"] or not news.ends
    news = journal.flows.glance(claim, 0, ["a"], 0)[1]
    assert ([told.name for told in news.signals], len(news.ends)) == (["go"], 1)


def test_members_of_many_are_found_also_where_their_ids_name_others(journal: Journal) -> None:
    claimed(journal, derived_id("flow-0", "a"), step(derived_id("flow-0", "a")))
    for name in ("flow-0", "flow-1"):
        waits(journal, claimed(journal, name, new(name)), wants("a", "b"))
    with journal.engine.connect() as c:
        asked = [("flow-0", ["a", "b"]), ("flow-1", ["b", "none"]), ("flow-1", [])]
        found = anyhow.members_of(c, asked)
    assert [sorted(row.member for row in rows) for rows in found] == [["a", "b"], ["b"], []]
    assert {row.parent_id for row in found[0]} == {"flow-0"}


def test_of_flows_whose_time_has_come_the_urgent_ones_go_first_and_tenants_in_turn(
    world: World, journal: Journal
) -> None:
    for number, (tenant, priority) in enumerate(
        [("a", 5), ("a", 5), ("a", 5), ("b", 5), ("b", 5), ("b", 0), ("", 9)]
    ):
        name = f"flow-{number}"
        new = step(name, task=names.FLOW, agent=None, tenant=tenant, priority=priority)
        sleeps(journal, claimed(journal, name, new), "any")
        world.set_join(name, deadline_at=float(number))
    found = [taken(journal.findings.take_flows(most, ["agents"])) for most in (3, 10)]
    assert found == [[f"flow-{n}" for n in of] for of in ((5, 0, 3), (1, 4, 2, 6))]


class TestTaking:
    """Flows that are due are claimed as they are found."""

    def test_it_is_a_claim_as_others_are(self, world: World, journal: Journal) -> None:
        late(world, journal, "a")
        (due,) = journal.findings.take_flows(10, ["agents"])
        row, claim, told = world.row("a"), due.claim, step("a", task=names.FLOW, agent=None)
        assert (row.state, row.worker_id, world.join("a").state) == (
            "running",
            journal.me.id,
            "fired",
        )
        assert (claim.token, claim.attempt, claim.policy) == (row.token, 1, None) == (2, 1, None)
        assert (claim.run_id, claim.task, dict(claim.payload)) == ("a", names.FLOW, told.payload)
        assert claim.waited_s is not None
        assert 2.9 < claim.waited_s < SOON
        assert (due.wake.id, due.wake.envelope, refused(journal, "a")) == ("a", None, "taken")
        assert journal.finish(claim, DONE).result(SOON).applied
        assert journal.beat().running == {}

    def test_what_it_has_waited_for_is_no_attempt(self, world: World, journal: Journal) -> None:
        late(world, journal, "a")
        for _ in range(5):
            (due,) = journal.findings.take_flows(10, ["agents"])
            assert due.claim.attempt == 1 <= due.claim.max_attempts < 5
            waits(journal, due.claim, wants(still="a", timeout_s=600.0))
            world.set_join("a", deadline_at=1.0)

    def test_who_has_no_lease_takes_none(self, world: World, journal: Journal) -> None:
        late(world, journal, "a")
        world.end_lease(journal)
        assert journal.findings.take_flows(10, ["agents"]) == []
        assert (world.row("a").state, world.join("a").state) == ("waiting", "open")

    def test_one_that_is_cancelled_is_left_to_those_who_end_it(
        self, world: World, journal: Journal
    ) -> None:
        late(world, journal, "a", "b")
        with world.engine.begin() as c:
            c.execute(update(Step).where(Step.id == "a").values(cancel_requested=True))
        assert taken(journal.findings.take_flows(10, ["agents"])) == ["b"]
        assert (world.row("a").state, world.join("a").state) == ("waiting", "open")


class TestTime:
    def test_it_goes_on_when_its_time_has_come(self, world: World, journal: Journal) -> None:
        begun(journal, "a", timeout_s=100.0)
        assert refused(journal, FLOW) == "waiting"
        assert not journal.findings.late_joins(10).wakes
        world.set_join(FLOW, deadline_at=lambda now: now - EARLY_S)
        assert ids(journal.findings.late_joins(10).wakes) == [FLOW]
        assert world.states(FLOW, "a") == ["ready"]

    def test_its_time_is_that_of_its_timer_however_long_it_took_to_be_written(
        self, world: World, journal: Journal
    ) -> None:
        with world.engine.connect() as c:
            at = read_clock(c)
        what = wants("a", timeout_s=100.0)
        join = what.join.model_copy(update={"since": at - 40.0})
        waits(journal, claimed(journal, FLOW, new()), what.model_copy(update={"join": join}))
        assert world.join(FLOW).deadline_at == pytest.approx(at + 60.0, abs=0.1)
        again = claimed(journal, derived_id(FLOW, "a"))
        journal.finish(again, DONE).result(SOON)
        join = join.model_copy(update={"since": at - 200.0})
        plan = wants("b").model_copy(update={"join": join})
        waits(journal, claimed(journal, FLOW), plan)
        (due,) = journal.findings.take_flows(10, ["agents"])
        assert due.claim.id == FLOW, "one that is over is due at once"

    def test_so_is_that_of_any_pattern(self, world: World, journal: Journal) -> None:
        at = journal.read(read_clock)
        join = JoinPolicy(timeout_s=100.0, since=at - 40.0)
        plan = Expand(members=(member("a"),), join=join)
        journal.expand(claimed(journal, "s", step("s")), plan).result(SOON)
        assert world.join("s").deadline_at == pytest.approx(at + 60.0, abs=0.1)

    def test_only_those_are_fired_that_have_been_late_for_so_long(
        self, world: World, journal: Journal
    ) -> None:
        late(world, journal, "a")
        assert journal.findings.late_joins(10, 60.0).wakes == []
        assert ids(journal.findings.late_joins(10, 1.0).wakes) == ["a"]

    def test_a_new_wait_has_a_time_of_its_own(self, world: World, journal: Journal) -> None:
        begun(journal, "a", timeout_s=100.0)
        end(journal, "a")
        waits(journal, claimed(journal, FLOW), wants("b"))
        join = world.join(FLOW)
        assert (join.deadline_at, join.round, join.expected, join.done) == (None, 1, 1, 0)


class TestSignals:
    @staticmethod
    def _send(journal: Journal, key: str = "k", value: Any = 1) -> tuple[str, list[str]]:
        reply, after = journal.flows.signal(FLOW, ("go", value), key, journal.rules)
        return reply, ids(after.wakes)

    def test_one_wakes_who_waits(self, journal: Journal) -> None:
        begun(journal, "a")
        assert self._send(journal) == ("taken", [FLOW])
        assert self._send(journal) == ("known", [])
        claim = claimed(journal, FLOW)
        (found,) = journal.flows.news(claim, [], -1).signals
        assert (found.seq, found.name, found.value) == (0, "go", 1)
        assert not waits(journal, claim, wants(still="a", heard=0)).wakes

    def test_one_that_comes_meanwhile_is_seen_before_it_waits(self, journal: Journal) -> None:
        claim = claimed(journal, FLOW, new())
        assert self._send(journal) == ("taken", [])
        assert ids(waits(journal, claim, wants("a")).wakes) == [FLOW]

    def test_those_whose_time_has_come_are_woken_together_and_no_others(
        self, world: World, journal: Journal
    ) -> None:
        for name in ("late-1", "late-2", "early", "told", "all"):
            claim = claimed(journal, name, new(name))
            sleeps(journal, claim, "all" if name == "all" else "any")
        with world.engine.begin() as c:
            c.execute(update(Join).where(Join.step_id != "early").values(deadline_at=1.0))
        assert journal.flows.signal("told", ("go", 1), "k", journal.rules)[0] == "taken"
        found = journal.findings.late_joins(10)
        assert sorted(ids(found.wakes)) == ["all", "late-1", "late-2"]
        assert journal.findings.late_joins(10).wakes == []
        states = {name: world.row(name).state for name in ("late-1", "early", "told", "all")}
        assert states == {"late-1": "ready", "early": "waiting", "told": "ready", "all": "ready"}
        assert world.row(derived_id("late-1", "a")).state == "ready", "it runs on"
        assert world.row(derived_id("all", "a")).state == "skipped"

    def test_of_those_whose_time_has_come_a_worker_takes_flows_of_its_queues(
        self, world: World, journal: Journal
    ) -> None:
        for name in ("mine", "second", "elsewhere", "early", "all"):
            queue = "others" if name == "elsewhere" else "agents"
            claim = claimed(journal, name, step(name, task=names.FLOW, agent=None, queue=queue))
            sleeps(journal, claim, "all" if name == "all" else "any")
        with world.engine.begin() as c:
            c.execute(update(Join).where(Join.step_id != "early").values(deadline_at=1.0))
        take = partial(journal.findings.take_flows, queues=["agents", "agents.control"])
        assert len(take(1)) == 1
        assert len(take(10)) == 1
        assert take(10) == []
        assert journal.findings.take_flows(10, []) == []
        states = {n: world.row(n).state for n in ("mine", "second", "elsewhere", "early", "all")}
        assert {n for n, state in states.items() if state == "running"} == {"mine", "second"}
        below = claimed(journal, derived_id("mine", "a"))
        waits(journal, below, wants(timeout_s=600.0))
        world.set_join(below.id, deadline_at=1.0)
        assert take(10) == [], "its join is below another one, and locked in its order"
        assert sorted(ids(journal.findings.late_joins(10).wakes)) == sorted(
            ["all", "elsewhere", below.id]
        )

    def test_one_that_comes_late_is_told_so(self, journal: Journal) -> None:
        claim = claimed(journal, FLOW, new())
        assert self._send(journal) == ("taken", [])
        journal.finish(claim, DONE).result(SOON)
        assert self._send(journal) == ("known", [])
        assert self._send(journal, "other") == ("too_late", [])
        assert len(journal.flows.news(claim, [], -1).signals) == 1

    def test_a_cancellation_is_told_once_and_before_it_begins_it_ends(
        self, world: World, journal: Journal
    ) -> None:
        begun(journal, "a")
        assert ids(journal.cancel(FLOW).wakes) == [FLOW]
        assert ids(journal.cancel(FLOW).wakes) == []
        claim = claimed(journal, FLOW)
        (found,) = journal.flows.news(claim, [], -1).signals
        assert (found.seq, found.kind) == (0, "cancel")
        assert self._send(journal) == ("taken", [])  # while it cleans up
        journal.insert(new("other")).result(SOON)
        journal.cancel("other")
        assert world.row("other").state == State.CANCELLED

    def test_one_that_does_not_clean_up_in_time_is_ended(
        self, world: World, journal: Journal
    ) -> None:
        begun(journal, "a")
        journal.cancel(FLOW)
        with world.engine.begin() as c:
            old = Entry.at - 3 * CLEANUP_S
            c.execute(update(Entry).where(Entry.stream == f"signals/{FLOW}").values(at=old))
        journal.cancel(FLOW)
        assert world.row(FLOW).state == State.CANCELLED
        assert not journal.cancel(FLOW).applied

    def test_nobody_is_not_signalled(self, journal: Journal) -> None:
        claimed(journal, "s", step("s"))
        assert journal.flows.signal("s", ("go", 1), "k", journal.rules)[0] == "unknown"
        assert journal.flows.signal("none", ("go", 1), "k", journal.rules)[0] == "unknown"

    def test_one_that_was_cancelled_ahead_of_its_row_is_over(self, journal: Journal) -> None:
        """Whoever says it again until it is taken would say it for ever."""
        journal.cancel("ahead")
        assert journal.flows.signal("ahead", ("go", 1), "k", journal.rules)[0] == "too_late"


class TestAmidAnotherTransaction(OnPostgres):
    """Whoever comes second sees what the first one did."""

    @pytest.mark.parametrize("of", [Join, Step])
    def test_what_somebody_holds_is_not_taken_nor_waited_for(
        self, world: World, journal: Journal, of: Any
    ) -> None:
        late(world, journal, "a", "b")
        which = of.step_id if of is Join else of.id
        with world.engine.connect() as slow:
            slow.execute(select(which).where(which == "a").with_for_update())
            assert taken(journal.findings.take_flows(10, ["agents"])) == ["b"]
        assert taken(journal.findings.take_flows(10, ["agents"])) == ["a"]

    def test_a_signal_and_the_first_wait(
        self, world: World, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(signals, "_LOOKS", 1)
        claim = claimed(journal, FLOW, new())
        other = world.journal("other@here")
        with world.engine.connect() as slow:
            ExpandStep.apply(slow, [ExpandStep(claim, wants("a"), journal.rules)])
            with meanwhile(
                world, lambda: other.flows.signal(FLOW, ("go", 1), "k", other.rules)
            ) as told:
                slow.commit()
        ((reply, after),) = told
        assert (reply, ids(after.wakes)) == ("taken", [FLOW])
        assert world.row(FLOW).state == State.READY

    def test_a_signal_and_the_end(self, world: World, journal: Journal) -> None:
        claim = claimed(journal, FLOW, new())
        other = world.journal("other@here")
        with world.engine.connect() as slow:
            FinishStep.apply(slow, [FinishStep(claim, DONE, journal.rules, entries=[line(0)])])
            with meanwhile(
                world, lambda: other.flows.signal(FLOW, ("go", 1), "k", other.rules)
            ) as told:
                slow.commit()
        assert told[0][0] == "too_late"

    @pytest.mark.parametrize("lets_go", ["", "b"])
    def test_an_end_and_a_new_wait(self, world: World, journal: Journal, lets_go: str) -> None:
        begun(journal, "a", "b")
        end(journal, "a")
        claim = claimed(journal, FLOW)
        other = world.journal("other@here")
        ending = claimed(other, derived_id(FLOW, "b"))
        with world.engine.connect() as slow:
            what = wants("c", still="" if lets_go else "b", lets_go=lets_go)
            ExpandStep.apply(slow, [ExpandStep(claim, what, journal.rules)])
            with meanwhile(world, lambda: other.finish(ending, DONE).result(SOON)) as told:
                slow.commit()
        assert ids(told[0].wakes) == [FLOW]
        assert world.row(FLOW).state == State.READY
