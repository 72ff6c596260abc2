"""Entries of one stream, added in one round trip on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from app.journal.schema import engine as engines
from app.journal.schema.rows import NewEntry
from app.journal.steps.entries import Appended
from app.journal.stores.streams import StreamStore
from app.journal.writing.appending import appended
from celery_agents.sealing import Seals
from tests.support.fernet import fernet_key
from tests.unit.app.journal.support import World

pytestmark = pytest.mark.postgres


@pytest.fixture
def world(emptied_postgres_url: str) -> Iterator[World]:
    made = World(emptied_postgres_url)
    yield made
    made.close()


def some(count: int, key: str | None = None) -> list[NewEntry]:
    return [NewEntry("", "s", "noted", {"n": n}, key=key) for n in range(count)]


def test_a_batch_is_one_message(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "FRESH_S", 600.0)
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    def refuse(_: Any) -> bool:
        raise AssertionError("it is asked whether it lives")

    monkeypatch.setattr(type(world.engine.dialect), "do_ping", refuse)
    other = World(world.url)
    assert appended(other.engine, "", "s", some(3), None) == [0, 1, 2]
    event.listen(Engine, "before_cursor_execute", note)
    try:
        assert appended(other.engine, "", "s", some(3), 3) == [3, 4, 5]
    finally:
        event.remove(Engine, "before_cursor_execute", note)
        other.close()
    assert len(sent) == 1, sent
    assert "EXECUTE append_entries" in sent[-1]


def test_what_is_not_so_is_left_unwritten(world: World) -> None:
    assert appended(world.engine, "", "s", some(1, "a"), 1) is None
    assert appended(world.engine, "", "s", some(1, "a"), 0) == [0]
    assert appended(world.engine, "", "s", some(1, "a"), None) is None
    assert appended(world.engine, "", "s", some(2, "b"), None) is None
    assert appended(world.engine, "", "s", [], None) is None
    with world.engine.connect() as c:
        assert c.execute(text("SELECT count(*) FROM entries")).scalar() == 1


def test_what_is_encrypted_goes_another_way(emptied_postgres_url: str) -> None:
    sealed = World(emptied_postgres_url, Seals([fernet_key("one")]))
    assert appended(sealed.engine, "", "s", some(1), None) is None
    sealed.close()


def test_behind_a_pooler_that_nobody_told_of(world: World) -> None:
    """No outage: what the pooler's other connection does not know is written the ordinary way."""
    assert appended(world.engine, "", "s", some(1), None) == [0]
    with world.engine.begin() as c:
        c.execute(text("DEALLOCATE ALL"))
    assert StreamStore(world.engine).append("", "s", some(2)) == [Appended(1), Appended(2)]
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        assert StreamStore(world.engine).append("", "s", some(1)) == [Appended(3)]
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert sent
    assert not any("EXECUTE" in one for one in sent)  # it is remembered


def test_a_connection_that_broke_off_since_is_another_one_then(world: World) -> None:
    assert appended(world.engine, "", "s", some(1), None) == [0]
    with world.engine.connect() as first, world.engine.connect() as c:
        pid = first.execute(text("SELECT pg_backend_pid()")).scalar()
        first.rollback()
        c.execute(text("SELECT pg_terminate_backend(:pid, 30000)"), {"pid": pid})
    assert [appended(world.engine, "", "s", some(1), None) for _ in range(3)] == [[1], [2], [3]]


def test_places_have_no_gaps_whoever_adds(world: World) -> None:
    def add(_: int) -> list[int]:
        return appended(world.engine, "", "s", some(5), None) or []

    with ThreadPoolExecutor(8) as threads:
        found = [*threads.map(add, range(40))]
    assert sorted(seq for batch in found for seq in batch) == [*range(200)]
    assert all(batch == [*range(batch[0], batch[0] + 5)] for batch in found)
    with world.engine.connect() as c:
        told = c.execute(text("SELECT seq FROM entries WHERE stream = 's' ORDER BY xid, pos"))
        assert told.scalars().all() == [*range(200)]
