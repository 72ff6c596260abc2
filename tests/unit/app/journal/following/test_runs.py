"""Subscriptions in the journal: each entry starts one run, whoever serves and whatever fails."""

from __future__ import annotations

import base64
import json
import threading
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import func, select, update

from app.journal.following.poison import ENTRY
from app.journal.following.runs import RunsStarted, Starting
from app.journal.following.store import SubscriptionStore
from app.journal.following.subscribed import Subscribed, SubscriptionKey
from app.journal.schema.models import DeadLetter, Run, StreamCursor
from app.journal.schema.rows import NewEntry, NewStep, entry_run_id
from app.journal.steps.entries import append
from app.journal.stores.encryption import Encryption
from app.journal.stores.letters import Letters
from app.journal.stores.streams import StreamStore
from celery_agents.contracts.flows.schedules import ScheduledRun
from celery_agents.contracts.flows.subscriptions import (
    StreamSet,
    SubscriptionInfo,
    SubscriptionRule,
)
from celery_agents.errors import AgentsError, InvalidPayloadError
from celery_agents.sealing import Seals, opened_payload
from tests.support.fernet import fernet_key
from tests.unit.app.journal.support import World, lose_an_answer, step

KEY = SubscriptionKey("", "refunds")
TARGET = ScheduledRun(
    task="agents.flow", kwargs={"flow": "refund"}, queue="agents", priority=4
).model_dump()


def make(target: ScheduledRun, run_id: str, tenant: str) -> NewStep:
    payload = {"args": target.args, "kwargs": target.kwargs}
    return step(run_id, task=target.task, payload=payload, tenant=tenant, priority=4)


def choosy(target: ScheduledRun, run_id: str, tenant: str) -> NewStep:
    event: Any = target.args[0]
    if event["data"].get("bad"):
        raise InvalidPayloadError("it is bad")
    return make(target, run_id, tenant)


STARTING = Starting(make, 10.0, 100)
CHOOSY = Starting(choosy, 10.0, 100)


@pytest.fixture
def store(world: World) -> SubscriptionStore:
    return SubscriptionStore(world.engine)


def put(
    store: SubscriptionStore,
    key: SubscriptionKey = KEY,
    of: str = "order/*",
    kind: str | None = "paid",
    **rule: Any,
) -> None:
    told = SubscriptionRule.read({"since": "start", **rule})
    store.put(key, Subscribed(StreamSet.of(of), kind, told, "runs", TARGET))


def write(world: World, *data: Any, stream: str = "order/7", **more: Any) -> None:
    about = {"tenant": "", "stream": stream, "kind": "paid", **more}
    new = [NewEntry(**about, data=one if isinstance(one, dict) else {"id": one}) for one in data]
    StreamStore(world.engine).append(about["tenant"], stream, new)


def started(found: RunsStarted) -> list[Any]:
    return [wake.payload["args"][0]["data"]["id"] for wake in found.wakes]


def serve(store: SubscriptionStore, key: SubscriptionKey = KEY) -> list[Any]:
    return started(store.serve(key, STARTING))


def stood(store: SubscriptionStore, key: SubscriptionKey = KEY) -> SubscriptionInfo:
    (found,) = store.listed(*key, 9)
    return SubscriptionInfo.model_validate(found)


def looked_at_next(world: World) -> float:
    with world.engine.begin() as c:
        found = c.execute(select(StreamCursor.look_at)).scalar_one()
    assert found is not None
    return found


def again_at_once(world: World) -> None:
    again_at(world, 0.0)


def again_at(world: World, moment: float) -> None:
    with world.engine.begin() as c:
        c.execute(update(StreamCursor).values(look_at=moment))


def runs_in(world: World) -> int:
    with world.engine.connect() as c:
        return c.execute(select(func.count()).select_from(Run)).scalar_one()


def letters(world: World) -> list[Any]:
    with world.engine.connect() as c:
        return list(c.execute(select(DeadLetter.__table__)))


