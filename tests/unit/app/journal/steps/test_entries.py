from __future__ import annotations

import threading
from typing import Any

import pytest
from sqlalchemy import event, select, text

from app.journal import Journal
from app.journal.queries.entries import BEGINNING, Position
from app.journal.schema.models import Entry
from app.journal.schema.rows import NewEntry
from app.journal.steps.entries import append, there
from app.journal.stores.streams import StreamStore
from celery_agents.errors import StreamConflictError
from tests.support.drawn import costly
from tests.unit.app.journal.support import (
    DONE,
    FAILED,
    SOON,
    OnPostgres,
    World,
    claimed,
    lose_an_answer,
    meanwhile,
    step,
)

FEW = 100
#: Entries of one stream: far above what a scan could be right for.
MANY = costly(100_000, part=2)
_MANY = text(
    "INSERT INTO entries (tenant, stream, seq, kind, key, data, tokens, at) "
    "SELECT '', :stream, n, 'paid', 'key-' || n, '{}', 0, n "
    "FROM generate_series(0, :count - 1) AS n"
)


def entry(number: int = 0, stream: str = "order/7", **more: Any) -> NewEntry:
    return NewEntry(
        **{"tenant": "", "stream": stream, "kind": "paid", "data": {"n": number}, **more}
    )


def add(journal: Journal, *new: NewEntry, expected: int | None = None) -> list[tuple[int, bool]]:
    placed = journal.streams.append("", new[0].stream, new, expected)
    return [(one.seq, one.known) for one in placed]


def told(journal: Journal, stream: str = "order/7", after: int = -1) -> list[tuple[int, Any]]:
    found = journal.streams.read("", stream, after, FEW)
    return [(e["seq"], e["data"]["n"]) for e in found]


def followed(journal: Journal, of: str = "", done: Position | None = None) -> Any:
    found, last = journal.streams.follow("", "reader", of, FEW, done)
    return [e["data"]["n"] for e in found], last


