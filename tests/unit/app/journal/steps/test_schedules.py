"""Schedules in the journal: kept by people, and each slot started once by whoever dispatches."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import func, select, update

from agents.schedules import decide
from app.journal.retention.cleanup import LEFTOVERS_S, Retention, clean_journal
from app.journal.schema.engine import as_json
from app.journal.schema.models import Run, ScheduleRow, Step
from app.journal.schema.rows import NewStep, slot_id
from app.journal.steps import schedules
from app.journal.steps.schedules import Dispatched, ScheduleKey
from app.journal.stores.encryption import Encryption
from app.journal.stores.schedules import ScheduleStore
from celery_agents.contracts.flows.schedules import ScheduledRun, ScheduleInfo, ScheduleRule
from celery_agents.errors import InvalidPayloadError
from celery_agents.sealing import Seals, opened_payload
from celery_agents.wire.ids import begun_at
from tests.support.fernet import fernet_key
from tests.unit.app.journal.support import DONE, SOON, World, claimed, lose_an_answer, step

KEY, OTHER_KEY = fernet_key("old"), fernet_key("new")
KEY_A = ScheduleKey("", "digest")
TARGET = ScheduledRun(
    task="agents.ask",
    args=["what is new?"],
    kwargs={"agent": "a", "context": "secret"},
    queue="agents",
    priority=4,
)
EACH = ScheduleRule(every_s=10.0)
BEGIN = 1_800_000_000.0


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = BEGIN

    def __call__(self, _: object) -> float:
        return self.now


def make(target: ScheduledRun, run_id: str, tenant: str) -> NewStep:
    payload = {"args": target.args, "kwargs": target.kwargs}
    about = {"queue": target.queue, "priority": target.priority, "tenant": tenant}
    return step(run_id, task=target.task, payload=payload, **about)


def unmade(*_: object) -> NewStep:
    raise InvalidPayloadError("no such option")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(world: World, clock: Clock) -> ScheduleStore:
    return ScheduleStore(world.engine, 10.0, clock)


def shown(store: ScheduleStore, key: ScheduleKey = KEY_A) -> ScheduleInfo:
    (found,) = store.list(*key, 9)
    return ScheduleInfo.model_validate(found)


def started(found: Dispatched) -> list[str]:
    return [wake.id for wake in found.wakes]


def dispatch(store: ScheduleStore) -> list[str]:
    return started(store.dispatch(100, make))


def slots(*after_s: float, key: ScheduleKey = KEY_A) -> list[str]:
    return [slot_id(*key, BEGIN + s) for s in after_s]


def runs_in(world: World) -> int:
    with world.engine.connect() as c:
        return c.execute(select(func.count()).select_from(Run)).scalar_one()


def end(world: World, run_id: str) -> None:
    journal = world.journals[0] if world.journals else world.journal()
    journal.finish(claimed(journal, run_id), DONE).result(SOON)


def test_a_slot_becomes_a_run(world: World, store: ScheduleStore, clock: Clock) -> None:
    key = ScheduleKey("acme", "digest")
    store.put(key, EACH, TARGET)
    assert not store.is_due()
    assert dispatch(store) == []
    clock.now += 10.5
    assert store.is_due()
    (run_id,) = dispatch(store)
    assert run_id == slot_id("acme", "digest", BEGIN + 10)
    assert begun_at(run_id) == BEGIN + 10
    row = world.row(run_id)
    assert (row.task, row.tenant, row.priority, row.state) == ("agents.ask", "acme", 4, "ready")
    assert row.payload == {"args": TARGET.args, "kwargs": TARGET.kwargs}
    assert world.run(run_id).tenant == "acme"
    found = shown(store, key)
    assert (found.next_at, found.of) == (BEGIN + 20, "a")
    assert [(run.run_id, run.at) for run in found.runs] == [(run_id, BEGIN + 10)]
    assert dispatch(store) == []
    assert store.list("", None, 9) == []


def test_while_its_run_is_under_way(world: World, store: ScheduleStore, clock: Clock) -> None:
    store.put(KEY_A, ScheduleRule(every_s=10.0, overlap="queue"), TARGET)
    clock.now += 10
    assert dispatch(store) == slots(10)
    clock.now += 20
    assert dispatch(store) == []
    assert shown(store).queued == (BEGIN + 20, BEGIN + 30)
    end(world, slots(10)[0])
    assert store.is_due()
    assert dispatch(store) == slots(20)
    assert dispatch(store) == []
    end(world, slots(20)[0])
    assert dispatch(store) == slots(30)
    assert not shown(store).queued


def test_the_run_under_way_is_cancelled_and_the_next_one_begins_when_it_has_ended(
    world: World, store: ScheduleStore, clock: Clock
) -> None:
    store.put(KEY_A, ScheduleRule(every_s=10.0, overlap="replace"), TARGET)
    clock.now += 10
    assert dispatch(store) == slots(10)
    clock.now += 10
    found = store.dispatch(100, make)
    assert (started(found), found.cancels) == ([], slots(10))
    world.journal().cancel(found.cancels[0])
    assert dispatch(store) == slots(20)


def test_put_again(world: World, store: ScheduleStore, clock: Clock) -> None:
    """With each deployment: what stays the same goes on."""
    store.put(KEY_A, EACH, TARGET)
    store.pause(KEY_A)
    clock.now += 5
    other = TARGET.model_copy(update={"args": ["new"]})
    store.put(KEY_A, ScheduleRule(every_s=10.0, overlap="allow"), other)
    found = shown(store)
    assert (found.next_at, found.paused, found.rule.overlap) == (BEGIN + 10, True, "allow")
    store.resume(KEY_A)
    clock.now += 5
    assert dispatch(store) == slots(10)
    assert world.row(slots(10)[0]).payload["args"] == ["new"]
    store.put(KEY_A, ScheduleRule(every_s=30.0), TARGET)
    assert shown(store).next_at == BEGIN + 40
    assert len(shown(store).runs) == 1


def test_a_pause_is_not_made_up_for(store: ScheduleStore, clock: Clock) -> None:
    store.put(KEY_A, ScheduleRule(every_s=10.0, catchup="all", overlap="allow"), TARGET)
    store.pause(KEY_A)
    clock.now += 35
    assert not store.is_due()
    assert dispatch(store) == []
    store.resume(KEY_A)
    store.resume(KEY_A)
    assert shown(store).next_at == BEGIN + 40
    clock.now += 5
    assert dispatch(store) == slots(40)


def test_a_person_starts_one(world: World, store: ScheduleStore, clock: Clock) -> None:
    store.put(KEY_A, EACH, TARGET)
    store.pause(KEY_A)
    assert store.trigger(KEY_A, "mine", make) is not None
    assert store.trigger(KEY_A, "mine", make) is None  # its message came twice
    assert world.row("mine").state == "ready"
    store.resume(KEY_A)
    clock.now += 10
    assert dispatch(store) == []  # that one is under way
    assert shown(store).skipped == 1
    assert [run.run_id for run in shown(store).runs] == ["mine"]


@pytest.mark.parametrize("verb", ["pause", "resume", "trigger"])
def test_there_is_none_of_that_name(store: ScheduleStore, verb: str) -> None:
    more: tuple[Any, ...] = ("x", make) if verb == "trigger" else ()
    with pytest.raises(InvalidPayloadError, match="no schedule digest"):
        getattr(store, verb)(KEY_A, *more)
    assert not store.delete(KEY_A)


def test_what_cannot_be_started_is_told_and_tried_again(
    world: World, store: ScheduleStore, clock: Clock
) -> None:
    """It keeps nobody else from starting."""
    store.put(KEY_A, EACH, TARGET)
    store.put(ScheduleKey("", "fine"), EACH, TARGET.model_copy(update={"priority": 1}))
    clock.now += 10

    def some(target: ScheduledRun, run_id: str, tenant: str) -> NewStep:
        return make(target, run_id, tenant) if target.priority == 1 else unmade()

    found = store.dispatch(100, some)
    assert started(found) == slots(10, key=ScheduleKey("", "fine"))
    assert [(key, error.message) for key, error in found.failed] == [(KEY_A, "no such option")]
    assert (shown(store).error, shown(store).next_at) == ("no such option", BEGIN + 10)
    assert dispatch(store) == []
    clock.now += schedules.RETRY_S - 5
    other = ScheduleKey("", "fine")
    store.delete(other)
    assert dispatch(store) == []
    clock.now += 5
    (run_id,) = dispatch(store)  # it was missed by now: the newest one that is due
    assert run_id in slots(*range(10, 80, 10))
    assert shown(store).error is None


def test_two_that_dispatch_at_once_start_each_slot_once(world: World, clock: Clock) -> None:
    stores = [ScheduleStore(world.journal().engine, 10.0, clock) for _ in range(2)]
    rule = ScheduleRule(every_s=10.0, overlap="allow", catchup="all")
    keys = [ScheduleKey("", f"s{n}") for n in range(4)]
    for key in keys:
        stores[0].put(key, rule, TARGET)
    found: list[str] = []
    for _ in range(5):
        clock.now += 20
        barrier = threading.Barrier(2)

        def look(store: ScheduleStore, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            found.extend(started(store.dispatch(3, make)))

        threads = [threading.Thread(target=look, args=(store,)) for store in stores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found += [run_id for _ in range(2) for run_id in dispatch(stores[1])]
    assert sorted(found) == sorted(i for key in keys for i in slots(*range(10, 101, 10), key=key))
    assert runs_in(world) == len(found)


def test_an_answer_that_is_lost_starts_nothing_twice(
    world: World, store: ScheduleStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(KEY_A, EACH, TARGET)
    clock.now += 10
    lose_an_answer(monkeypatch, Dispatched)
    assert dispatch(store) == []
    assert runs_in(world) == 1
    assert shown(store).next_at == BEGIN + 20
    assert world.row(slots(10)[0]).state == "ready"  # recovery wakes it


def test_many_slots_that_were_missed_are_looked_at_in_portions(
    world: World, store: ScheduleStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decide, "SLOTS_MAX", 5)
    store.put(KEY_A, EACH, TARGET)
    clock.now += 3_000
    while store.is_due():
        dispatch(store)
    assert shown(store).next_at == BEGIN + 3_010
    assert shown(store).skipped == 299
    assert runs_in(world) == 1


def test_one_that_is_over_is_cleaned(world: World, store: ScheduleStore, clock: Clock) -> None:
    clock.now = world.clock() - LEFTOVERS_S - 60
    store.put(KEY_A, ScheduleRule(at=clock.now + 1), TARGET)
    store.put(ScheduleKey("", "other"), EACH, TARGET)
    paused = ScheduleKey("", "paused")
    store.put(paused, ScheduleRule(at=clock.now + 1), TARGET)
    store.pause(paused)
    clock.now += 2
    assert len(dispatch(store)) == 1
    assert (shown(store).next_at, store.is_due()) == (None, False)
    keep = Retention(30, 30, 30)
    assert clean_journal(world.engine, keep, batch=100, sleep=lambda _: None) == {"schedules": 1}
    assert [one["name"] for one in store.list("", None, 9)] == ["other", "paused"]


@pytest.fixture
def sealed(journal_url: str) -> Iterator[World]:
    made = World(journal_url, Seals([KEY]))
    yield made
    made.close()


@pytest.mark.databases("both")
def test_its_input_is_encrypted(sealed: World, clock: Clock) -> None:
    store = ScheduleStore(sealed.engine, 10.0, clock)
    store.put(KEY_A, EACH, TARGET)

    def at_rest() -> str:
        with sealed.engine.connect() as c:
            return as_json(c.execute(select(ScheduleRow.target)).scalar_one())

    assert "secret" not in at_rest()
    assert "what is new" not in at_rest()
    newer = World(sealed.url, Seals([OTHER_KEY, KEY]))
    done, left = Encryption(newer.engine).rotate()
    assert (done, left.total()) == (1, 0)
    newer.close()
    newest = World(sealed.url, Seals([OTHER_KEY]))
    clock.now += 10
    later = ScheduleStore(newest.engine, 10.0, clock)
    (run_id,) = dispatch(later)
    assert "secret" not in as_json(sealed.row(run_id).payload)
    payload = opened_payload(Seals([OTHER_KEY]), sealed.row(run_id).payload, run_id)
    assert payload["args"] == TARGET.args
    newest.close()
    blind = World(sealed.url)
    clock.now += 20
    failed = ScheduleStore(blind.engine, 10.0, clock)
    with blind.engine.begin() as c:
        c.execute(update(Run).values(finished_at=1.0))
    assert [key for key, _ in failed.dispatch(9, make).failed] == [KEY_A]
    assert shown(failed).of == "a"
    blind.close()


def test_a_run_that_was_started_by_the_same_slot_before_is_the_same(
    world: World, store: ScheduleStore, clock: Clock
) -> None:
    """As after a schedule was deleted and made again."""
    at = BEGIN + 10
    store.put(KEY_A, ScheduleRule(at=at), TARGET)
    clock.now = at
    assert dispatch(store) == slots(10)
    store.delete(KEY_A)
    store.put(KEY_A, ScheduleRule(at=at), TARGET)
    assert dispatch(store) == []
    with world.engine.connect() as c:
        assert c.execute(select(func.count()).select_from(Step)).scalar_one() == 1
