from __future__ import annotations

import threading
from typing import Any

import pytest
from sqlalchemy import delete, event

from app.execution.publish import message_options
from app.journal import Journal
from app.journal.schema.models import Step
from app.journal.schema.rows import Claimed
from app.journal.steps import cancels, compensations, dead_letters
from app.journal.steps.finishes import FinishStep
from celery_agents.contracts.compensation import Compensation, compensation_id
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State
from celery_agents.errors import InvalidPayloadError
from tests.unit.app.journal.support import (
    DONE,
    FAILED,
    SOON,
    World,
    batch,
    claimed,
    expand,
    finished,
    ids,
    plan,
    step,
)

BY_U = Compensation(agent="u")
UNDOABLE = DONE.model_copy(update={"compensation": BY_U})
U = compensation_id("p")


def end(journal: Journal, claim: Claimed, outcome: Outcome) -> Any:
    return journal.finish(claim, outcome).result(SOON)


def undoable(journal: Journal, run_id: str = "p") -> list[str]:
    return [f.id for f in journal.read(lambda c: compensations.finished(c, run_id))]


def statements(journal: Journal, work: Any) -> list[str]:
    """The statements that a piece of work sends."""
    sent: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    event.listen(journal.engine, "before_cursor_execute", note)
    try:
        work()
    finally:
        event.remove(journal.engine, "before_cursor_execute", note)
    return sent


class TestEndsOfRuns:
    def test_a_root_that_fails_wakes_what_undoes_it(self, world: World, journal: Journal) -> None:
        a, b = expand(journal, "p", plan("a", "b"))
        assert end(journal, a, UNDOABLE).wakes == []
        assert ids(end(journal, b, FAILED).wakes) == ["p"]
        after = end(journal, claimed(journal, "p"), FAILED)
        (wake,) = after.wakes
        assert (wake.id, wake.task, wake.queue, wake.parent_id) == (
            U,
            "agents.compensate",
            "agents",
            None,
        )
        assert wake.payload["kwargs"] == {
            "run_id": "p",
            "task": "agents.vote",
            "state": "failed",
            "error": "agent_failed",
        }
        shown = "{run_id: 'p', task: 'agents.vote', state: 'failed', error: 'agent_failed'}"
        assert message_options(wake)["kwargsrepr"] == shown  # as in Flower
        row = world.row(U)
        assert (row.run_id, row.state, row.max_attempts) == ("p", "ready", 30)
        assert world.run("p").state == "failed"
        assert claimed(journal, U).run_id == "p"

    @pytest.mark.parametrize(
        ("outcome", "undone"),
        [
            (DONE, False),
            (FAILED, True),
            (Outcome(state=State.CANCELLED), True),
            (Outcome(state=State.DEAD), True),
        ],
    )
    def test_however_it_ends_but_well(
        self, journal: Journal, outcome: Outcome, undone: bool
    ) -> None:
        (a,) = expand(journal, "p", plan("a"))
        end(journal, a, UNDOABLE)
        after = end(journal, claimed(journal, "p"), outcome)
        assert ids(after.wakes) == ([U] if undone else [])
        assert journal.read(lambda c: compensations.begun(c, "p")) is undone

    def test_cancelled_by_a_person(self, journal: Journal) -> None:
        a, _ = expand(journal, "p", plan("a", "b"))
        end(journal, a, UNDOABLE)
        after = journal.transaction(lambda c: cancels.cancel(c, "p", journal.rules))
        assert sorted(ids(after.wakes)) == sorted(["p", U])

    def test_given_up(self, world: World, journal: Journal) -> None:
        (a,) = expand(journal, "p", plan("a"))
        end(journal, a, UNDOABLE)
        claimed(journal, "p")
        world.set("p", worker_id="gone", attempts=3)
        found = finished(journal, "p")
        assert (found.outcome.state, ids(found.aftermath.wakes)) == (State.DEAD, [U])

    def test_nested_members_count_too(self, journal: Journal) -> None:
        (nested,) = expand(journal, "p", plan("nested"))
        made = journal.expand(nested, plan("x")).result(SOON)
        x = claimed(journal, made.members[0].id)
        end(journal, x, UNDOABLE)
        end(journal, claimed(journal, nested.id), FAILED)
        assert ids(end(journal, claimed(journal, "p"), FAILED).wakes) == [U]
        assert undoable(journal) == [x.id]

    def test_nothing_that_can_be_undone(self, world: World, journal: Journal) -> None:
        a, b = expand(journal, "p", plan("a", "b"))
        end(journal, a, DONE)
        end(journal, b, FAILED)
        assert end(journal, claimed(journal, "p"), FAILED).wakes == []
        assert not world.run("p").compensable

    def test_a_run_of_one_step(self, journal: Journal) -> None:
        assert end(journal, claimed(journal, "s", step()), FAILED).wakes == []
        assert end(journal, claimed(journal, "t", step("t")), UNDOABLE).wakes == []

    def test_in_one_batch_with_its_member(self, journal: Journal) -> None:
        a, _ = expand(journal, "p", plan("a", "b", kind="first", keep=True))
        end(journal, claimed(journal, "x", step("x")), DONE)
        journal.transaction(lambda c: cancels.cancel(c, "p", journal.rules))
        assert ids(batch(journal, FinishStep(a, UNDOABLE, journal.rules))[0].wakes) == [U]

    def test_no_statement_more_without_compensations(self, journal: Journal) -> None:
        def run(name: str, *outcomes: Outcome) -> list[str]:
            a, b = expand(journal, name, plan("a", "b"))

            def ends() -> None:
                batch(
                    journal,
                    *(
                        FinishStep(claim, outcome, journal.rules)
                        for claim, outcome in zip((a, b), outcomes, strict=True)
                    ),
                )

            sent = statements(journal, ends)
            claim = claimed(journal, name)
            return sent + statements(
                journal, lambda: batch(journal, FinishStep(claim, FAILED, journal.rules))
            )

        plain, with_one = run("p", DONE, FAILED), run("q", UNDOABLE, FAILED)
        assert not any("compensab" in s for s in plain if "RETURNING" not in s)
        assert sum(s.startswith("UPDATE runs") for s in plain) == 1
        assert len(with_one) == len(plain) + 3  # the note; its root is read; its row is made


