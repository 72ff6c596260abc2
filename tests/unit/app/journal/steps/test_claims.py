from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
from sqlalchemy import select

from app.journal import Journal
from app.journal.schema.engine import CLOCK_POSTGRESQL
from app.journal.schema.models import Step
from app.journal.schema.rows import Claimed, Finished, Refusal, Refused
from app.journal.steps import claims
from app.journal.steps.claims import ClaimStep
from app.journal.steps.inserts import AcceptStep, InsertStep
from app.journal.writing import prepared, sqlite
from celery_agents.contracts.outcome import State
from tests.unit.app.journal.support import (
    DONE,
    FAILED,
    SOON,
    TIRED,
    OnPostgres,
    World,
    batch,
    before,
    claimed,
    expand,
    finished,
    meanwhile,
    plan,
    refused,
    step,
)

pytestmark = pytest.mark.databases("both")


def test_a_new_step_is_inserted_and_claimed_at_once(world: World, journal: Journal) -> None:
    new = step(envelope={"link": []}, priority=7, timeout_s=50)
    claim = claimed(journal, "s", new)
    assert (claim.token, claim.attempt, claim.payload) == (1, 1, new.payload)
    assert (claim.task, claim.agent, claim.queue, claim.priority) == (
        "agents.ask",
        "a",
        "agents",
        7,
    )
    assert claim.remaining_s == pytest.approx(50, abs=5)
    row = world.row("s")
    assert (row.state, row.worker_id, row.envelope) == ("running", journal.me.id, {"link": []})
    assert not row.settled
    assert world.run("s").state == "open"


def columns(statement: str) -> list[str]:
    """Say which columns a claim reads, however a database spells them."""
    told = re.sub(r"\s+", " ", statement.rpartition("RETURNING")[2]).strip()
    told = re.sub(r"CAST\((\w+) AS text\)", r"\1", told)
    for clock in (CLOCK_POSTGRESQL, ":at"):
        told = told.replace(clock, "now")
    depth, found = 0, [""]
    for letter in told:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and not depth:
            found.append("")
        else:
            found[-1] += letter
    return [one.strip() for one in found]


def test_a_claim_reads_the_same_columns_in_both_databases() -> None:
    server, file = columns(prepared.TAKE.body), columns(sqlite.OF[prepared.TAKE.name].texts[0])
    assert server == file
    given = [f.name for f in fields(Claimed) if f.name not in {"let_go", "ahead", "since"}]
    assert len(server) == len(given) == len(claims.CLAIMED)
    named = {"attempt": "attempts", "remaining_s": "deadline_at - now"}
    named |= {"elapsed_s": "now - started_at", "waited_s": "now - ready_at"}
    told = [n if n == "policy" else named.get(n, n) for n in given]
    assert [c if "policy" not in c else "policy" for c in server] == told


def test_what_others_wrote_is_known_of_a_step_that_stands_in_the_journal(
    world: World, journal: Journal
) -> None:
    """Of one that follows another, and where its message has lost the header."""
    for step_id in ("own", "odd", "lost"):
        journal.insert(step(step_id, untrusted=step_id != "own")).result(SOON)
    asked = [ClaimStep(i, journal.me.id, journal.rules) for i in ("own", "odd")]
    shot = ClaimStep.shot(asked)
    assert shot is not None
    written = journal._writer._final.shoot([shot]) or {}
    taken = [shot.result(n, written[o.step_id]) for n, o in enumerate(asked)]
    assert [(t.token, t.untrusted) for t in taken] == [(1, False), (1, True)]
    assert claimed(journal, "lost", step("lost")).untrusted is True


def test_a_step_without_deadline_has_no_end(journal: Journal) -> None:
    assert claimed(journal, "s", step()).remaining_s is None


def test_a_step_that_follows_another_is_ready_and_made_once(world: World, journal: Journal) -> None:
    new = step("n", queue="slow", priority=8, timeout_s=60, envelope={"chain": [{"task": "x"}]})
    for again in (new, step("n", queue="other")):
        journal.insert(again).result(SOON)
    row = world.row("n")
    assert (row.state, row.queue, row.attempts, row.token) == ("ready", "slow", 0, 0)
    assert (row.worker_id, row.started_at, row.settled) == (None, None, False)
    assert row.wake_at == pytest.approx(world.clock() + 10, abs=5)
    assert row.deadline_at == pytest.approx(world.clock() + 60, abs=5)
    assert row.envelope == {"chain": [{"task": "x"}]}
    assert world.run("n").state == "open"
    assert claimed(journal, "n").token == 1
    journal.insert(new).result(SOON)
    assert world.row("n").state == "running"