def test_each_entry_starts_a_run(world: World, store: SubscriptionStore) -> None:
    write(world, 1)
    put(store)
    write(world, 2)
    write(world, 3, kind="seen")
    write(world, 4, stream="orders")
    write(world, 5, stream="order/8")
    write(world, 6, tenant="acme")
    assert store.due("runs", 9) == [KEY]
    found = store.serve(KEY, STARTING)
    assert started(found) == [1, 2, 5]
    row = world.row(found.wakes[0].id)
    assert (row.task, row.state, row.priority) == ("agents.flow", "ready", 4)
    event = row.payload["args"][0]
    assert {**event, "at": 0} == {
        "stream": "order/7",
        "seq": 0,
        "kind": "paid",
        "key": None,
        "at": 0,
        "data": {"id": 1},
        "run_id": None,
    }
    assert store.due("runs", 9) == []
    assert serve(store) == []
    info = stood(store)
    assert (info.served, info.behind, info.what) == (3, 0, "refund")
    assert info.of == "order/*"


def test_a_new_one_begins_with_what_comes(world: World, store: SubscriptionStore) -> None:
    write(world, 1)
    put(store, since="now")
    assert serve(store) == []
    write(world, 2)
    assert stood(store).behind == 1
    put(store, since="start")  # said again: it goes on where it stands
    assert serve(store) == [2]


def test_several_subscribers_have_a_run_each(world: World, store: SubscriptionStore) -> None:
    mails = SubscriptionKey("", "mails")
    put(store)
    put(store, mails, of="*", kind=None)
    write(world, 9, stream="flow/x")  # the service's own
    write(world, 1)
    assert serve(store) == serve(store, mails) == [1]
    assert runs_in(world) == 2


def test_entries_of_the_same_key_start_one(world: World, store: SubscriptionStore) -> None:
    rule = SubscriptionRule.read({"since": "start", "key": "{data[id]}"})
    store.put(KEY, Subscribed(StreamSet.of("order/*"), None, rule, "runs", TARGET))
    write(world, "a", "b", "a")
    assert serve(store) == ["a", "b"]
    write(world, "b", "c")
    assert serve(store) == ["c"]
    assert stood(store).served == 5


def test_one_that_is_paused_loses_nothing(world: World, store: SubscriptionStore) -> None:
    put(store)
    store.pause(KEY)
    write(world, 1)
    assert store.due("runs", 9) == []
    assert serve(store) == []
    put(store)  # a pause stays
    assert stood(store).paused
    store.resume(KEY)
    assert serve(store) == [1]
    assert store.delete(KEY)
    assert not store.delete(KEY)
    with pytest.raises(InvalidPayloadError, match="no subscription refunds"):
        store.resume(KEY)


def test_poison_becomes_a_letter_and_the_rest_goes_on(
    world: World, store: SubscriptionStore
) -> None:
    put(store, failures_max=3)
    write(world, 1, {"id": 2, "bad": True}, 3)
    assert started(store.serve(KEY, CHOOSY)) == [1]
    for failures in (1, 2):
        begun = world.clock()
        found = store.serve(KEY, CHOOSY)
        assert found.wakes == []
        assert found.error is not None
        info = stood(store)
        assert (info.failures, info.error, info.behind) == (failures, "it is bad", 2)
        assert looked_at_next(world) > begun + 0.9
        again_at(world, 2**40)
        assert store.serve(KEY, CHOOSY).error is None  # not before its time
        again_at_once(world)
    store.serve(KEY, CHOOSY)
    assert started(store.serve(KEY, CHOOSY)) == [3]
    info = stood(store)
    assert (info.passed, info.failures, info.error, info.served) == (1, 0, None, 2)
    (letter,) = letters(world)
    assert (letter.cause, letter.reason, letter.task) == (ENTRY, "it is bad", "agents.flow")
    assert Letters(world.engine).listed(9)[0]["id"] == letter.id
    # It is served after all, once what was wrong is mended.
    (wake,) = store.start_again(KEY, letter_pos(letter), STARTING, letter.id)
    assert wake.payload["args"][0]["data"]["id"] == 2
    assert letters(world) == []
    assert store.start_again(KEY, letter_pos(letter), STARTING, letter.id) == []


