from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, func, insert, select, update

from app.journal import Journal
from app.journal.paging import pages
from app.journal.retention import cleanup
from app.journal.retention.cleanup import Retention, clean_journal, vacuum, what_would_go
from app.journal.schema.engine import now
from app.journal.schema.models import (
    AuditEntry,
    Base,
    DeadLetter,
    Entry,
    Event,
    Health,
    MemoryRow,
    MemorySpace,
    Run,
    Slot,
    Spend,
    Stat,
    Step,
    Worker,
)
from app.journal.schema.rows import NewEntry, NewExchange, NewMemory
from app.journal.steps import compensations, dead_letters
from app.journal.stores.audit import AuditLog
from app.journal.tables.audit import Act
from celery_agents.contracts.compensation import Compensation, compensation_id
from celery_agents.contracts.memory import MemoryPolicy
from celery_agents.contracts.outcome import State
from celery_agents.errors import InvalidPayloadError
from tests.support.drawn import costly
from tests.unit.app.journal.support import (
    DONE,
    FAILED,
    SOON,
    TIRED,
    OnPostgres,
    World,
    before,
    claimed,
    expand,
    finished,
    ids,
    plan,
    step,
)

DAY_S = 86_400.0
KEEP = Retention(succeeded_days=30, others_days=60, dead_letters_days=20)
ALL = ("runs", "steps", "calls", "joins", "events")


def count(world: World) -> dict[str, int]:
    with world.engine.connect() as c:
        return {
            name: c.execute(
                select(func.count()).select_from(Base.metadata.tables[name])
            ).scalar_one()
            for name in ALL
        }


def age(world: World, days: float, *run_ids: str) -> None:
    """Let runs have been made, and ended, so long ago."""
    ago = now() - days * DAY_S
    with world.engine.begin() as c:
        c.execute(update(Run).where(Run.id.in_(run_ids)).values(created_at=ago))
        ended = Run.id.in_(run_ids) & Run.finished_at.is_not(None)
        c.execute(update(Run).where(ended).values(finished_at=ago))


def finish(journal: Journal, run_id: str, outcome: Any = DONE) -> None:
    journal.finish(claimed(journal, run_id, step(run_id)), outcome).result(SOON)


def clean(world: World, keep: Retention = KEEP, **more: Any) -> Counter[str]:
    given: dict[str, Any] = {"batch": 10, "sleep": lambda _: None}
    return clean_journal(world.engine, keep, **{**given, **more})


def test_what_old_acts_were_about_is_erased_and_the_acts_stay(world: World) -> None:
    log = AuditLog(world.engine)
    log.write([Act("anna", "run.cancel", str(n), data={"n": n}) for n in range(3)])
    with world.engine.begin() as c:
        c.execute(update(AuditEntry).where(AuditEntry.target == "1").values(at=now() - 50 * DAY_S))
    keep = replace(KEEP, audit_days=49)
    with world.engine.connect() as c:
        assert what_would_go(c, keep) == {"audit data": 1}
    assert clean(world, keep) == {"audit data": 1}
    told, *rest = log.newest(4)
    assert told["action"] == "audit.erase"
    found = {entry["target"]: entry["data"] for entry in rest}
    assert found == {"2": '{"n":2}', "1": None, "0": '{"n":0}'}
    assert clean(world, keep) == {}


def test_old_runs_go_with_all_that_hangs_on_them(world: World, journal: Journal) -> None:
    for p in ("p", "q"):
        (one,) = expand(journal, p, plan("a", note={"why": "so"}))
        journal.start_call(one, 0, "model", "f", "k").result(SOON)
        journal.finish(one, DONE).result(SOON)
        journal.finish(claimed(journal, p), DONE).result(SOON)
    age(world, 31, "p")
    with world.engine.connect() as c:
        told = what_would_go(c, KEEP)
    assert told == {"runs": 1, "steps": 2, "calls": 1, "joins": 1, "events": 1}
    assert clean(world) == {"runs": 1, "steps": 2, "events": 1}
    assert count(world) == {"runs": 1, "steps": 2, "calls": 1, "joins": 1, "events": 1}
    assert journal.run_tree("p") is None
    assert journal.run_tree("q") is not None


