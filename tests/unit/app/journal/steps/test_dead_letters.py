from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from app.journal import Journal
from app.journal.schema.models import Step
from app.journal.schema.rows import derived_id
from app.journal.steps import compensations, dead_letters
from celery_agents.contracts.compensation import Compensation
from celery_agents.contracts.outcome import State
from celery_agents.errors import InvalidPayloadError
from tests.unit.app.journal.support import (
    DONE,
    SOON,
    OnPostgres,
    World,
    claimed,
    expand,
    finished,
    ids,
    lose_an_answer,
    meanwhile,
    plan,
    step,
)


def letter(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": f"m{number}",
        "cause": "not_json",
        "reason": "no",
        "queue": "agents",
        "task": None,
        "step_id": None,
        "payload": "junk",
        "raw": "anVuaw==",
        "size": 4,
        "at": float(number),
        **more,
    }


def keep(journal: Journal, *numbers: int, most: int = 100) -> int:
    rows = [letter(n) for n in numbers]
    return journal.transaction(lambda c: dead_letters.insert_letters(c, rows, most))


def listed(journal: Journal, limit: int = 100) -> list[str]:
    return [d["id"] for d in journal.read(lambda c: dead_letters.listed(c, limit))]


def requeue(journal: Journal, step_id: str) -> Any:
    return journal.transaction(lambda c: dead_letters.requeue_step(c, step_id, 10.0))


def die(world: World, journal: Journal, step_id: str) -> None:
    """Its worker died under its last attempt, and another one gave it up."""
    world.set(step_id, worker_id="gone", max_attempts=world.row(step_id).attempts)
    assert finished(journal, step_id).outcome.state is State.DEAD


@pytest.fixture
def dead_root(world: World, journal: Journal) -> str:
    claimed(journal, "s", step("s", timeout_s=50.0))
    die(world, journal, "s")
    return "s"


class TestMessages:
    def test_newest_first_and_the_oldest_make_room(self, journal: Journal) -> None:
        assert keep(journal, 1, 2, 3) == 0
        assert keep(journal, 4, 5, most=4) == 1
        assert listed(journal) == ["m5", "m4", "m3", "m2"]
        assert listed(journal, 2) == ["m5", "m4"]

    def test_a_page_goes_on_where_the_one_before_ended(
        self, journal: Journal, dead_root: str
    ) -> None:
        keep(journal, 1, 2, 3)
        same = [letter(n, at=2.0) for n in (7, 8)]
        journal.transaction(lambda c: dead_letters.insert_letters(c, same, 100))
        found: list[str] = []
        before: tuple[float, str] | None = None
        while page := _page(journal, before):
            found += [one["id"] for one in page]
            before = (page[-1]["at"], page[-1]["id"])
        assert found == [dead_root, "m3", "m8", "m7", "m2", "m1"]

    def test_moved_twice_is_there_once(self, journal: Journal) -> None:
        keep(journal, 1)
        keep(journal, 1, 2)
        assert listed(journal) == ["m2", "m1"]

    def test_shown_without_its_bytes(self, journal: Journal) -> None:
        keep(journal, 1)
        found = journal.read(lambda c: dead_letters.find(c, "m1"))
        assert found is not None
        assert (found["kind"], found["payload"], found["size"]) == ("message", "junk", 4)
        assert "raw" not in found
        assert journal.read(lambda c: dead_letters.find(c, "m2")) is None

    def test_forgotten_once(self, journal: Journal) -> None:
        keep(journal, 1)
        assert journal.transaction(lambda c: dead_letters.forget_message(c, "m1"))
        assert not journal.transaction(lambda c: dead_letters.forget_message(c, "m1"))


