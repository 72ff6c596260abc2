"""Statements that are sent by the driver alone: seen from outside nothing is different."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

from app.journal.schema.engine import unbracketed
from app.journal.writing.connection import Held
from app.journal.writing.sending import send
from tests.unit.app.journal.support import SOON, World, claimed, step

pytestmark = pytest.mark.databases("both")

_TWICE = "INSERT INTO duties (name, until) VALUES ('twice', 1), ('twice', 1)"
_MADE = "INSERT INTO duties (name, until) VALUES ('a', 1), ('b', 2)"


@pytest.fixture
def heard() -> Iterator[list[str]]:
    told: list[str] = []

    def hear(_: Any, __: Any, statement: str, *___: Any) -> None:
        told.append(statement)

    event.listen(Engine, "before_cursor_execute", hear)
    yield told
    event.remove(Engine, "before_cursor_execute", hear)


def read(connection: Connection) -> list[tuple[Any, ...]]:
    found = send(connection, "SELECT name, until FROM duties ORDER BY name", ())
    return [tuple(row) for row in found.rows]


def test_what_it_did(world: World) -> None:
    with world.engine.begin() as c:
        assert send(c, _MADE, ()) == ((), 2)
        assert read(c) == [("a", 1.0), ("b", 2.0)]
        assert send(c, "UPDATE duties SET until = 3 WHERE name = 'a'", ()).written == 1


def test_who_hears_of_statements_hears_of_these(world: World, heard: list[str]) -> None:
    with world.engine.begin() as c:
        assert send(c, _MADE, ()) == ((), 2)
        assert read(c) == [("a", 1.0), ("b", 2.0)]
    assert _MADE in heard
    journal = world.journal()
    claimed(journal, "s", step())
    claimed(journal, "t", step("t"))
    made = [s for s in heard if "INSERT INTO steps" in s or "EXECUTE claim_step" in s]
    assert len([s for s in made if "PREPARE" not in s]) == 2


@pytest.mark.parametrize("is_heard", [True, False])
def test_errors_are_of_one_kind(
    world: World, is_heard: bool, request: pytest.FixtureRequest
) -> None:
    if is_heard:
        request.getfixturevalue("heard")
    with pytest.raises(IntegrityError), world.engine.begin() as c:
        send(c, _TWICE, ())
    kinds = (OperationalError, ProgrammingError)
    with pytest.raises(kinds, match="no_such_table") as error, world.engine.begin() as c:
        send(c, "SELECT * FROM no_such_table", ())
    assert error.value.statement == "SELECT * FROM no_such_table"
    assert not error.value.connection_invalidated
    with world.engine.begin() as c:
        assert read(c) == []


def begins_of(engine: Engine) -> list[Connection]:
    begun: list[Connection] = []
    event.listen(engine, "begin", begun.append)
    return begun


@pytest.mark.postgres
class TestWithoutATransaction:
    def test_later_shots_begin_none(self, postgres_journal_url: str) -> None:
        world = World(postgres_journal_url)
        journal = world.journal()
        claimed(journal, "s", step())
        begun = begins_of(journal.engine)
        claims = [claimed(journal, i, step(i)) for i in "abc"]
        assert [c.token for c in claims] == [1, 1, 1]
        assert begun == []
        held: Held = journal._writer._relaxed
        held.close()  # a new connection is set up first
        claimed(journal, "t", step("t"))
        assert len(begun) == 1
        assert journal.insert(step("u")).result(SOON) is None
        world.close()

    def test_an_error_leaves_none_open(self, postgres_journal_url: str) -> None:
        world = World(postgres_journal_url)
        with world.engine.connect() as c:
            with unbracketed(c), pytest.raises(IntegrityError):
                send(c, _TWICE, ())
            assert not c.in_transaction()
            with unbracketed(c):
                assert send(c, _MADE, ()) == ((), 2)
        with world.engine.begin() as c:
            assert read(c) == [("a", 1.0), ("b", 2.0)]
        world.close()