def test_what_flows_were_told_goes_with_them_and_other_entries_stay(
    world: World, journal: Journal
) -> None:
    streams = ("flow/f", "signals/f", "flowers/1", "order/7")
    new = [NewEntry("", stream, "done", {"key": "1", "at": 1.0}, None, "f") for stream in streams]
    claim = claimed(journal, "f", step("f"))
    journal.finish(claim, DONE, entries=new).result(SOON)
    age(world, 31, "f")
    with world.engine.connect() as c:
        assert what_would_go(c, KEEP) == {"runs": 1, "steps": 1, "entries": 2}
    assert clean(world) == {"runs": 1, "steps": 1, "entries": 2}
    left = [stream for stream in streams if journal.streams.read("", stream, -1, 9)]
    assert left == ["flowers/1", "order/7"]


@pytest.mark.parametrize(
    ("outcome", "days", "goes"),
    [(DONE, 29, False), (DONE, 31, True), (FAILED, 31, False), (FAILED, 61, True)],
)
def test_by_age_and_state(
    world: World, journal: Journal, outcome: Any, days: float, goes: bool
) -> None:
    finish(journal, "r", outcome)
    age(world, days, "r")
    assert clean(world)["runs"] == int(goes)


def test_open_runs_stay(world: World, journal: Journal) -> None:
    claimed(journal, "open", step("open"))
    journal.postpone(claimed(journal, "later", step("later")), delay_s=9, error=TIRED).result(SOON)
    age(world, 400, "open", "later")
    assert not clean(world)
    assert count(world)["runs"] == 2


def test_a_long_run_goes_in_portions_and_a_stop_loses_nothing(
    world: World, journal: Journal
) -> None:
    members = expand(journal, "p", plan(*(f"m{n}" for n in range(25))))
    for one in members:
        journal.finish(one, DONE)
    journal.finish(claimed(journal, "p"), DONE).result(SOON)
    age(world, 31, "p")
    portions: list[float] = []
    assert clean(world, batch=4, lock_s=1e-9, limit_s=60, sleep=portions.append)["steps"] == 26
    assert len(portions) >= 26 - 3  # after the first one the pace is a row at a time
    assert sum(count(world).values()) == 0


def test_time_is_up(world: World, journal: Journal) -> None:
    finish(journal, "r")
    age(world, 31, "r")
    assert not clean(world, limit_s=0)
    assert clean(world)["runs"] == 1


@pytest.mark.databases("both")
def test_leftovers(world: World, journal: Journal) -> None:
    old, fresh = now() - 3 * DAY_S, now()
    columns = {"state": "healthy", "since": 0.0, "failures": 0, "successes": 1}
    with world.engine.begin() as c:
        for target, at in (("agent:gone", old), ("agent:here", fresh)):
            c.execute(insert(Health).values(target=target, checked_at=at, **columns))
        for slot, at in ((1, old), (2, fresh)):
            c.execute(insert(Slot).values(schedule="s", slot=slot, taken_at=at, worker_id="w"))
    for name in ("gone", "holds"):
        world.add_worker(id=name)
    with world.engine.begin() as c:
        c.execute(update(Worker).where(Worker.name == "worker@here").values(lease_until=old))
        c.execute(update(Worker).where(Worker.id == journal.me.id).values(lease_until=now() + 60))
    claimed(journal, "s", step("s"))
    world.set("s", worker_id="holds")
    with world.engine.connect() as c:
        assert what_would_go(c, KEEP) == {"health": 1, "slots": 1, "workers": 1}
    assert clean(world) == {"health": 1, "slots": 1, "workers": 1}
    assert world.one(Health).target == "agent:here"
    assert world.one(Slot).slot == 2
    with world.engine.connect() as c:
        assert set(c.execute(select(Worker.id)).scalars()) == {"holds", journal.me.id}


