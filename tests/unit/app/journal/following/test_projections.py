"""Projections and states of streams: each entry once, rebuilt they are what they were."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import event as on_event
from sqlalchemy import select, text, update
from sqlalchemy.exc import DBAPIError

from app.journal.following import projections
from app.journal.following.projections import Page, Projecting
from app.journal.following.snapshots import Reducing
from app.journal.following.store import SubscriptionStore
from app.journal.following.subscribed import Subscribed, SubscriptionKey
from app.journal.schema.models import DeadLetter, Snapshot, StreamCursor
from app.journal.stores.encryption import Encryption
from app.journal.stores.streams import StreamStore
from celery_agents.contracts.flows.subscriptions import (
    StreamSet,
    SubscriptionInfo,
    SubscriptionRule,
)
from celery_agents.errors import InvalidPayloadError
from celery_agents.sealing import Seals
from tests.support.fernet import fernet_key
from tests.unit.app.journal.following.test_runs import write
from tests.unit.app.journal.support import World, lose_an_answer

KEY = SubscriptionKey("", "sums")


class Sums:
    """A table with a sum for each stream, and the projection that writes it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.store = SubscriptionStore(world.engine)
        self.given: list[Any] = []
        self.fails = False
        with world.engine.begin() as c:
            c.execute(text("DROP TABLE IF EXISTS sums"))
            c.execute(text("CREATE TABLE sums (stream text PRIMARY KEY, sum integer)"))

    def apply(self, event: dict[str, Any], connection: Any) -> None:
        about = {"s": event["stream"], "n": event["data"]["id"]}
        connection.execute(
            text(
                "INSERT INTO sums VALUES (:s, :n) ON CONFLICT (stream) "
                "DO UPDATE SET sum = sums.sum + excluded.sum"
            ),
            about,
        )
        if self.fails and event["data"]["id"] == 13:
            raise ValueError("unlucky")

    def outside(self, event: dict[str, Any], _: Any) -> None:
        self.given.append(event["data"]["id"])
        if self.fails and event["data"]["id"] == 13:
            raise ValueError("unlucky")

    def reset(self, connection: Any) -> None:
        if connection is None:
            self.given.clear()
        else:
            connection.execute(text("DELETE FROM sums"))

    def how(self, version: int = 1, *, inside: bool = True) -> Projecting:
        apply = self.apply if inside else self.outside
        return Projecting(version, apply, self.reset, inside, 100)

    def register(self, version: int = 1, **rule: Any) -> None:
        told = SubscriptionRule.read({"since": "start", **rule})
        wanted = Subscribed(StreamSet.of("order/*"), None, told, "projection", {"version": version})
        self.store.register(KEY, wanted)

    def project(self, how: Projecting | None = None) -> Page:
        found = Page(more=True)
        while found.more and found.error is None:
            found = self.store.project(KEY, how or self.how())
        return found

    def table(self) -> dict[str, int]:
        with self.world.engine.connect() as c:
            return {row.stream: row.sum for row in c.execute(text("SELECT * FROM sums"))}

    def stood(self) -> SubscriptionInfo:
        return SubscriptionInfo.model_validate(self.store.listed(*KEY, 9)[0])

    def at_once(self) -> None:
        with self.world.engine.begin() as c:
            c.execute(update(StreamCursor).values(look_at=0.0))


@pytest.fixture
def sums(world: World) -> Iterator[Sums]:
    made = Sums(world)
    yield made
    with world.engine.begin() as c:
        c.execute(text("DROP TABLE sums"))


def test_each_entry_counts_once(world: World, sums: Sums) -> None:
    write(world, 1, 2)
    sums.register()
    write(world, 5, stream="order/8")
    write(world, 100, stream="other")
    assert sums.store.due("projection", 9) == [KEY]
    sums.project()
    assert sums.table() == {"order/7": 3, "order/8": 5}
    write(world, *range(250))
    sums.project()
    assert sums.table() == {"order/7": 3 + sum(range(250)), "order/8": 5}
    info = sums.stood()
    assert (info.serves, info.version, info.served, info.behind) == ("projection", 1, 253, 0)


