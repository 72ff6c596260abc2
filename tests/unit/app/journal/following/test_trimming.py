"""Trimming streams: by age and by bytes; nobody stops it, and who has missed something is told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import delete, select, update

from app.journal.following import trimming
from app.journal.following.snapshots import Reducing
from app.journal.following.store import SubscriptionStore
from app.journal.schema.models import DeadLetter, Entry, StreamRule
from app.journal.schema.rows import NewEntry
from app.journal.schema.transactions import in_transaction
from app.journal.steps.entries import append
from app.journal.stores.streams import StreamStore
from celery_agents.contracts.flows.subscriptions import StreamLimits, StreamSet
from celery_agents.errors import InvalidPayloadError
from tests.unit.app.journal.following.test_projections import balance
from tests.unit.app.journal.following.test_runs import put, serve, stood, write
from tests.unit.app.journal.support import World

ORDERS = StreamSet.of("order/*")
DAY = StreamLimits(keep_s=86_400.0)


@pytest.fixture
def streams(world: World) -> StreamStore:
    return StreamStore(world.engine)


def age(world: World, *seqs: int, stream: str = "order/7") -> None:
    """Let entries be two days old."""
    with world.engine.begin() as c:
        these = (Entry.stream == stream) & Entry.seq.in_(seqs)
        c.execute(update(Entry).where(these).values(at=Entry.at - 2 * 86_400))


def trim(streams: StreamStore, tenant: str = "") -> int:
    return sum(streams.trim(tenant, rule["of"])[0] for rule in streams.kept(tenant))


def read(streams: StreamStore, stream: str = "order/7") -> list[Any]:
    return [(e["seq"], e["data"]["id"]) for e in streams.read("", stream, -1, 100)]


def test_old_ones_go(world: World, streams: StreamStore) -> None:
    write(world, 1, 2, 3)
    write(world, 9, stream="other")
    age(world, 0, 1)
    age(world, 0, stream="other")
    assert trim(streams) == 0
    streams.keep("", ORDERS, DAY)
    assert trim(streams) == 2
    assert trim(streams) == 0
    assert read(streams) == [(2, 3)]
    assert read(streams, "other") == [(0, 9)]
    assert streams.kept("") == [
        {"of": "order/*", "tenant": "", "trimmed": 2, "limits": DAY.model_dump()}
    ]
    streams.keep("", ORDERS, None)
    assert streams.kept("") == []


def test_a_place_is_never_given_twice(world: World, streams: StreamStore) -> None:
    write(world, 1, 2)
    age(world, 0, 1)
    streams.keep("", ORDERS, DAY)
    trim(streams)
    write(world, 3)
    assert read(streams) == [(2, 3)]
    age(world, 2)
    trim(streams)
    write(world, 4)
    assert read(streams) == [(3, 4)]


def test_bytes_have_room_for_the_newest(world: World, streams: StreamStore) -> None:
    write(world, *(f"{n}{'x' * 99}" for n in range(9)))
    streams.keep("", ORDERS, StreamLimits(keep_bytes=350))
    assert trim(streams) == 6
    assert [seq for seq, _ in read(streams)] == [6, 7, 8]
    write(world, "y" * 100, stream="order/8")
    assert trim(streams) == 1
    assert [seq for seq, _ in read(streams)] == [7, 8]


def test_a_follower_who_was_away_is_told_once(world: World, streams: StreamStore) -> None:
    def follow(*more: Any, **told: Any) -> Any:
        return streams.follow("", "mine", "order/", 100, *more, **told)

    write(world, 1)
    found, last = follow()
    assert len(found) == 1
    assert follow(last)[0] == []
    write(world, 2, 3, 4)
    write(world, 5, stream="other")
    age(world, 0, 1, 2)
    streams.keep("", ORDERS, DAY)
    trim(streams)
    (gap, entry), last = follow()
    assert (gap["kind"], gap["seq"], gap["data"]) == ("gap", -1, {"missed": 2})
    assert entry["data"] == {"id": 4}
    assert follow()[0][0]["data"] == {"missed": 2}  # until it is done
    assert follow(last, told=2)[0] == []
    assert follow()[0] == []


def test_a_gap_with_nothing_behind_it(world: World, streams: StreamStore) -> None:
    streams.follow("", "mine", "order/", 100)
    write(world, 1)
    age(world, 0)
    streams.keep("", ORDERS, DAY)
    trim(streams)
    (gap,), last = streams.follow("", "mine", "order/", 100)
    assert gap["data"] == {"missed": 1}
    assert streams.follow("", "mine", "order/", 100, last, told=1)[0] == []


def test_an_abandoned_subscription_stops_nothing_and_people_are_told(
    world: World, streams: StreamStore
) -> None:
    store = SubscriptionStore(world.engine)
    put(store)  # of the kind "paid" alone
    write(world, 1, 2)
    write(world, 3, kind="seen")
    write(world, 4)
    age(world, 0, 1, 2)
    streams.keep("", ORDERS, DAY)
    assert trim(streams) == 3
    assert stood(store).lost == 2
    assert serve(store) == [4]
    assert serve(store) == []
    with world.engine.connect() as c:
        (letter,) = c.execute(select(DeadLetter.__table__)).all()
    assert letter.cause == "gap"
    assert letter.reason.startswith("2 entries of order/*")
    assert (stood(store).lost, stood(store).served) == (2, 1)


def test_a_state_is_made_of_all_or_not_at_all(world: World, streams: StreamStore) -> None:
    kept = Reducing("balance", 1, 2, balance)
    write(world, 1, 2)
    assert streams.state("", "order/7", kept).state == 3
    write(world, 3)
    age(world, 0, 1)
    streams.keep("", ORDERS, DAY)
    trim(streams)
    assert streams.state("", "order/7", kept).state == 6
    with pytest.raises(InvalidPayloadError, match="before place 2 were trimmed"):
        streams.state("", "order/7", Reducing("balance", 2, 2, balance))
    age(world, 2)
    trim(streams)
    with pytest.raises(InvalidPayloadError, match="were trimmed"):
        streams.state("", "order/7", Reducing("other", 1, 2, balance))


def test_one_look_takes_some_pages_and_says_that_there_is_more(
    world: World, streams: StreamStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trimming, "PAGE", 10)
    write(world, *range(55))
    age(world, *range(54))
    streams.keep("", ORDERS, DAY)
    assert streams.trim("", "order/*", 2) == (20, True)
    assert streams.trim("", "order/*", 5) == (34, False)
    assert read(streams) == [(54, 54)]
    assert streams.kept("")[0]["trimmed"] == 54
    assert streams.trim("", "nobody", 4) == (0, False)


@pytest.mark.databases("both")
def test_rules_of_the_same_entries_that_are_trimmed_at_once(
    world: World, streams: StreamStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each entry goes once, is counted once and missed once; and no place is given again."""
    monkeypatch.setattr(trimming, "PAGE", 7)
    store = SubscriptionStore(world.engine)
    put(store)
    for stream in range(6):
        write(world, *range(50), stream=f"order/{stream}")
        age(world, *range(50), stream=f"order/{stream}")
    rules = ["*", "order/*", *(f"order/{stream}" for stream in range(6))]
    for of in rules:
        streams.keep("", StreamSet.of(of), DAY)
    gone = list[int]()

    def work(of: str) -> None:
        while (found := streams.trim("", of, 1))[1]:
            gone.append(found[0])

    threads = [threading.Thread(target=work, args=(of,)) for of in rules]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(gone) == sum(rule["trimmed"] for rule in streams.kept("")) == 300
    assert stood(store).lost == 300
    for stream in range(6):
        write(world, "new", stream=f"order/{stream}")
        assert read(streams, f"order/{stream}") == [(50, "new")]