class TestLateFinishes:
    """A member that succeeds after its run failed is undone as well."""

    @pytest.fixture
    def late(self, journal: Journal) -> Claimed:
        a, b = expand(journal, "p", plan("a", "b"))
        end(journal, a, UNDOABLE)
        journal.transaction(lambda c: cancels.cancel(c, "p", journal.rules))
        return b

    def test_while_it_waits(self, world: World, journal: Journal, late: Claimed) -> None:
        assert ids(end(journal, late, UNDOABLE).wakes) == [U]
        assert world.row(U).state == "ready"
        assert undoable(journal)[0] == late.id

    def test_while_it_decides(self, world: World, journal: Journal, late: Claimed) -> None:
        claim = claimed(journal, U)
        assert ids(end(journal, late, UNDOABLE).wakes) == [U]
        # What it decided without the late one is refused.
        assert not end(journal, claim, DONE).applied
        assert not journal.expand(claim, plan("x")).result(SOON).applied
        assert (world.row(U).state, world.row(U).token) == ("ready", 2)

    def test_while_members_undo(self, world: World, journal: Journal, late: Claimed) -> None:
        journal.expand(claimed(journal, U), plan("x")).result(SOON)
        assert end(journal, late, UNDOABLE).wakes == []  # it looks again after the member
        assert world.row(U).state == "waiting"

    def test_after_all_was_undone(self, world: World, journal: Journal, late: Claimed) -> None:
        end(journal, claimed(journal, U), DONE)
        journal.settle(U, 1).result(SOON)
        assert ids(end(journal, late, UNDOABLE).wakes) == [U]
        row = world.row(U)
        assert (row.state, row.outcome, row.finished_at, row.settled) == (
            "ready",
            None,
            None,
            False,
        )

    def test_the_first_that_can_be_undone(self, journal: Journal) -> None:
        (a,) = expand(journal, "p", plan("a"))
        assert ids(journal.cancel("p").wakes) == ["p"]
        assert ids(end(journal, a, UNDOABLE).wakes) == [U]

    def test_of_a_run_that_succeeded(self, journal: Journal) -> None:
        a, b = expand(journal, "p", plan("a", "b", kind="first", keep=True))
        end(journal, a, DONE)
        end(journal, claimed(journal, "p"), DONE)
        assert end(journal, b, UNDOABLE).wakes == []

    @pytest.mark.databases("postgres")
    def test_at_the_same_time_as_the_end(self, world: World, journal: Journal) -> None:
        """Whichever comes second sees the first."""
        if journal.engine.dialect.name == "sqlite":
            pytest.skip("SQLite writes one transaction after another")
        (a,) = expand(journal, "p", plan("a"))
        other = world.journal("other")
        found: list[Any] = []
        finishing = threading.Thread(target=lambda: found.append(end(journal, a, UNDOABLE)))
        with other.engine.begin() as c:
            ending = cancels.cancel(c, "p", other.rules)
            finishing.start()
            finishing.join(0.3)  # it waits for rows that this transaction holds
        finishing.join(SOON)
        assert ids(ending.wakes) == ["p"]
        assert ids(found[0].wakes) == [U]


