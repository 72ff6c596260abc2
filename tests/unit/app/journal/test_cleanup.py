from __future__ import annotations

from sqlalchemy import func, select, update

from app.journal import Journal
from app.journal.cleanup import clean_journal
from app.journal.engine import now
from app.journal.models import Call, Event, Join, Run, Step
from tests.unit.app.journal.support import DONE, SOON, TIRED, World, claimed, expand, plan, step


def count(world: World) -> dict[str, int]:
    with world.engine.connect() as c:
        return {
            m.__tablename__: c.execute(select(func.count()).select_from(m)).scalar_one()
            for m in (Run, Step, Call, Join, Event)
        }


def age(world: World, *run_ids: str) -> None:
    with world.engine.begin() as c:
        old = {"created_at": now() - 2000, "finished_at": now() - 1000}
        c.execute(update(Run).where(Run.id.in_(run_ids), Run.finished_at.is_not(None)).values(old))
        c.execute(update(Run).where(Run.id.in_(run_ids)).values(created_at=now() - 2000))


def test_old_runs_go_with_all_that_hangs_on_them(world: World, journal: Journal) -> None:
    for p in ("p", "q"):
        (one,) = expand(journal, p, plan("a", note={"why": "so"}))
        journal.start_call(one, 0, "model", "f", "k").result(SOON)
        journal.finish(one, DONE).result(SOON)
        journal.finish(claimed(journal, p), DONE).result(SOON)
    age(world, "p")
    assert clean_journal(journal, 500, 10) == 1
    assert count(world) == {"runs": 1, "steps": 2, "calls": 1, "joins": 1, "events": 1}
    assert journal.run_tree("p") is None
    assert journal.run_tree("q") is not None


def test_young_and_open_runs_stay(world: World, journal: Journal) -> None:
    journal.finish(claimed(journal, "young", step("young")), DONE).result(SOON)
    claimed(journal, "open", step("open"))
    journal.postpone(claimed(journal, "later", step("later")), delay_s=9, error=TIRED).result(SOON)
    age(world, "open", "later")
    assert clean_journal(journal, 500, 10) == 0
    assert count(world)["runs"] == 3


def test_many_portions(world: World, journal: Journal) -> None:
    for n in range(7):
        journal.finish(claimed(journal, f"s{n}", step(f"s{n}")), DONE).result(SOON)
    age(world, *(f"s{n}" for n in range(7)))
    assert clean_journal(journal, 500, 3) == 7
    assert count(world)["steps"] == 0