def test_several_workers_and_a_lost_answer(
    world: World, sums: Sums, monkeypatch: pytest.MonkeyPatch
) -> None:
    sums.register()
    write(world, *range(400))
    lose_an_answer(monkeypatch, Page)
    threads = [threading.Thread(target=sums.project) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sums.project()
    assert sums.table() == {"order/7": sum(range(400))}


@pytest.mark.databases("both")
def test_rebuilt_it_is_what_it_was(world: World, sums: Sums) -> None:
    sums.register()
    write(world, *range(120))
    sums.project()
    before = sums.table()
    with world.engine.begin() as c:
        c.execute(text("UPDATE sums SET sum = 0"))
    sums.store.rebuild(KEY)
    sums.project()
    assert sums.table() == before
    assert sums.stood().served == 120
    with pytest.raises(InvalidPayloadError, match="no projection nobody"):
        sums.store.rebuild(SubscriptionKey("", "nobody"))


def test_a_greater_version_begins_anew_and_an_older_worker_leaves_it(
    world: World, sums: Sums
) -> None:
    sums.register()
    write(world, 1, 2)
    sums.project()
    sums.register(2)
    sums.register(1)
    assert sums.project(sums.how(1)).given == 0
    assert sums.table() == {"order/7": 3}
    sums.project(sums.how(2))
    assert sums.table() == {"order/7": 3}
    assert sums.stood().served == 2
    sums.register(2)  # again, as at each start: it goes on
    assert sums.stood().behind == 0


def test_poison_leaves_nothing_behind(world: World, sums: Sums) -> None:
    sums.fails = True
    sums.register(failures_max=2)
    write(world, 1, 13, 2)
    assert sums.project().given == 1
    sums.project()
    assert sums.stood().failures == 1
    assert sums.table() == {"order/7": 1}
    sums.at_once()
    sums.project()
    sums.project()
    assert sums.table() == {"order/7": 3}
    assert sums.stood().passed == 1
    with world.engine.connect() as c:
        (letter,) = c.execute(select(DeadLetter.__table__)).all()
    assert (letter.reason, letter.task) == ("ValueError: unlucky", "projection sums")


def test_a_page_has_one_savepoint_as_long_as_none_fails(world: World, sums: Sums) -> None:
    sums.register(failures_max=9)
    write(world, *range(10), 14, 15)
    savepoints: list[str] = []
    on_event.listen(world.engine, "savepoint", lambda _, name: savepoints.append(name))
    sums.project()
    assert len(savepoints) == 1
    sums.fails = True
    write(world, 1, 13)
    assert sums.project().given == 1
    assert len(savepoints) == 1 + 1 + 2


@pytest.mark.databases("both")
def test_what_fails_is_undone_though_the_function_hides_it(world: World, sums: Sums) -> None:
    """On PostgreSQL the transaction is of no use then; the one that hid it has failed."""
    sums.register(failures_max=9)
    write(world, 1, 13, 2)

    def hides(event: dict[str, Any], connection: Any) -> None:
        sums.apply(event, connection)
        if event["data"]["id"] == 13:
            with suppress(DBAPIError):
                connection.execute(text("SELECT nothing FROM nowhere"))

    found = sums.project(Projecting(1, hides, sums.reset, True, 100))
    if world.engine.dialect.name == "sqlite":
        assert sums.table() == {"order/7": 16}
    else:
        assert (found.given, sums.table()) == (1, {"order/7": 1})
        assert sums.stood().served == 1


def test_a_page_ends_with_its_time(
    world: World, sums: Sums, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projections, "WORK_S", 0.05)
    sums.register()
    write(world, *range(30))

    def slow(event: dict[str, Any], connection: Any) -> None:
        time.sleep(0.02)
        sums.apply(event, connection)

    how = Projecting(1, slow, sums.reset, True, 100)
    found = sums.store.project(KEY, how)
    assert 0 < found.given <= 3
    assert found.more
    assert sums.stood().served == found.given
    sums.project(how)
    assert (sums.table(), sums.stood().served) == ({"order/7": sum(range(30))}, 30)


@pytest.mark.parametrize("how", ["idle", "statement"])
@pytest.mark.databases("postgres")
def test_one_that_blocks_holds_up_no_follower(
    world: World, sums: Sums, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """PostgreSQL ends its transaction, the others' entries are kept, and its entry has failed."""
    if world.engine.dialect.name == "sqlite":
        pytest.skip("it reads beside its writer")
    monkeypatch.setattr(projections, "BLOCKED_S", 0.5)
    sums.register(failures_max=2)
    write(world, 1, 13, 2)

    def blocks(event: dict[str, Any], connection: Any) -> None:
        sums.apply(event, connection)
        if event["data"]["id"] == 13 and how == "idle":
            time.sleep(1.5)
        elif event["data"]["id"] == 13:
            connection.execute(text("SELECT pg_sleep(30)"))

    asked, begun = Projecting(1, blocks, sums.reset, True, 100), time.monotonic()
    assert sums.store.project(KEY, asked).given == 1
    assert sums.table() == {"order/7": 1}
    for _ in range(2):
        assert sums.store.project(KEY, asked).given == 0
        sums.at_once()
    assert (sums.stood().passed, sums.stood().served) == (1, 1)
    sums.project(asked)
    assert sums.table() == {"order/7": 3}
    assert time.monotonic() - begun < 25


def test_one_that_writes_elsewhere(world: World, sums: Sums) -> None:
    sums.register()
    write(world, 1, 2)
    how = sums.how(inside=False)
    sums.project(how)
    assert sums.given == [1, 2]
    sums.fails = True
    write(world, 3, 13, 4)
    found = sums.project(how)
    assert isinstance(found.error, ValueError)
    assert sums.given == [1, 2, 3, 13]
    sums.fails = False
    sums.at_once()
    sums.project(how)
    assert sums.given == [1, 2, 3, 13, 13, 4]
    sums.store.rebuild(KEY)
    sums.project(how)
    assert sums.given == [1, 2, 3, 13, 4]


def test_who_was_overtaken_moves_no_cursor(world: World, sums: Sums) -> None:
    """One that writes elsewhere was frozen so long that another was given its page."""
    sums.register()
    write(world, 1, 2)
    fast = sums.how(inside=False)

    def slow(event: dict[str, Any], _: Any) -> None:
        if event["data"]["id"] == 1:
            sums.at_once()
            sums.project(fast)
            write(world, 3)

    sums.store.project(KEY, Projecting(1, slow, sums.reset, False, 100))
    assert sums.stood().served == 2
    sums.project(fast)
    assert sums.given == [1, 2, 3]


def balance(state: Any, event: dict[str, Any]) -> Any:
    return (state or 0) + event["data"]["id"]


def snapshots(world: World) -> list[tuple[int, int]]:
    with world.engine.connect() as c:
        rows = c.execute(select(Snapshot.version, Snapshot.seq))
        return [(row.version, row.seq) for row in rows]


def test_a_state_is_kept_on_the_way(world: World) -> None:
    store, folded = StreamStore(world.engine), list[int]()

    def fold(state: Any, event: dict[str, Any]) -> Any:
        folded.append(event["seq"])
        return balance(state, event)

    how = Reducing("balance", 1, 10, fold)
    assert store.state("", "order/7", how).seq == -1
    write(world, *range(9))
    assert store.state("", "order/7", how).state == 36
    assert snapshots(world) == []
    write(world, 9)
    assert store.state("", "order/7", how).state == 45
    assert snapshots(world) == [(1, 9)]
    folded.clear()
    write(world, 1)
    found = store.state("", "order/7", how)
    assert (found.state, found.seq, folded) == (46, 10, [10])
    # A newer version makes it anew, and an older one does not take its place.
    twice = Reducing("balance", 2, 10, lambda state, e: balance(state, e) + e["data"]["id"])
    assert store.state("", "order/7", twice).state == 92
    assert store.state("", "order/7", how).state == 46
    assert snapshots(world) == [(2, 10)]
    store.delete("", "order/7")
    assert snapshots(world) == []


def test_a_reducer_that_fails_is_told(world: World) -> None:
    write(world, 1)
    how = Reducing("odd", 1, 10, lambda _, e: e["data"]["none"])
    with pytest.raises(InvalidPayloadError, match="odd failed at place 0 of order/7"):
        StreamStore(world.engine).state("", "order/7", how)


def test_a_state_is_encrypted(journal_url: str) -> None:
    old, new = fernet_key("old"), fernet_key("new")
    world = World(journal_url, Seals((old,)))
    store, how = StreamStore(world.engine), Reducing("last", 1, 1, lambda _, e: e["data"]["id"])
    write(world, "secret")
    assert store.state("", "order/7", how).state == "secret"
    with world.engine.connect() as c:
        assert "secret" not in str(c.execute(select(Snapshot.state)).scalar_one())
    world.close()
    rotated = World(journal_url, Seals((new, old)))
    Encryption(rotated.engine).rotate()
    rotated.close()
    fresh = World(journal_url, Seals((new,)))
    assert StreamStore(fresh.engine).state("", "order/7", how).state == "secret"
    fresh.close()