def test_those_of_a_batch_that_are_new_are_made(world: World, journal: Journal) -> None:
    claimed(journal, "old", step("old"))
    batch = [InsertStep(step(i), 10) for i in ("old", "a", "b")]
    journal._writer._commit(list(batch))
    assert [o.future.result(SOON) for o in batch] == [None] * 3
    assert [world.row(i).state for i in ("old", "a", "b")] == ["running", "ready", "ready"]


def test_of_runs_that_are_accepted_it_is_told_which_are_new(world: World, journal: Journal) -> None:
    """Of two under one id in a batch, the first one has made the row."""
    claimed(journal, "old", step("old"))
    for ids, new in (
        (("a",), [True]),
        (("b", "c"), [True, True]),
        (("old", "d"), [False, True]),
        (("e", "e", "a", "f"), [True, False, False, True]),
        (("f",), [False]),
    ):
        batch = [AcceptStep(step(i, payload={"args": [n]}), 10) for n, i in enumerate(ids)]
        journal._writer._commit(list(batch))
        assert [o.future.result(SOON) for o in batch] == new
    assert world.row("e").payload == {"args": [0]}


def test_the_second_claim_is_refused(world: World, journal: Journal) -> None:
    claimed(journal, "s", step())
    assert refused(world.journal("other"), "s", step()) is Refusal.TAKEN
    assert refused(journal, "s", step()) is Refusal.TAKEN
    assert world.row("s").attempts == 1


def test_no_row_is_made_without_being_asked_for(journal: Journal) -> None:
    assert refused(journal, "s") is Refusal.MISSING


def test_a_ready_step_is_claimed(world: World, journal: Journal) -> None:
    journal.postpone(claimed(journal, "s", step()), delay_s=0, error=TIRED).result(SOON)
    claim = claimed(world.journal("other"), "s")
    assert (claim.token, claim.attempt) == (2, 2)


@pytest.mark.parametrize(("early_s", "taken"), [(0.0, True), (0.2, True), (5.0, False)])
def test_a_step_is_not_claimed_before_its_time(
    world: World, journal: Journal, early_s: float, taken: bool
) -> None:
    journal.postpone(claimed(journal, "s", step()), delay_s=100, error=TIRED).result(SOON)
    assert refused(journal, "s") is Refusal.EARLY
    world.set("s", ready_at=lambda now: now + early_s)
    found = journal.claim("s").result(SOON)
    assert isinstance(found, Claimed) if taken else found == Refused(Refusal.EARLY)


def test_a_lease_that_ran_out_is_taken_over_with_a_higher_token(
    world: World, journal: Journal
) -> None:
    first = claimed(journal, "s", step())
    world.end_lease(journal)
    other = world.journal("other")
    second = claimed(other, "s", step())
    assert (second.token, second.attempt) == (first.token + 1, 2)
    assert world.row("s").worker_id == other.me.id


def test_a_worker_that_is_forgotten_holds_nothing(world: World, journal: Journal) -> None:
    claimed(journal, "s", step())
    world.set("s", worker_id="unheard of")
    assert claimed(world.journal("other"), "s").token == 2


def test_a_step_that_keeps_killing_its_worker_is_given_up(world: World, journal: Journal) -> None:
    new = step(max_attempts=2)
    claim = claimed(journal, "s", new)
    journal.postpone(claim, delay_s=0, error=TIRED).result(SOON)
    claimed(journal, "s")
    world.end_lease(journal)
    found = finished(world.journal("other"), "s", new)
    assert found.outcome.state is State.DEAD
    assert found.outcome.error is not None
    assert found.outcome.error.kind == "dead"
    assert "after 2 attempts" in found.outcome.error.message
    assert "busy" in found.outcome.error.message  # the last error that is known
    assert (world.row("s").state, world.run("s").state) == ("dead", "dead")
    assert not world.row("s").settled  # its successors have to be told