@pytest.mark.databases("both")
def test_memories_go_when_they_are_over_and_those_of_a_failed_run_with_it(
    world: World, journal: Journal
) -> None:
    about: dict[str, Any] = {"tenant": "", "tokens": 10, "policy": MemoryPolicy(space="s")}
    kept = [NewMemory(n, space="s", text=f"shoe {n}", **about) for n in ("old", "fresh", "live")]
    journal.memories.keep(kept)
    ending = [NewMemory(f"{n}2", space="s", text="", replaces=n, **about) for n in ("old", "fresh")]
    journal.memories.keep(ending)
    journal.memories.keep([NewMemory("gone", space="empty", text="shoe", **about)])
    journal.memories.erase("", "empty", ["gone"])
    (one,) = expand(journal, "f", plan("one"))
    own = [NewMemory("own", space="s", text="shoe", run_id="f", **about)]
    journal.finish(one, DONE, memories=own).result(SOON)
    journal.finish(claimed(journal, "f"), FAILED).result(SOON)
    long_ago = now() - 31 * DAY_S
    with world.engine.begin() as c:
        c.execute(update(MemoryRow).where(MemoryRow.id == "old").values(until=long_ago))
        c.execute(update(MemorySpace).values(changed_at=long_ago))
    assert clean(world) == {"memories": 1, "memory_spaces": 1}
    age(world, 61, "f")
    gone = clean(world)
    assert (gone["memories"], gone["runs"]) == (1, 1), gone
    with world.engine.connect() as c:
        assert set(c.execute(select(MemoryRow.id)).scalars()) == {"fresh", "live"}


