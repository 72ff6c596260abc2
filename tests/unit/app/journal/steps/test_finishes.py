from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import aliased

from agents.plan import AwaitedAny, Expand, JoinPolicy
from app.journal import Journal
from app.journal.queries import reads
from app.journal.schema.models import Call, Entry, StreamEnd
from app.journal.schema.rows import Claimed, NewEntry
from app.journal.steps.calls import Begun, FinishCall
from app.journal.steps.finishes import FinishStep, PostponeStep, Settle
from celery_agents import names
from celery_agents.contracts.outcome import Answer, ErrorInfo, Outcome, State, Usage
from tests.unit.app.journal.support import (
    DONE,
    FAILED,
    SOON,
    TIRED,
    World,
    batch,
    claimed,
    expand,
    ids,
    plan,
    step,
)

pytestmark = pytest.mark.databases("both")

FOLLOWING = {"chain": [{"task": "agents.ask", "args": [], "kwargs": {}}]}


@pytest.mark.parametrize("outcome", [DONE, FAILED], ids=["succeeded", "failed"])
def test_a_finished_step_ends_its_run(world: World, journal: Journal, outcome: Outcome) -> None:
    assert journal.finish(claimed(journal, "s", step()), outcome).result(SOON).applied
    row, run = world.row("s"), world.run("s")
    assert (row.state, run.state) == (outcome.state, outcome.state)
    assert Outcome.model_validate(row.outcome) == outcome
    assert Usage.model_validate(run.usage) == outcome.usage
    assert row.worker_id is None
    assert row.finished_at == pytest.approx(run.finished_at, abs=5)
    assert not row.settled


@pytest.mark.parametrize("how", ["finish", "postpone", "expand", "give back"])
def test_who_lost_its_lease_writes_nothing(world: World, journal: Journal, how: str) -> None:
    late = claimed(journal, "s", step())
    world.end_lease(journal)
    claimed(world.journal("other"), "s")
    before = world.row("s")
    match how:
        case "finish":
            assert not journal.finish(late, DONE).result(SOON).applied
        case "postpone":
            assert not journal.postpone(late, delay_s=1, error=TIRED).result(SOON).applied
        case "expand":
            assert not journal.expand(late, plan("a")).result(SOON).applied
        case _:
            journal.give_back(["s"])
    assert world.row("s") == before
    assert world.events("s") == []
    assert world.run("s").state == "open"


def test_only_the_first_finish_of_a_claim_counts(world: World, journal: Journal) -> None:
    claim = claimed(journal, "s", step())
    rules = journal.rules
    first, second = batch(journal, FinishStep(claim, DONE, rules), FinishStep(claim, FAILED, rules))
    assert (first.applied, second.applied) == (True, False)
    assert not journal.finish(claim, FAILED).result(SOON).applied
    assert world.row("s").state == "succeeded"


def test_a_failed_attempt_is_counted_and_told(world: World, journal: Journal) -> None:
    claim = claimed(journal, "s", step())
    assert journal.postpone(claim, delay_s=30, error=TIRED).result(SOON).applied
    row = world.row("s")
    assert (row.state, row.attempts, row.worker_id) == ("ready", 1, None)
    assert ErrorInfo.model_validate(row.error) == TIRED
    assert row.ready_at == pytest.approx(world.clock() + 30, abs=5)
    assert row.wake_at == pytest.approx(row.ready_at + 10, abs=1)
    told = {"attempt": 1, "delay_s": 30, "error": "unavailable"}
    assert world.events("s") == [("retry", told)]
    assert journal.read(reads.retries) == 1


def test_one_that_was_refused_costs_no_attempt(world: World, journal: Journal) -> None:
    claim = claimed(journal, "s", step())
    after = journal.postpone(claim, delay_s=30, error=TIRED, refused_within_s=99).result(SOON)
    assert (after.applied, after.wakes) == (True, [])  # it is sent again when the wait is over
    row = world.row("s")
    assert (row.state, row.attempts, row.worker_id) == ("ready", 0, None)
    assert ErrorInfo.model_validate(row.error) == TIRED
    assert row.ready_at == pytest.approx(world.clock() + 30, abs=5)
    assert row.deadline_at == pytest.approx(world.clock() + 99, abs=5)
    assert world.events("s") == []