class TestHalfCleaned:
    """The root of a failed run is gone, other steps of it are not: they end as ever."""

    def root_is_gone(self, world: World, journal: Journal) -> tuple[Claimed, Claimed]:
        a, b = expand(journal, "p", plan("a", "b", kind="first", timeout_s=0.0, keep=True))
        end(journal, claimed(journal, "p"), FAILED)
        with world.engine.begin() as c:
            c.execute(delete(Step).where(Step.id == "p"))
        return a, b

    def test_a_member_that_can_be_undone_ends(self, world: World, journal: Journal) -> None:
        for late in self.root_is_gone(world, journal):
            after = end(journal, late, UNDOABLE)
            assert (after.applied, after.wakes) == (True, [])
            assert world.row(late.id).state == "succeeded"

    def test_beside_the_ends_of_other_runs(self, world: World, journal: Journal) -> None:
        late, _ = self.root_is_gone(world, journal)
        other = claimed(journal, "other", step("other"))
        ends = [FinishStep(c, UNDOABLE, journal.rules) for c in (late, other)]
        assert [after.applied for after in batch(journal, *ends)] == [True, True]
        assert world.run("other").state == "succeeded"

    def test_its_steps_can_be_let_go(self, world: World, journal: Journal) -> None:
        late, other = self.root_is_gone(world, journal)
        after = journal.transaction(lambda c: compensations.let_go(c, "p"))
        assert after is None or sorted(after.cancels) == sorted([late.id, other.id])

    def test_what_is_gone_is_not_undone(self, world: World, journal: Journal) -> None:
        self.root_is_gone(world, journal)
        with pytest.raises(InvalidPayloadError, match="its run was cleaned up"):
            journal.read(lambda c: compensations.told(c, "p"))


class TestLetGo:
    def test_nothing_is_open(self, journal: Journal) -> None:
        (a,) = expand(journal, "p", plan("a"))
        end(journal, a, UNDOABLE)
        end(journal, claimed(journal, "p"), FAILED)
        claimed(journal, U)  # its own step does not count
        assert journal.transaction(lambda c: compensations.let_go(c, "p")) is None

    def test_running_steps_are_asked_to_stop(self, world: World, journal: Journal) -> None:
        a, b = expand(journal, "p", plan("a", "b", kind="first", keep=True))
        journal.postpone(b, delay_s=60).result(SOON)
        end(journal, claimed_again(world, journal, "p"), FAILED)
        going = journal.transaction(lambda c: compensations.let_go(c, "p"))
        assert going is not None
        assert going.cancels == [a.id]
        assert world.row(b.id).state == "cancelled"
        end(journal, a, UNDOABLE)
        assert journal.transaction(lambda c: compensations.let_go(c, "p")) is None

    def test_what_had_not_started_does_not_hold_it_up(self, world: World, journal: Journal) -> None:
        (a,) = expand(journal, "p", plan("a", kind="first", keep=True))
        journal.postpone(a, delay_s=60).result(SOON)
        end(journal, claimed_again(world, journal, "p"), FAILED)
        gone = journal.transaction(lambda c: compensations.let_go(c, "p"))
        assert gone is not None
        assert (gone.cancels, [one.outcome.state for one in gone.ended]) == ([], ["cancelled"])
        assert journal.transaction(lambda c: compensations.let_go(c, "p")) is None


def claimed_again(world: World, journal: Journal, step_id: str) -> Claimed:
    """A waiting pattern, claimed as when its join's time was over."""
    world.set_join(step_id, deadline_at=lambda clock: clock - 1)
    return claimed(journal, step_id)