def test_a_window_s_sums_go_when_nobody_needs_them(world: World, journal: Journal) -> None:
    hour, day, month, year = 3600, DAY_S, 30 * DAY_S, 365 * DAY_S
    today = int(time.time())
    ends = {
        "endless": (0, None),
        "an hour, one ago": (today - 2 * hour, today - hour),
        "an hour, three days ago": (today - 3 * day - hour, today - 3 * day),
        "a day, three days ago": (today - 4 * day, today - 3 * day),
        "a month, three days ago": (today - month - 3 * day, today - 3 * day),
        "a month, another one ago": (today - 2 * month - day, today - month - day),
        "a year, half of one ago": (today - int(1.5 * year), today - year // 2),
        "untold, a year ago": (today - year, None),
        "untold, twelve years ago": (today - 12 * year, None),
    }
    none = {"writer": "w", "nano_usd": 1, "tokens": 1, "calls": 1}
    with world.engine.begin() as c:
        for account, (starts_at, ends_at) in ends.items():
            at = {"starts_at": int(starts_at), "ends_at": None if ends_at is None else int(ends_at)}
            c.execute(insert(Spend).values(account=account, **at, **none))
        assert what_would_go(c, KEEP) == {"spend": 4}
    assert clean(world) == {"spend": 4}
    with world.engine.connect() as c:
        assert set(c.execute(select(Spend.account)).scalars()) == {
            *("endless", "an hour, one ago", "a month, three days ago"),
            *("a year, half of one ago", "untold, a year ago"),
        }


def test_every_table_is_kept_small_or_small_by_itself() -> None:
    """Whoever adds a table decides how its rows go."""
    cleaned = {"runs", "steps", "calls", "joins", "events", "dead_letters"}
    cleaned |= {"health", "slots", "spend", "workers", "stats", "api_keys"}
    cleaned |= {"uncounted", "untold"}  # with their runs
    cleaned |= {"waits"}  # with their steps
    cleaned |= {"schedules"}  # once they have no slot any more
    # Once they are over, of a run that did not succeed with it, or empty.
    cleaned |= {"memories", "memory_spaces"}
    cleaned |= {
        "memory_terms",
        "memory_vectors",
        "memory_links",
    }  # with what has them; none of what is over
    small = {"agents", "memos", "duties"}  # one row for each name
    small |= {"audit_head"}  # one row
    deleted_by_people = {"sessions", "entries", "cursors", "agent_entries", "stream_rules"}
    deleted_by_people |= {"snapshots", "stream_ends"}  # with their streams
    kept = {"audit"}  # a chain has no gaps; its data go
    assert set(Base.metadata.tables) == cleaned | small | deleted_by_people | kept
    assert "run_id" in Event.__table__.columns
    assert "run_id" in Step.__table__.columns


def test_sessions_outlive_their_runs(world: World, journal: Journal) -> None:
    claim = claimed(journal, "r", step("r"))
    journal.sessions.hold(claim, "chat", 100).result(SOON)
    waits = claimed(journal, "w", step("w"))
    journal.sessions.hold(waits, "chat", 100).result(SOON)
    journal.finish(claim, DONE, NewExchange({"messages": []}, tokens=1)).result(SOON)
    journal.cancel("w")
    journal.settle("w").result(SOON)
    age(world, 61, "r", "w")
    with world.engine.connect() as c:
        assert what_would_go(c, KEEP) == {"runs": 2, "steps": 2, "events": 1}
    assert clean(world) == {"runs": 2, "steps": 2, "events": 1}
    assert [e["run_id"] for e in journal.sessions.page("", "chat", -1)["exchanges"]] == ["r"]
    assert [s["exchanges"] for s in journal.sessions.list("", 10)] == [1]


def test_dead_letters_go_by_age(world: World) -> None:
    letter = {"cause": "c", "reason": "r", "queue": "q", "payload": "p", "raw": "", "size": 0}
    with world.engine.begin() as c:
        for i, days in enumerate((19, 21, 40)):
            c.execute(insert(DeadLetter).values(id=str(i), at=now() - days * DAY_S, **letter))
        assert what_would_go(c, KEEP) == {"dead_letters": 2}
    assert clean(world) == {"dead_letters": 2}
    assert world.one(DeadLetter).id == "0"


@pytest.mark.databases("both")
def test_vacuum_gives_room_back(world: World, journal: Journal) -> None:
    steps = [f"s{n}" for n in range(costly(200))]
    for step_id in steps:
        finish(journal, step_id)
    age(world, 31, *steps)
    clean(world, batch=1000)

    def free() -> int:
        with world.engine.connect() as c:
            return int(c.exec_driver_sql("PRAGMA freelist_count").scalar_one())

    lite = world.engine.dialect.name == "sqlite"
    assert not lite or free()
    vacuum(world.engine)
    if lite:
        assert free() == 0
        assert Path(world.url.removeprefix("sqlite:///")).stat().st_size > 0


def die(world: World, journal: Journal, step_id: str) -> None:
    world.set(step_id, worker_id="gone", max_attempts=world.row(step_id).attempts)
    assert finished(journal, step_id).outcome.state is State.DEAD


def requeue(journal: Journal, step_id: str) -> Any:
    return journal.transaction(lambda c: dead_letters.requeue_step(c, step_id, 10))


def test_a_run_that_is_being_undone_stays(world: World, journal: Journal) -> None:
    """It failed long ago; what could not be undone was requeued by a person just now."""
    undoing = compensation_id("p")
    undoable = DONE.model_copy(update={"compensation": Compensation(agent="undo")})
    (a,) = expand(journal, "p", plan("a"))
    journal.finish(a, undoable).result(SOON)
    journal.finish(claimed(journal, "p"), FAILED).result(SOON)
    claimed(journal, undoing)
    die(world, journal, undoing)
    age(world, 59, "p")
    requeue(journal, undoing)
    made = journal.expand(claimed(journal, undoing), plan("undo-a")).result(SOON)
    member = claimed(journal, made.members[0].id)
    age(world, 61, "p")
    assert not clean(world)
    assert journal.finish(member, DONE).result(SOON).applied
    assert journal.read(lambda c: compensations.begun(c, "p"))


def test_what_is_requeued_between_look_and_deletion_stays(
    world: World, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed(journal, "s", step())
    die(world, journal, "s")
    age(world, 61, "s")
    requeued = before(monkeypatch, cleanup, "delete_portion", lambda: requeue(journal, "s"))
    clean(world)
    assert ids(requeued) == ["s"]  # a person was told that it runs again
    assert claimed(journal, "s").attempt == 1


class TestWhatIsBeingRequeued(OnPostgres):
    """What undoes a run was given up, and is requeued while the old run is cleaned."""

    @pytest.fixture
    def letter(self, world: World, journal: Journal) -> str:
        undoable = DONE.model_copy(update={"compensation": Compensation(agent="undo")})
        (member,) = expand(journal, "p", plan("a"))
        journal.finish(member, undoable).result(SOON)
        journal.finish(claimed(journal, "p"), FAILED).result(SOON)
        undoes = compensation_id("p")
        claimed(journal, undoes)
        die(world, journal, undoes)
        age(world, 61, "p")
        return undoes

    def test_nothing_of_its_run_goes(self, world: World, journal: Journal, letter: str) -> None:
        other = world.journal("other")
        with other.engine.begin() as c:
            dead_letters.requeue_step(c, letter, 1.0)
            clean(world)
        with world.engine.connect() as c:
            left = set(c.execute(select(Step.id)).scalars())
        assert len(left) == 3
        assert {"p", letter} < left
        assert clean(world) == {}  # it is being undone

    def test_a_run_of_which_a_part_is_gone_is_not_undone_by_half(
        self, world: World, letter: str
    ) -> None:
        with world.engine.begin() as c:
            c.execute(delete(Step).where(Step.id == "p"))
            with pytest.raises(InvalidPayloadError, match="was cleaned up"):
                dead_letters.requeue_step(c, letter, 1.0)


def test_statistics_go_minutes_before_hours(world: World) -> None:
    ages = {(60, 1): True, (60, 3): False, (3_600, 3): True, (3_600, 91): False}
    now_s = int(world.clock())
    numbers = {"steps": 1, "timed": 0, "sum_s": 0.0, "sum_squares_s2": 0.0}
    told = {"tenant": "", "agent": "a", "state": "s", "buckets": {}, "errors": {}, "usage": {}}
    with world.engine.begin() as c:
        for grain_s, days in ages:
            starts_at = now_s - int(days * DAY_S)
            about = {"grain_s": grain_s, "starts_at": starts_at, **numbers, **told}
            c.execute(insert(Stat).values(about))
    assert clean(world) == {"stats": 2}
    with world.engine.connect() as c:
        left = c.execute(select(Stat.grain_s, Stat.starts_at)).all()
    kept = {(g, now_s - int(days * DAY_S)) for (g, days), stays in ages.items() if stays}
    assert {tuple(row) for row in left} == kept


def test_pages_of_a_run_that_never_came_go(world: World, journal: Journal) -> None:
    def put(run_id: str) -> None:
        for number in range(2):
            page = pages.new_page("t", run_id, number, ["x"], f"{number}")
            assert pages.add(journal.streams, page, number) == f"{number}"
            assert pages.add(journal.streams, page, number) == f"{number}"  # it is there already

    def left(run_id: str) -> int:
        return journal.streams.length("t", pages.stream_of_inputs(run_id))

    for run_id in ("came", "lost", "young"):
        put(run_id)
    claimed(journal, "came", step("came"))
    old = (Entry.run_id != "young") | (Entry.key.in_(["came", "lost"]) & Entry.run_id.is_(None))
    with world.engine.begin() as c:
        c.execute(update(Entry).where(old).values(at=now() - 8 * DAY_S))
    assert clean(world) == {"entries": 4}  # two pages, and the notes of both
    assert [left(run_id) for run_id in ("came", "lost", "young")] == [2, 0, 2]
    assert journal.read(lambda c: pages.inputs_of(c, "t", "came", 1)) == ["x"]
    with pytest.raises(InvalidPayloadError, match="not in the journal"):
        journal.read(lambda c: pages.inputs_of(c, "t", "lost", 0))


def test_pages_go_with_their_run(world: World, journal: Journal) -> None:
    pages.add(journal.streams, pages.new_page("", "s", 0, ["x"], "d"), 0)
    journal.finish(claimed(journal, "s", step()), DONE).result(SOON)
    age(world, 31, "s")
    assert clean(world)["entries"] == 1