def test_many_that_are_tried_again_are_one_write(world: World, journal: Journal) -> None:
    """Each is told apart: what waits at a limit, has failed, was cancelled, or is another's."""
    four = ("refused", "failed", "cancelled", "lost")
    claims = {name: claimed(journal, name, step(name)) for name in four}
    assert world.journal("other").cancel("cancelled").applied
    stale = replace(claims["lost"], token=7)
    rules, at_limit = journal.rules, ("limited", {"limit": "x", "place": 3})
    about: dict[str, Any] = {"error": TIRED, "cancelled": FAILED, "rules": rules}
    refused, failed, cancelled, lost = batch(
        journal,
        PostponeStep(
            claims["refused"],
            delay_s=0.0,
            refused_within_s=99.0,
            woken_in_s=20.0,
            noted=at_limit,
            **about,
        ),
        PostponeStep(claims["failed"], delay_s=30.0, **about),
        PostponeStep(claims["cancelled"], delay_s=30.0, noted=at_limit, **about),
        PostponeStep(stale, delay_s=30.0, **about),
    )
    assert [p.applied for p in (refused, failed, cancelled, lost)] == [True, True, True, False]
    assert [p.outcome for p in (refused, failed, cancelled, lost)] == [None, None, FAILED, None]
    rows = {name: world.row(name) for name in four}
    assert [rows[n].state for n in four] == ["ready", "ready", "failed", "running"]
    assert [rows[n].attempts for n in ("refused", "failed")] == [0, 1]
    assert rows["refused"].wake_at == pytest.approx(world.clock() + 30, abs=5)
    assert rows["refused"].deadline_at == pytest.approx(world.clock() + 99, abs=5)
    assert rows["failed"].deadline_at is None
    told = {"attempt": 1, "delay_s": 30, "error": "unavailable"}
    assert world.events("refused") == [at_limit]
    assert world.events("failed") == [("retry", told)]
    assert world.events("lost") == []
    assert claimed(journal, "refused").attempt == 1


def test_a_step_that_is_given_back_costs_no_attempt(world: World, journal: Journal) -> None:
    journal.postpone(claimed(journal, "s", step()), delay_s=0).result(SOON)
    assert (world.row("s").attempts, world.row("s").error) == (0, None)
    assert world.events("s") == []
    again = claimed(journal, "s")
    assert (again.attempt, again.token) == (1, 2)


def test_a_settled_step(world: World, journal: Journal) -> None:
    journal.finish(claimed(journal, "s", step()), DONE).result(SOON)
    journal.settle("s", 1).result(SOON)
    assert world.row("s").settled
    journal.settle("unheard of", 1).result(SOON)  # a message whose row was never made


@pytest.mark.parametrize(("outcome", "kept"), [(DONE, None), (FAILED, FOLLOWING)])
@pytest.mark.parametrize("lone", [True, False])
def test_what_followed_a_settled_step_stands_in_the_next_row(
    world: World, journal: Journal, outcome: Outcome, kept: Any, lone: bool
) -> None:
    """One that failed may be requeued, and then goes on with it."""
    for name in ("s", "t"):
        journal.finish(claimed(journal, name, step(name, envelope=FOLLOWING)), outcome).result(SOON)
        assert world.row(name).envelope == FOLLOWING
    if lone:
        journal.settle("s", 1).result(SOON)
    else:
        batch(journal, Settle("s", 1), Settle("t", None))
        assert world.row("t").envelope == kept
    assert world.row("s").envelope == kept


def test_members_have_no_successors_of_their_own(world: World, journal: Journal) -> None:
    (one,) = expand(journal, "p", plan("a"))
    journal.finish(one, DONE).result(SOON)
    assert world.row(one.id).settled


def test_a_batch_of_finishes_and_claims(world: World, journal: Journal) -> None:
    claims = [claimed(journal, f"s{n}", step(f"s{n}")) for n in range(3)]
    found = batch(
        journal,
        PostponeStep(claims[0], delay_s=0, error=None, cancelled=FAILED, rules=journal.rules),
        FinishStep(claims[1], DONE, journal.rules),
        FinishStep(claims[2], FAILED, journal.rules),
    )
    assert [f.applied for f in found] == [True] * 3
    assert [world.row(f"s{n}").state for n in range(3)] == ["ready", "succeeded", "failed"]


# ---------------------------------------------------------------- calls


def call(journal: Journal, claim: Claimed, seq: int, value: str | None, mark: str = "f") -> None:
    """Make a call; without a value it stays in flight."""
    journal.start_call(claim, seq, "model", f"{mark}{seq}", f"key-{seq}").result(SOON)
    if value is not None:
        journal.finish_call(claim, seq, Answer(value=value).compact()).result(SOON)