def test_a_dead_member_counts_in_its_join(world: World, journal: Journal) -> None:
    (one,) = expand(journal, "p", plan("a"))
    world.set(one.id, max_attempts=1)
    world.end_lease(journal)
    found = finished(world.journal("other"), one.id)
    assert found.parent_id == "p"
    assert [w.id for w in found.aftermath.wakes] == ["p"]


def test_a_cancelled_step_that_nobody_runs_ends_at_its_claim(
    world: World, journal: Journal
) -> None:
    claimed(journal, "s", step())
    world.set("s", cancel_requested=True)
    assert refused(journal, "s") is Refusal.TAKEN  # it runs: it is asked to stop, not ended
    world.end_lease(journal)
    assert finished(world.journal("other"), "s").outcome.state is State.CANCELLED
    assert world.run("s").state == "cancelled"


def test_a_cancelled_step_does_not_wait_for_its_time(world: World, journal: Journal) -> None:
    claim = claimed(journal, "s", step())
    journal.cancel("s")
    postponed = journal.postpone(claim, delay_s=1000, error=TIRED).result(SOON)
    assert postponed.outcome is not None
    assert postponed.outcome.state is State.CANCELLED
    assert finished(journal, "s").outcome.state is State.CANCELLED


def test_a_finished_step_gives_its_outcome_again(journal: Journal) -> None:
    journal.finish(claimed(journal, "s", step()), DONE).result(SOON)
    found = finished(journal, "s", step())
    assert found.outcome == DONE
    assert found.parent_id is None
    assert found.aftermath.wakes == []


def test_a_waiting_step_is_not_claimed(journal: Journal) -> None:
    expand(journal, "p", plan("a", timeout_s=100))
    assert refused(journal, "p") is Refusal.WAITING


def test_copies_in_one_batch_give_one_claim(journal: Journal) -> None:
    copies = [ClaimStep("s", journal.me.id, journal.rules, step()) for _ in range(3)]
    taken = Refused(Refusal.TAKEN)
    found = batch(journal, *copies)
    assert isinstance(found[0], Claimed)
    assert found[1:] == [taken, taken]


def test_copies_of_a_finished_step_all_get_its_outcome(journal: Journal) -> None:
    journal.finish(claimed(journal, "s", step()), DONE).result(SOON)
    copies = [ClaimStep("s", journal.me.id, journal.rules, step()) for _ in range(2)]
    assert [c.outcome for c in batch(journal, *copies) if isinstance(c, Finished)] == [DONE, DONE]


def test_a_batch_of_claims_of_every_sort(world: World, journal: Journal) -> None:
    journal.finish(claimed(journal, "done", step("done")), DONE).result(SOON)
    journal.postpone(claimed(journal, "ready", step("ready")), delay_s=0).result(SOON)
    claimed(world.journal("other"), "taken", step("taken"))
    order = ["fresh", "done", "missing", "ready", "taken"]
    found = batch(
        journal,
        *(
            ClaimStep(i, journal.me.id, journal.rules, step(i) if i == "fresh" else None)
            for i in order
        ),
    )
    assert [type(f) for f in found] == [Claimed, Finished, Refused, Claimed, Refused]
    assert [f.id for f in found if isinstance(f, Claimed)] == ["fresh", "ready"]
    assert [f.reason for f in found if isinstance(f, Refused)] == ["missing", "taken"]


def test_many_claims_at_once(world: World, journal: Journal) -> None:
    futures = [journal.claim(f"s{n}", step(f"s{n}", position=n)) for n in range(600)]
    found = [f.result(SOON) for f in futures]
    assert [f.id for f in found if isinstance(f, Claimed)] == [f"s{n}" for n in range(600)]
    again = [world.journal(f"other{n}").claim(f"s{n}") for n in range(3)]
    assert {f.result(SOON) for f in again} == {Refused(Refusal.TAKEN)}


def test_a_worker_whose_lease_ran_out_claims_nothing(world: World, journal: Journal) -> None:
    """It thaws, and claims before its heartbeat: the next one would take the step from it."""
    journal.insert(step()).result(SOON)
    world.end_lease(journal)
    assert refused(journal, "s") is Refusal.LAPSED
    assert isinstance(journal.claim("new", step("new")).result(SOON), Refused)
    assert claimed(world.journal("other"), "s").attempt == 1


