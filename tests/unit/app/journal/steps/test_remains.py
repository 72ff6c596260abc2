"""A run is asked for again while the one before is being cleaned up: its root is gone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Connection, delete, func, select, update

from app.journal import Journal
from app.journal.retention.cleanup import Retention, clean_journal
from app.journal.schema.engine import now
from app.journal.schema.models import Event, Run, Step
from app.journal.schema.rows import Claimed
from celery_agents.contracts.outcome import State
from tests.unit.app.journal.support import (
    DONE,
    FAILED,
    SOON,
    OnPostgres,
    World,
    claimed,
    expand,
    meanwhile,
    plan,
    step,
)

KEPT = Retention(succeeded_days=30, others_days=30, dead_letters_days=30)
LONG_S = 31 * 86_400.0


@pytest.fixture
def before(world: World, journal: Journal) -> None:
    """What cleaning has left of a run: all but its root."""
    for member in expand(journal, "p", plan("a", "b")):
        journal.finish(member, FAILED).result(SOON)
    journal.finish(claimed(journal, "p"), FAILED).result(SOON)
    journal.cancel(claimed(journal, "q", step("q")).id)  # an event of another run
    with world.engine.begin() as c:
        c.execute(update(Event).values(run_id="p"))
        times = {"created_at": now() - LONG_S, "finished_at": now() - LONG_S}
        c.execute(update(Run).where(Run.id == "p").values(times))
        c.execute(delete(Step).where(Step.id == "p"))


def claim(journal: Journal) -> None:
    claimed(journal, "p", step("p"))


def claim_beside_another(journal: Journal) -> None:
    both = [journal.claim(i, step(i)) for i in ("o", "p")]
    claims = [future.result(SOON) for future in both]
    assert [c.id for c in claims if isinstance(c, Claimed)] == ["o", "p"]


def insert(journal: Journal) -> None:
    journal.insert(step("p")).result(SOON)


def take_in(journal: Journal) -> None:
    journal.findings.take_in([step("p"), step("p"), step("o")])


WAYS = [claim, claim_beside_another, insert, take_in]


@pytest.mark.usefixtures("before")
class TestARunBeginsAnew:
    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.databases("both")
    def test_without_anything_of_the_one_before(
        self, world: World, journal: Journal, way: Callable[[Journal], None]
    ) -> None:
        way(journal)
        assert not clean_journal(journal.engine, KEPT, batch=10)["runs"]
        run = world.run("p")
        assert (run.state, run.finished_at, run.usage) == ("open", None, None)
        with world.engine.connect() as c:
            assert run.created_at > c.execute(select(now() - SOON)).scalar_one()
            assert of_run(c) == ["p"]
            assert c.execute(select(func.count(Event.id))).scalar_one() == 0

    def test_and_ends_as_a_new_one(self, world: World, journal: Journal) -> None:
        members = expand(journal, "p", plan("a", "b"))
        assert [m.member for m in members] == ["a", "b"]
        for member in members:
            journal.finish(member, DONE).result(SOON)
        assert [str(m.state) for m in journal.members("p")] == ["succeeded"] * 2
        journal.finish(claimed(journal, "p"), DONE).result(SOON)
        assert world.run("p").state == "succeeded"

    def test_cancelled_before_its_message_comes(self, world: World, journal: Journal) -> None:
        journal.cancel("p")
        assert not clean_journal(journal.engine, KEPT, batch=10)["runs"]
        assert world.row("p").state == world.run("p").state == State.CANCELLED


@pytest.mark.usefixtures("before")
class TestWhileItIsCleaned(OnPostgres):
    @pytest.mark.parametrize("way", WAYS)
    def test_it_waits_for_the_row_of_its_run(
        self, world: World, journal: Journal, way: Callable[[Journal], None]
    ) -> None:
        with world.engine.connect() as c:
            c.execute(delete(Run).where(Run.id == "p"))

            def work() -> bool:
                way(journal)
                return True

            with meanwhile(world, work):
                c.commit()
        assert world.run("p").state == "open"


def of_run(connection: Connection) -> list[str]:
    return list(connection.execute(select(Step.id).where(Step.run_id == "p")).scalars())