def write_with_others(world: World, one: Any) -> None:
    """As :func:`write`, amid a transaction: the ordinary way."""
    new = NewEntry("", "order/7", "paid", {"id": one})
    in_transaction(world.engine, lambda c: append(c, [new]))


@pytest.mark.parametrize("add", [write, write_with_others])
def test_places_of_a_stream_whose_later_entry_went_first(
    world: World, streams: StreamStore, add: Callable[[World, Any], None]
) -> None:
    """By the order of all a stream's last entry may go while the one ahead of it is kept."""
    write(world, 1, 2, 3)
    age(world, 2)
    streams.keep("", ORDERS, DAY)
    assert trim(streams) == 1
    add(world, 4)
    assert read(streams) == [(0, 1), (1, 2), (3, 4)]
    add(world, 5)
    assert read(streams)[-1] == (4, 5)


def test_what_stays_for_now_goes_when_its_time_comes(world: World, streams: StreamStore) -> None:
    """Entries are not of the age that their order says: what was passed by is not forgotten."""
    write(world, 1, 2, 3)
    age(world, 1)
    streams.keep("", ORDERS, DAY)
    assert trim(streams) == 1
    age(world, 0)
    assert trim(streams) == 1
    assert read(streams) == [(2, 3)]


def test_a_limit_that_is_lifted_meanwhile_holds(world: World, streams: StreamStore) -> None:
    write(world, 1)
    age(world, 0)
    streams.keep("", ORDERS, DAY)
    what = in_transaction(world.engine, lambda c: trimming.over(c, "", "order/*"))
    assert what is not None
    streams.keep("", ORDERS, StreamLimits(keep_s=9 * 86_400.0))
    assert in_transaction(world.engine, lambda c: trimming.trim(c, what)) == -1
    with world.engine.begin() as c:
        c.execute(delete(StreamRule))
    assert in_transaction(world.engine, lambda c: trimming.trim(c, what)) == -1
    assert read(streams) == [(0, 1)]


def test_who_follows_the_services_own_streams_stops_nothing(
    world: World, streams: StreamStore
) -> None:
    streams.follow("", "mine", "flow/", 9)
    streams.follow("", "odd", "or*der", 9)
    write(world, 1)
    age(world, 0)
    streams.keep("", ORDERS, DAY)
    assert trim(streams) == 1