#: What a worker that thaws does to the step that another one is just giving up; then the row.
MOVES: dict[str, tuple[Callable[[Journal, Claimed], Any], str, int]] = {
    "ends": (lambda j, c: j.finish(c, DONE).result(SOON), "succeeded", 1),
    "fails": (lambda j, c: j.finish(c, FAILED).result(SOON), "failed", 1),
    "expands": (lambda j, c: j.expand(c, plan("a")).result(SOON), "waiting", 0),
    "gives it back": (lambda j, c: j.postpone(c, delay_s=0).result(SOON), "running", 1),
}


class TestWhatMovesMeanwhile(OnPostgres):
    """A row that changes between two readings of one claim."""

    @pytest.mark.parametrize("how", MOVES)
    def test_who_gives_up_tells_what_became_of_it(
        self, world: World, journal: Journal, monkeypatch: pytest.MonkeyPatch, how: str
    ) -> None:
        move, state, attempts = MOVES[how]
        claim = claimed(journal, "s", step(max_attempts=1))
        world.end_lease(journal)
        moved = before(monkeypatch, claims, "conclude", lambda: move(journal, claim))
        other = world.journal("other")
        found = other.claim("s").result(SOON)
        if found == Refused(Refusal.EARLY):  # it was given back long after the clock was read
            found = other.claim("s").result(SOON)
        assert moved[0].applied
        assert (world.row("s").state, world.row("s").attempts) == (state, attempts)
        if isinstance(found, Finished):
            assert found.outcome.state == state
        else:
            assert isinstance(found, Claimed) is (state == "running")

    def test_one_that_is_cancelled_as_it_is_given_up_is_cancelled(
        self, world: World, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        claimed(journal, "s", step(max_attempts=1))
        world.end_lease(journal)
        before(monkeypatch, claims, "conclude", lambda: journal.cancel("s"))
        assert finished(world.journal("other"), "s").outcome.state is State.CANCELLED
        assert world.row("s").state == "cancelled"

    def test_one_that_becomes_due_is_not_given_up(
        self, world: World, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        journal.postpone(claimed(journal, "s", step()), delay_s=100, error=TIRED).result(SOON)
        before(monkeypatch, claims, "_explain", lambda: world.set("s", ready_at=0.0))
        found = journal.claim("s").result(SOON)
        assert isinstance(found, Refused | Claimed)
        assert world.row("s").state in {"ready", "running"}

    def test_a_timer_that_comes_with_the_last_member(
        self, world: World, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (a,) = expand(journal, "p", plan("a", timeout_s=60))
        before(monkeypatch, claims, "_explain", lambda: journal.finish(a, DONE).result(SOON))
        world.journal("other").claim("p").result(SOON)  # the timer's message
        assert world.row("p").state in {"ready", "running"}

    def test_a_copy_that_comes_while_the_step_is_given_back(
        self, world: World, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        claim = claimed(journal, "s", step())
        give_back = lambda: journal.postpone(claim, delay_s=0).result(SOON)  # noqa: E731
        before(monkeypatch, claims, "_explain", give_back)
        world.journal("other").claim("s").result(SOON)
        assert world.row("s").state in {"ready", "running"}

    def test_a_takeover_that_waited_takes_nothing_from_a_worker_that_came_meanwhile(
        self, world: World, journal: Journal
    ) -> None:
        """A worker died with r and x; as two others look after them, x gets a new holder."""
        for i in ("r", "x"):
            claimed(journal, i, step(i))
        world.end_lease(journal)
        other: Any = world.journal("other")
        operations = [ClaimStep(i, other.me.id, other.rules) for i in ("r", "x")]
        with world.engine.connect() as c:
            holding = c.begin()
            c.execute(select(Step.id).where(Step.id == "r").with_for_update())
            with meanwhile(world, lambda: other._writer._commit(list(operations))):
                come = world.journal("come")
                mine = claimed(come, "x")
                holding.rollback()
        assert isinstance(operations[0].future.result(SOON), Claimed)
        assert isinstance(operations[1].future.result(SOON), Refused)
        assert come.finish(mine, DONE).result(SOON).applied