def letter_pos(letter: Any) -> int:
    return int(json.loads(base64.b64decode(letter.raw))["pos"])


def test_poison_may_stop_a_subscription(world: World, store: SubscriptionStore) -> None:
    put(store, failures_max=1, poison="stop")
    write(world, {"id": 1, "bad": True}, 2)
    store.serve(KEY, CHOOSY)
    assert len(letters(world)) == 1
    assert (stood(store).paused, stood(store).behind) == (True, 2)
    store.resume(KEY)
    assert serve(store) == [1, 2]


def test_a_key_that_an_event_has_not_is_poison(world: World, store: SubscriptionStore) -> None:
    rule = SubscriptionRule.read({"since": "start", "key": "{data[no]}", "failures_max": 1})
    store.put(KEY, Subscribed(StreamSet.of("order/*"), None, rule, "runs", TARGET))
    write(world, 1)
    assert serve(store) == []
    assert "no {data[no]}" in letters(world)[0].reason


def test_who_serves_at_once_starts_each_once(world: World, store: SubscriptionStore) -> None:
    put(store)
    for n in range(8):
        write(world, *range(n * 50, n * 50 + 50), stream=f"order/{n}")
    found: list[Any] = []

    def work() -> None:
        for _ in range(8):
            found.extend(serve(store))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(400))
    assert runs_in(world) == 400
    assert stood(store).served == 400


def test_an_answer_that_is_lost_starts_none_twice(
    world: World, store: SubscriptionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store)
    write(world, 1, 2)
    lose_an_answer(monkeypatch)
    serve(store)
    assert runs_in(world) == 2
    assert stood(store).served == 2


@pytest.mark.databases("postgres")
def test_what_is_being_written_is_served_when_it_is(world: World, store: SubscriptionStore) -> None:
    """On PostgreSQL a later one may be committed before it; on SQLite nobody else writes."""
    if world.engine.dialect.name == "sqlite":
        return
    put(store)
    late = NewEntry("", "order/1", "paid", {"id": "late"})
    with world.engine.begin() as connection:
        append(connection, [late])
        write(world, "early", stream="order/2")
        assert serve(store) == []
    assert serve(store) == ["late", "early"]


def test_a_run_is_named_by_the_entry() -> None:
    assert entry_run_id("", "a", 1, 5.0) == entry_run_id("", "a", 1, 5.0)
    ids = {entry_run_id(*about, 5.0) for about in (("", "a", 1), ("", "a", 2), ("t", "a", 1))}
    assert len(ids) == 3


def test_a_followers_cursor_is_no_subscription(world: World, store: SubscriptionStore) -> None:
    streams = StreamStore(world.engine)
    write(world, 1)
    streams.follow("", "mine", "order/", 9)
    with pytest.raises(InvalidPayloadError, match="another cursor's"):
        put(store, SubscriptionKey("", "mine"))
    put(store)
    with pytest.raises(InvalidPayloadError, match="is a subscription's"):
        streams.follow("", "refunds", "order/", 9)
    assert not streams.forget("", "refunds")
    assert stood(store).behind == 1


@pytest.mark.databases("both")
def test_where_values_are_encrypted(journal_url: str) -> None:
    """What is started, events and the inputs of runs; rotated they are read by the new key."""
    old, new = fernet_key("old"), fernet_key("new")
    world = World(journal_url, Seals((old,)))
    store = SubscriptionStore(world.engine)
    told = SubscriptionRule.read({"since": "start"})
    target = {**TARGET, "kwargs": {"flow": "refund", "context": "hidden"}}
    store.put(KEY, Subscribed(StreamSet.of("order/*"), None, told, "runs", target))
    write(world, {"id": "hidden"})
    with world.engine.connect() as c:
        kept = c.execute(select(StreamCursor.target)).scalar_one()
    assert "hidden" not in str(kept)
    world.close()
    rotated = World(journal_url, Seals((new, old)))
    Encryption(rotated.engine).rotate()
    rotated.close()
    fresh = World(journal_url, Seals((new,)))
    again = SubscriptionStore(fresh.engine)
    (wake,) = again.serve(KEY, STARTING).wakes
    payload = fresh.row(wake.id).payload
    assert "hidden" not in str(payload)
    assert opened_payload(Seals((new,)), payload, wake.id)["args"][0]["data"] == {"id": "hidden"}
    fresh.close()