class TestWhatIsTold:
    def test_the_last_that_finished_comes_first(self, world: World, journal: Journal) -> None:
        a, b, c, d = expand(journal, "p", plan("a", "b", "c", "d"))
        for claim in (b, a):
            end(journal, claim, UNDOABLE)
        end(journal, c, DONE)
        end(journal, d, FAILED)
        assert undoable(journal) == [a.id, b.id]
        # In one commit: by their places.
        for claim in (a, b):
            world.set(claim.id, finished_at=5.0)
        assert undoable(journal) == [b.id, a.id]

    def test_who_did_it_is_who_answered(self, journal: Journal) -> None:
        a, b = expand(journal, "p", plan("a", "b"))
        end(journal, a, UNDOABLE)
        end(journal, b, UNDOABLE.model_copy(update={"agent": "backup"}))
        found = journal.read(lambda c: compensations.finished(c, "p"))
        assert [(f.agent, f.compensation) for f in found] == [("backup", BY_U), (None, BY_U)]

    def test_input_and_output(self, journal: Journal) -> None:
        (a,) = expand(journal, "p", plan("a"))
        end(journal, a, UNDOABLE)
        assert journal.read(lambda c: compensations.told(c, a.id)) == ("a", "yes")

    def test_uncertain_are_those_that_had_begun(self, journal: Journal) -> None:
        parent = claimed(journal, "p", step("p", task="agents.vote", agent=None))
        made = journal.expand(parent, plan("a", "b", "c", "never begun")).result(SOON)
        a, b, c = (claimed(journal, w.id) for w in made.members[:3])
        end(journal, a, UNDOABLE)
        end(journal, b, FAILED)
        journal.cancel("p")
        found = journal.read(lambda c: compensations.uncertain(c, "p"))
        assert [(u.id, u.state) for u in found] == [
            (b.id, State.FAILED),
            (c.id, State.RUNNING),
        ]

    def test_undoing_steps_are_not_undone(self, journal: Journal) -> None:
        (a,) = expand(journal, "p", plan("a"))
        end(journal, a, UNDOABLE)
        end(journal, claimed(journal, "p"), FAILED)
        made = journal.expand(claimed(journal, U), plan(a.id)).result(SOON)
        undoing = claimed(journal, made.members[0].id)
        end(journal, undoing, UNDOABLE)
        assert undoable(journal) == [a.id]
        end(journal, claimed(journal, U), FAILED)
        assert journal.read(lambda c: compensations.uncertain(c, "p")) == []

    def test_status_says_how_far_it_is(self, journal: Journal) -> None:
        (a,) = expand(journal, "p", plan("a"))
        end(journal, a, UNDOABLE)
        tree = journal.run_tree("p")
        assert tree is not None
        assert tree["compensation"] is None
        end(journal, claimed(journal, "p"), FAILED)
        end(journal, claimed(journal, U), DONE)
        tree = journal.run_tree("p")
        assert tree is not None
        assert tree["compensation"] == {"id": U, "state": "succeeded", "report": "yes"}
        assert (tree["state"], len(tree["steps"])) == ("failed", 3)


class TestAgain:
    @pytest.fixture
    def dead_run(self, world: World, journal: Journal) -> None:
        (a,) = expand(journal, "p", plan("a"))
        end(journal, a, UNDOABLE)
        claimed(journal, "p")
        world.set("p", worker_id="gone", attempts=3)
        finished(journal, "p")

    @pytest.mark.usefixtures("dead_run")
    def test_a_run_that_was_undone_does_not_go_on(self, journal: Journal) -> None:
        with pytest.raises(InvalidPayloadError, match="was undone"):
            journal.transaction(lambda c: dead_letters.requeue_step(c, "p", 10.0))

    @pytest.mark.usefixtures("dead_run")
    def test_what_could_not_be_undone_is_a_letter(self, world: World, journal: Journal) -> None:
        error = ErrorInfo(kind="compensation_failed", message="no")
        end(journal, claimed(journal, U), Outcome(state=State.DEAD, error=error))
        letters = journal.read(lambda c: dead_letters.listed(c, 9))
        assert {d["id"]: d["reason"] for d in letters}[U] == "no"
        assert journal.read(lambda c: compensations.turns(c, "p")) == 0
        assert journal.transaction(lambda c: dead_letters.requeue_step(c, U, 10.0)).id == U
        assert journal.read(lambda c: compensations.turns(c, "p")) == 1
        assert world.run("p").state == "dead"
        assert claimed(journal, U).attempt == 1


@pytest.mark.parametrize(
    "value", ["a\0b", "\ud83d", {"compensation": {"agent": "nobody"}}, '"compensation":{}']
)
def test_no_value_keeps_a_run_from_being_undone(journal: Journal, value: Any) -> None:
    a, b, c = expand(journal, "p", plan("a", "b", "c"))
    end(journal, a, UNDOABLE.model_copy(update={"value": value}))
    end(journal, b, DONE.model_copy(update={"value": value}))
    end(journal, c, UNDOABLE.model_copy(update={"value": value, "agent": "its backup"}))
    last, first = journal.read(lambda found: compensations.finished(found, "p"))
    assert (last.id, last.agent, last.compensation) == (c.id, "its backup", BY_U)
    assert (first.id, first.agent, first.compensation) == (a.id, None, BY_U)
    assert journal.read(lambda found: compensations.told(found, a.id)) == ("a", value)