def test_answers_come_back_to_a_later_attempt(world: World, journal: Journal) -> None:
    first = claimed(journal, "s", step())
    call(journal, first, 0, "one")
    call(journal, first, 1, None)
    journal.start_call(first, 2, "model", "f2", "key-2").result(SOON)
    journal.finish_call(first, 2, None, TIRED).result(SOON)
    assert journal.finished_calls("s") == {"f0": {"value": "one"}}
    journal.postpone(first, delay_s=0, error=TIRED).result(SOON)
    second = claimed(journal, "s")
    call(journal, second, 1, "two")
    assert journal.finished_calls("s") == {"f0": {"value": "one"}, "f1": {"value": "two"}}
    rows = [(r.seq, r.token, r.finished_at is not None, r.error) for r in world.calls("s")]
    assert rows == [
        (0, 1, True, None),
        (1, 1, False, None),  # in flight when its attempt ended
        (1, 2, True, None),
        (2, 1, True, TIRED.compact()),
    ]
    assert journal.read(reads.calls_made_twice) == 0


def test_a_call_that_was_made_again_although_it_had_finished_is_counted(
    world: World,
    journal: Journal,
) -> None:
    first = claimed(journal, "s", step())
    call(journal, first, 0, "one")
    call(journal, first, 1, "two", "old")
    journal.postpone(first, delay_s=0, error=TIRED).result(SOON)
    second = claimed(journal, "s")
    call(journal, second, 1, "two", "new")  # another request: not the same call
    assert journal.read(reads.calls_made_twice) == 0
    assert journal.start_call(second, 0, "model", "f0", "k").result(SOON) is Begun.KNOWN
    assert journal.read(reads.calls_made_twice) == 0
    again = {"step_id": "s", "seq": 0, "token": 2, "name": "m", "fingerprint": "f0"}
    one = aliased(Call)  # an update reads the table that it writes
    ended = select(one.finished_at).where(one.seq == 0, one.token == 1).scalar_subquery()
    began = insert(Call).values(idempotency_key="k", started_at=ended + 0.5, **again)
    with world.engine.begin() as c:
        c.execute(began)
    assert journal.read(reads.calls_made_twice) == 0  # the end's commit may not have been seen
    assert journal.read(partial(reads.calls_made_twice, commit_s=0.0)) == 1
    with world.engine.begin() as c:
        c.execute(update(Call).where(Call.token == 2, Call.seq == 0).values(started_at=ended + 1.5))
    assert journal.read(reads.calls_made_twice) == 1


def test_a_call_is_written_down_once_for_a_claim(world: World, journal: Journal) -> None:
    claim = claimed(journal, "s", step())
    call(journal, claim, 0, "one")
    call(journal, claim, 0, None)
    assert len(world.calls("s")) == 1


def test_a_last_call_and_the_end_of_its_step_in_one_batch(world: World, journal: Journal) -> None:
    claim = claimed(journal, "s", step())
    call(journal, claim, 0, None)
    batch(
        journal,
        FinishStep(claim, DONE, journal.rules),
        FinishCall(claim, 0, Answer(value=1).compact()),
    )
    assert world.calls("s")[0].finished_at is not None
    assert world.row("s").state == State.SUCCEEDED


@pytest.mark.parametrize(
    "value", ["\0", "\ud800", "🤖", "'; --", 10**30, {"\0": ["\ud800"]}, -0.0, 10**4299]
)
def test_whatever_an_agent_answers_can_be_written(
    world: World, journal: Journal, value: object
) -> None:
    """Or else a paid answer is lost, and paid again."""
    claim = claimed(journal, "s", step())
    call(journal, claim, 0, None)
    answer = Answer.model_validate({"value": value})
    journal.finish_call(claim, 0, answer.compact()).result(SOON)
    outcome = Outcome(state=State.SUCCEEDED, value=answer.value)
    assert journal.finish(claim, outcome).result(SOON).applied
    assert Outcome.model_validate(world.row("s").outcome).value == value


@pytest.mark.parametrize(("delay_s", "error"), [(3600.0, TIRED), (0.0, TIRED), (0.0, None)])
def test_what_is_cancelled_as_it_is_postponed_ends(
    world: World, journal: Journal, delay_s: float, error: ErrorInfo | None
) -> None:
    """The cancellation is committed before its news comes to who runs it: nobody would wake it."""
    claim = claimed(journal, "s", step())
    assert world.journal("other").cancel("s").applied
    postponed = journal.postpone(claim, delay_s=delay_s, error=error).result(SOON)
    assert postponed.outcome is not None
    assert (postponed.outcome.state, world.row("s").state) == ("cancelled", "cancelled")