def test_no_more_than_there_is_room_for(world: World, store: SubscriptionStore) -> None:
    put(store)
    write(world, *range(9))
    room = iter([3, 0, 100])
    little = Starting(make, 10.0, 100, lambda _: next(room))
    found = store.serve(KEY, little)
    assert (started(found), found.more) == ([0, 1, 2], True)
    found = store.serve(KEY, little)
    assert (started(found), found.more, stood(store).behind) == ([], False, 6)
    assert started(store.serve(KEY, little)) == [*range(3, 9)]


def test_one_without_room_keeps_its_turn_and_holds_up_no_other_queue(
    world: World, store: SubscriptionStore
) -> None:
    other = SubscriptionKey("", "a")
    put(store)
    put(store, other)
    write(world, 1)
    assert store.due("runs", 1) == [KEY]
    assert store.serve(KEY, Starting(make, 10.0, 100, lambda _: 0)).full == "agents"
    assert store.due("runs", 1) == [KEY]
    assert store.due("runs", 9, {"agents"}) == []
    assert store.due("runs", 9, {"others"}) == [KEY, other]
    store.serve(KEY, STARTING)
    assert store.due("runs", 1) == [other]


def test_whatever_fails_for_an_entry_is_poison(world: World, store: SubscriptionStore) -> None:
    def odd(target: ScheduledRun, run_id: str, tenant: str) -> NewStep:
        if target.args[0]["data"]["id"] == 1:  # type: ignore[index,call-overload]
            raise KeyError("odd")
        return make(target, run_id, tenant)

    put(store, failures_max=1)
    write(world, 1, 2)
    starting = Starting(odd, 10.0, 100)
    assert started(store.serve(KEY, starting)) == []
    assert started(store.serve(KEY, starting)) == [2]
    assert letters(world)[0].reason == "KeyError: 'odd'"


@pytest.mark.parametrize(
    "odd",
    [
        {"rule": {"of a newer": "version"}},
        {"target": {"queue": None, "newer": 1}},
        {"target": None},
        {"serves": "newer"},
        {"kind": None, "of": None, "target": {"newer": {}}},
    ],
)
@pytest.mark.databases("both")
def test_one_of_a_newer_version_is_left_and_listed(
    world: World, store: SubscriptionStore, odd: dict[str, Any]
) -> None:
    """No event of it becomes a dead letter: another worker may know what it says."""
    other = SubscriptionKey("", "z")
    put(store)
    put(store, other)
    write(world, 1)
    with world.engine.begin() as c:
        c.execute(update(StreamCursor).where(StreamCursor.name == KEY.name).values(odd))
    with suppress(AgentsError, TypeError, LookupError, AttributeError):
        assert serve(store) == []
    assert letters(world) == []
    found = [SubscriptionInfo.read(one) for one in store.listed("", None, 9)]
    assert [one.name for one in found] == [KEY.name, "z"]
    assert found[1].serves == "runs"
    assert found[1].behind == 1
    if "rule" in odd or "serves" in odd:
        assert found[0].serves == "unknown"
        assert "newer version" in str(found[0].error)


def test_one_that_is_put_off_has_its_turn_later(world: World, store: SubscriptionStore) -> None:
    other = SubscriptionKey("", "z")
    put(store)
    put(store, other)
    write(world, 1)
    store.put_off(KEY, "no token=hunter2abc")
    assert store.due("runs", 9) == [other]
    info = stood(store)
    assert (info.failures, info.passed) == (0, 0)
    assert "hunter2" not in str(info.error)
    again_at_once(world)
    assert serve(store) == [1]
    assert stood(store).error is None
    store.pause(KEY)
    store.put_off(KEY, "no")
    assert stood(store).paused