class TestAppend:
    def test_entries_stand_in_places_without_gaps(self, journal: Journal) -> None:
        assert add(journal, entry(1), entry(2)) == [(0, False), (1, False)]
        assert add(journal, entry(3)) == [(2, False)]
        assert add(journal, entry(4, "other")) == [(0, False)]
        assert told(journal) == [(0, 1), (1, 2), (2, 3)]
        assert told(journal, after=1) == [(2, 3)]

    def test_one_of_a_kind_and_key_is_there_once(self, journal: Journal) -> None:
        add(journal, entry(1, key="a"))
        again = add(journal, entry(2, key="a"), entry(3, key="b"), entry(4, key="b"))
        assert again == [(0, True), (1, False), (1, True)]
        assert add(journal, entry(5, key="a", kind="sent")) == [(2, False)]  # another kind
        assert add(journal, entry(6, "other", key="a")) == [(0, False)]  # another stream
        assert told(journal) == [(0, 1), (1, 3), (2, 5)]

    def test_who_expects_another_length_adds_nothing(self, journal: Journal) -> None:
        add(journal, entry(1), expected=0)
        with pytest.raises(StreamConflictError) as refused:
            add(journal, entry(2), expected=0)
        assert refused.value.details == {"length": 1}
        assert told(journal) == [(0, 1)]
        assert add(journal, entry(2), expected=1) == [(1, False)]

    def test_a_commit_whose_answer_is_lost_is_not_made_twice(
        self, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lose_an_answer(monkeypatch, list)
        assert add(journal, entry(1, key="a"), expected=0) == [(0, True)]
        assert told(journal) == [(0, 1)]

    def test_tenants_have_streams_of_their_own(self, journal: Journal) -> None:
        journal.streams.append("one", "order/7", [entry(1, tenant="one")])
        assert told(journal) == []
        assert [e["data"] for e in journal.streams.read("one", "order/7", -1, FEW)] == [{"n": 1}]

    def test_a_deleted_stream_begins_anew(self, journal: Journal) -> None:
        add(journal, entry(1), entry(2))
        assert journal.streams.delete("", "order/7") == 2
        assert add(journal, entry(3)) == [(0, False)]


class TestWithAStep:
    def test_the_end_of_a_step_brings_its_entries(self, journal: Journal) -> None:
        claim = claimed(journal, "s", step())
        assert journal.finish(claim, DONE, entries=[entry(1)]).result(SOON).applied
        assert told(journal) == [(0, 1)]

    def test_one_that_was_taken_over_adds_nothing(self, world: World, journal: Journal) -> None:
        claim = claimed(journal, "s", step())
        world.set("s", token=2)
        assert not journal.finish(claim, DONE, entries=[entry(1)]).result(SOON).applied
        assert told(journal) == []

    def test_an_end_beside_others_of_one_commit(self, journal: Journal) -> None:
        ends = [claimed(journal, name, step(name)) for name in "abc"]
        futures = [
            journal.finish(claim, FAILED if n == 1 else DONE, entries=[entry(n)])
            for n, claim in enumerate(ends)
        ]
        assert all(f.result(SOON).applied for f in futures)
        assert sorted(n for _, n in told(journal)) == [0, 1, 2]


class TestFollow:
    def test_a_cursor_comes_past_each_entry_once(self, journal: Journal) -> None:
        add(journal, entry(1))
        add(journal, entry(2, "order/8"))
        add(journal, entry(3, "bill/1"))
        page, last = followed(journal, "order/")
        assert page == [1, 2]
        assert followed(journal, "order/")[0] == [1, 2]  # nobody said that it is done
        assert followed(journal, "order/", last)[0] == []
        add(journal, entry(4))
        assert followed(journal, "order/")[0] == [4]

    def test_pages_are_bounded(self, journal: Journal) -> None:
        add(journal, *map(entry, range(5)))
        first, last = journal.streams.follow("", "reader", "", 3)
        rest, _ = journal.streams.follow("", "reader", "", 3, last)
        assert [[e["data"]["n"] for e in page] for page in (first, rest)] == [[0, 1, 2], [3, 4]]

    def test_it_never_goes_back(self, journal: Journal) -> None:
        add(journal, *map(entry, range(3)))
        _, last = followed(journal)
        followed(journal, done=last)
        assert followed(journal, done=BEGINNING)[0] == []

    def test_what_others_wrote_is_looked_at_once(self, world: World, journal: Journal) -> None:
        add(journal, *map(entry, range(3)))
        _, last = followed(journal, "bill/")
        assert last > BEGINNING
        with world.engine.connect() as c:
            newest = c.execute(select(Entry.xid, Entry.pos).order_by(Entry.pos.desc())).first()
        assert newest is not None
        assert tuple(newest) == last

    def test_a_forgotten_one_begins_anew(self, journal: Journal) -> None:
        add(journal, entry(1))
        followed(journal, done=followed(journal)[1])
        assert journal.streams.forget("", "reader")
        assert not journal.streams.forget("", "reader")
        assert followed(journal)[0] == [1]


class TestBesideOthers(OnPostgres):
    def test_many_keys_of_a_stream_and_few_of_others_are_known(self, world: World) -> None:
        made = [entry(n, kind=kind, key=str(n)) for kind in ("a", "b") for n in range(40)]
        made += [entry(n, f"order/{n}", key="a") for n in range(5)]
        with world.engine.begin() as c:
            append(c, made)
        others = [entry(kind="a", key="none"), entry(stream="order/9", key="a"), entry()]
        with world.engine.connect() as c:
            found = there(c, [*made[:35], *made[40:44], *made[-5:], *others])
        assert {(row.stream, row.kind, row.key) for row in found} == {
            (e.stream, e.kind, e.key) for e in (*made[:35], *made[40:44], *made[-5:])
        }

    @pytest.mark.parametrize("known", [True, False], ids=["with statistics", "a young table"])
    def test_keys_are_looked_up_by_their_index_however_many_there_are(
        self, world: World, known: bool
    ) -> None:
        """On a table that the planner knows nothing of yet: at least at once, and not for each.

        There the index of a stream's places costs as much by its guess, and it takes either.
        """
        keyed = [entry(n, key=f"key-{n}") for n in range(FEW)]
        plans: list[str] = []

        def explain(c: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            if "FROM entries" in statement and not statement.startswith("EXPLAIN"):
                cursor.execute(f"EXPLAIN {statement}", parameters)
                plans.append("\n".join(row[0] for row in cursor.fetchall()))

        with world.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as c:
            c.execute(_MANY, {"stream": "order/7", "count": MANY})
            if known:
                c.execute(text("ANALYZE entries"))
            event.listen(world.engine, "before_cursor_execute", explain)
            try:
                assert len(there(c, keyed[:3])) == 3
                assert len(there(c, keyed)) == FEW
            finally:
                event.remove(world.engine, "before_cursor_execute", explain)
        _of_few, of_many = plans
        assert "Nested Loop" not in of_many, of_many
        for plan in plans:
            assert "Seq Scan on entries" not in plan, plan
            if known:
                condition = next(ln for ln in plan.splitlines() if "Index Cond" in ln)
                assert "ix_entries_key" in plan, plan
                assert "key" in condition.replace("v.kind", ""), plan

    def test_what_commits_late_is_not_overtaken(self, world: World, journal: Journal) -> None:
        with world.engine.connect() as slow:
            append(slow, [entry(1)])
            add(journal, entry(2, "bill/1"))  # has the greater number, and is there sooner
            assert followed(journal)[0] == []
            slow.commit()
        assert followed(journal)[0] == [1, 2]

    def test_who_adds_to_the_same_stream_waits(self, world: World, journal: Journal) -> None:
        with world.engine.connect() as slow:
            append(slow, [entry(1)])
            with meanwhile(world, lambda: add(journal, entry(2))) as placed:
                slow.commit()
        assert placed == [[(1, False)]]

    def test_followers_miss_nothing_of_many_writers(self, world: World) -> None:
        each, writers = 60, 4

        def write(number: int) -> None:
            store = StreamStore(world.engine)
            for n in range(each):
                own, shared = f"own/{number}", f"own/{n % 3}"
                new = [entry(number * each + n, s) for s in sorted({own, shared})]
                with world.engine.begin() as c:
                    append(c, new)
            assert store

        threads = [threading.Thread(target=write, args=(n,)) for n in range(writers)]
        for thread in threads:
            thread.start()
        seen: list[tuple[str, int]] = []
        done: Position | None = None
        store = StreamStore(world.engine)
        while True:
            running = any(thread.is_alive() for thread in threads)
            page, done = store.follow("", "reader", "own/", FEW, done)
            seen += [(e["stream"], e["seq"]) for e in page]
            if not (page or running):
                break
        with world.engine.connect() as c:
            there = [tuple(row) for row in c.execute(select(Entry.stream, Entry.seq))]
        assert len(seen) == len(set(seen))
        assert sorted(seen) == sorted(there)
        for stream in {stream for stream, _ in there}:
            places = [seq for name, seq in seen if name == stream]
            assert places == list(range(len(places)))