class TestFlows:
    """The ends of flows, with the last lines of their histories, by one statement for many."""

    LINES = (("timer", {"key": "1", "at": 2.5}), ("done", {"key": "ü", "value": ['"\\', None]}))

    @staticmethod
    def _begun(journal: Journal, step_id: str, tenant: str) -> Claimed:
        new = step(step_id, task=names.FLOW, agent=None, tenant=tenant)
        first = [_line(tenant, step_id, "started", {"key": ""})]
        what = Expand(
            join=JoinPolicy(kind="any", timeout_s=0.0), awaited=AwaitedAny(open=("a",), heard=-1)
        )
        claim = claimed(journal, step_id, new)
        assert journal.expand(claim, what, entries=first).result(SOON).applied
        assert ids(journal.findings.late_joins(10).wakes) == [step_id]
        return claimed(journal, step_id)

    def _end(self, journal: Journal, claim: Claimed) -> FinishStep:
        lines = [_line(claim.tenant, claim.id, kind, data) for kind, data in self.LINES]
        return FinishStep(claim, DONE, journal.rules, entries=lines)

    def test_they_are_as_those_that_end_by_themselves(self, world: World, journal: Journal) -> None:
        ends = [self._end(journal, self._begun(journal, f"f{n}", f"t{n % 2}")) for n in range(4)]
        shot = FinishStep.shot(ends[:3])
        assert shot is not None
        assert sorted(journal._writer._final.shoot([shot]) or ()) == ["f0", "f1", "f2"]
        with world.engine.begin() as c:
            assert FinishStep.apply(c, ends[3:])[0].applied
        written = [_told(world, f"f{n}", f"t{n % 2}") for n in range(4)]
        assert written[:3] == written[3:] * 3
        assert [(seq, kind) for seq, kind, *_ in written[0]] == [
            (0, "started"),
            (1, "timer"),
            (2, "done"),
        ]
        assert {world.row(f"f{n}").state for n in range(4)} == {"succeeded"}
        assert {world.run(f"f{n}").state for n in range(4)} == {"succeeded"}

    def test_who_lost_its_lease_adds_no_line(self, world: World, journal: Journal) -> None:
        ends = [self._end(journal, self._begun(journal, f"f{n}", "")) for n in range(2)]
        world.set("f1", token=7)
        assert [after.applied for after in _written(journal, *ends)] == [True, False]
        assert [len(_told(world, f"f{n}", "")) for n in range(2)] == [3, 1]
        assert world.row("f1").state == "running"

    def test_their_places_follow_those_that_were_deleted(
        self, world: World, journal: Journal
    ) -> None:
        end = self._end(journal, self._begun(journal, "f", ""))
        with world.engine.begin() as c:
            c.execute(delete(Entry).where(Entry.stream == "flow/f"))
            c.execute(insert(StreamEnd).values(tenant="", stream="flow/f", length=5))
        assert _written(journal, end)[0].applied
        assert [seq for seq, *_ in _told(world, "f", "")] == [5, 6]

    @pytest.mark.parametrize(
        "more",
        [
            {"lets_go": True},
            {"begins": 1},
            {"told": True},
            {"entries": [NewEntry("", "order/7", "paid", {})]},
            {"entries": [NewEntry("", "flow/f", "done", {}, key="k")]},
            {"entries": [NewEntry("other", "flow/f", "done", {})]},
        ],
    )
    def test_what_does_more_is_written_the_long_way(
        self, journal: Journal, more: dict[str, Any]
    ) -> None:
        claim = claimed(journal, "f", step("f", task=names.FLOW, agent=None))
        given = {"entries": [_line("", "f", "done", {})], **more}
        assert FinishStep.shot([FinishStep(claim, DONE, journal.rules, **given)]) is None
        failed = FinishStep(claim, FAILED, journal.rules, entries=[_line("", "f", "done", {})])
        assert FinishStep.shot([failed]) is None


def _line(tenant: str, step_id: str, kind: str, data: dict[str, Any]) -> NewEntry:
    return NewEntry(tenant, f"flow/{step_id}", kind, data, run_id=step_id)


def _written(journal: Journal, *ends: FinishStep) -> list[Any]:
    """What ends give that are one batch of the writer."""
    journal._writer._commit([*ends])
    return [end.future.result(SOON) for end in ends]


def _told(world: World, step_id: str, tenant: str) -> list[Any]:
    """The lines of a history, as they are written."""
    of = (Entry.seq, Entry.kind, Entry.data, Entry.size, Entry.tokens, Entry.key)
    query = select(*of, Entry.run_id == step_id, Entry.at > 1.0, Entry.xid.is_not(None))
    query = query.where(Entry.stream == f"flow/{step_id}", Entry.tenant == tenant)
    with world.engine.connect() as c:
        return [tuple(row) for row in c.execute(query.order_by(Entry.seq))]