class TestSteps:
    def test_a_dead_step_is_a_letter(self, journal: Journal, dead_root: str) -> None:
        keep(journal, 1)
        assert listed(journal) == ["s", "m1"]
        found = journal.read(lambda c: dead_letters.find(c, "s"))
        assert found is not None
        assert (found["kind"], found["attempts"], found["task"]) == ("step", 1, "agents.ask")
        assert "Given up after 1 attempts" in found["reason"]
        assert "hello" in found["payload"]

    def test_dropped_is_listed_no_more(self, journal: Journal, dead_root: str) -> None:
        assert journal.transaction(lambda c: dead_letters.drop_step(c, "s"))
        assert listed(journal) == []
        assert not journal.transaction(lambda c: dead_letters.drop_step(c, "s"))

    def test_that_dies_again_after_it_was_dropped_is_listed(
        self, world: World, journal: Journal, dead_root: str
    ) -> None:
        journal.transaction(lambda c: dead_letters.drop_step(c, "s"))
        requeue(journal, "s")
        claimed(journal, "s")
        die(world, journal, "s")
        assert listed(journal) == ["s"]

    def test_a_root_runs_again(self, world: World, journal: Journal, dead_root: str) -> None:
        world.set("s", max_attempts=3)
        assert requeue(journal, "s").id == "s"
        row, run = world.row("s"), world.run("s")
        assert (row.state, row.attempts, row.outcome, row.settled) == ("ready", 0, None, False)
        assert row.deadline_at == pytest.approx(world.clock() + 50, abs=20)
        assert (run.state, run.finished_at) == ("open", None)
        again = claimed(journal, "s")
        assert again.attempt == 1
        assert journal.finish(again, DONE).result(SOON).applied
        assert world.run("s").state == State.SUCCEEDED
        assert listed(journal) == []

    def test_a_claim_of_before_ends_nothing(self, world: World, journal: Journal) -> None:
        before = claimed(journal, "s", step("s"))
        die(world, journal, "s")
        requeue(journal, "s")
        assert not journal.finish(before, DONE).result(SOON).applied

    def test_a_member_that_is_waited_for(self, world: World, journal: Journal) -> None:
        one, two = expand(journal, "p", plan("a", "b"))
        die(world, journal, one.id)
        assert world.join("p").done == 1
        assert requeue(journal, one.id).parent_id == "p"
        assert world.join("p").done == 0
        journal.finish(two, DONE).result(SOON)
        assert world.join("p").state == "open"
        world.set(one.id, max_attempts=3)
        journal.finish(claimed(journal, one.id), DONE).result(SOON)
        assert world.join("p").state == "fired"

    def test_a_member_that_is_waited_for_no_more(self, world: World, journal: Journal) -> None:
        (one,) = expand(journal, "p", plan("a"))
        die(world, journal, one.id)
        with pytest.raises(InvalidPayloadError, match="its parent p went on without it"):
            requeue(journal, one.id)
        assert world.row(derived_id("p", "a")).state == State.DEAD

    @pytest.mark.parametrize("step_id", ["s", "nobody"])
    def test_only_dead_ones(self, journal: Journal, step_id: str) -> None:
        claimed(journal, "s", step("s"))
        with pytest.raises(InvalidPayloadError, match=f"no dead letter {step_id}"):
            requeue(journal, step_id)


class TestRequeuedAgain:
    DAY_S = 86_400.0

    def test_each_time_it_has_as_long_as_from_the_start(
        self, world: World, journal: Journal, dead_root: str
    ) -> None:
        ago_s = 7 * self.DAY_S
        made, due = (lambda clock: clock - ago_s), (lambda clock: clock - ago_s + 50)
        world.set(dead_root, created_at=made, deadline_at=due)
        for _ in range(3):
            requeue(journal, dead_root)
            assert claimed(journal, dead_root).remaining_s == pytest.approx(50, abs=SOON)
            die(world, journal, dead_root)

    def test_it_is_not_asked_to_stop_by_what_came_before(
        self, world: World, journal: Journal, dead_root: str
    ) -> None:
        world.set(dead_root, cancel_requested=True)
        requeue(journal, dead_root)
        assert claimed(journal, dead_root).attempt == 1

    def test_its_old_result_is_forgotten_before_there_may_be_a_new_one(
        self, world: World, journal: Journal, dead_root: str
    ) -> None:
        """After the commit a copy of its message may claim it, and end it at once."""
        other = world.journal("other")
        seen: list[tuple[str, str]] = []

        def forget(step_id: str) -> None:
            known = select(Step.state).where(Step.id == step_id)
            seen.append((step_id, other.read(lambda c: c.execute(known).scalar_one())))

        journal.transaction(lambda c: dead_letters.requeue_step(c, dead_root, 10.0, forget=forget))
        assert seen == [(dead_root, "dead")]
        assert world.row(dead_root).state == "ready"

    def test_an_answer_that_is_lost_is_no_error(
        self, journal: Journal, dead_root: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lose_an_answer(monkeypatch)
        assert requeue(journal, dead_root).id == dead_root
        assert claimed(journal, dead_root).attempt == 1


class TestARootAndItsLateMember(OnPostgres):
    def test_a_run_that_is_requeued_is_not_undone(self, world: World, journal: Journal) -> None:
        """A member that can be undone ends amid the requeue of its run's dead root."""
        undoable = DONE.model_copy(update={"compensation": Compensation(agent="undo")})
        (a,) = expand(journal, "p", plan("a", kind="first", keep=True, timeout_s=60))
        world.set_join("p", deadline_at=lambda now: now - 1)
        claimed(journal, "p")
        die(world, journal, "p")
        other = world.journal("other")
        with world.engine.connect() as c:
            requeueing = c.begin()
            dead_letters.requeue_step(c, "p", 10.0)
            with meanwhile(world, lambda: journal.finish(a, undoable).result(SOON)) as ended:
                requeueing.commit()
        assert (ended[0].applied, ids(ended[0].wakes)) == (True, [])
        assert world.run("p").state == "open"
        assert not other.read(lambda c: compensations.begun(c, "p"))


def _page(journal: Journal, before: tuple[float, str] | None) -> list[dict[str, Any]]:
    return journal.read(lambda c: dead_letters.listed(c, 2, None, before))
