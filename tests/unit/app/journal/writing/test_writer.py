from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import DatabaseError, IntegrityError, StatementError

from app.concurrency.fibers import wait
from app.journal import Journal
from app.journal.schema.rows import Claimed
from app.journal.schema.transactions import DATABASE_ATTEMPTS, in_transaction
from app.journal.writing.operation import Operation
from app.journal.writing.writer import Writer
from celery_agents.errors import JournalUnavailableError
from tests.support.fibers import in_a_fiber
from tests.unit.app.journal.support import DONE, SOON, World, claimed, refused, step

pytestmark = pytest.mark.databases("both")


class Gate(Operation[None]):
    """Holds the writer until the batch behind it has gathered."""

    order: ClassVar[int] = 0
    passed = threading.Event()

    @classmethod
    def apply(cls, connection: Connection, operations: Sequence[Gate]) -> list[None]:  # noqa: ARG003 - its base's signature
        cls.passed.wait(SOON)
        return [None] * len(operations)


@pytest.fixture
def gate() -> type[Gate]:
    Gate.passed = threading.Event()
    return Gate


class Note(Operation[str]):
    """Says which operations were applied with it."""

    order: ClassVar[int] = 1

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    @classmethod
    def apply(cls, connection: Connection, operations: Sequence[Note]) -> list[str]:  # noqa: ARG003 - its base's signature
        return ["".join(o.name for o in operations)] * len(operations)


class Early(Note):
    order: ClassVar[int] = 0


class Lone(Note):
    @property
    def alone(self) -> bool:
        return True


class Sharing(Lone):
    @property
    def shares(self) -> bool:
        return self.name in "xy"


def test_what_needs_a_transaction_to_itself_shares_it_where_it_may(
    world: World, journal: Journal, gate: type[Gate]
) -> None:
    """On SQLite one transaction is for all, since nobody else writes then."""
    writer = journal._writer
    writer.submit(gate())
    given = [Lone("a"), Sharing("x"), Lone("b"), Sharing("n"), Sharing("y"), Sharing("m")]
    futures = [writer.submit(one) for one in given]
    gate.passed.set()
    apart = {"sqlite": ["ab", "xnym", "ab", "xnym", "xnym", "xnym"]}
    wanted = apart.get(world.engine.dialect.name, ["a", "xy", "b", "n", "xy", "m"])
    assert [f.result(SOON) for f in futures] == wanted


def test_what_queues_up_during_a_commit_is_one_batch(journal: Journal, gate: type[Gate]) -> None:
    writer = journal._writer
    writer.submit(gate())
    futures = [writer.submit(Note("a")), writer.submit(Early("b")), writer.submit(Note("c"))]
    gate.passed.set()
    assert [f.result(SOON) for f in futures] == ["ac", "b", "ac"]


def test_a_batch_has_a_most(world: World, gate: type[Gate]) -> None:
    writer = Writer(world.engine, batch_max=2)
    writer.submit(gate())
    futures = [writer.submit(Note(n)) for n in "abcde"]
    gate.passed.set()
    assert max(len(f.result(SOON)) for f in futures) <= 2
    writer.close()


def test_a_bad_write_does_not_take_its_neighbours_along(
    world: World, journal: Journal, gate: type[Gate]
) -> None:
    writer = journal._writer
    claim = claimed(journal, "s", step())
    nobody = Claimed(**{**{f: getattr(claim, f) for f in Claimed.__slots__}, "id": "nobody"})
    writer.submit(gate())
    good = journal.claim("t", step("t"))
    bad = journal.start_call(nobody, 0, "model", "f", "k")  # of a step that is not there
    also = journal.start_call(claim, 0, "model", "f", "k")
    gate.passed.set()
    assert isinstance(good.result(SOON), Claimed)
    also.result(SOON)
    assert bad.result(SOON) == "lost"
    assert len(world.calls("s")) == 1
    assert refused(journal, "t") == "taken"  # it was written once


def test_what_has_no_json_form_is_its_own_error(
    world: World, journal: Journal, gate: type[Gate]
) -> None:
    """Also where it is seen before anything is sent, and with others in its batch."""
    odd = {"args": [object()], "kwargs": {}}
    journal._writer.submit(gate())
    claims = [journal.claim("bad", step("bad", payload=odd)), journal.claim("good", step("good"))]
    gate.passed.set()
    assert isinstance(claims[0].exception(SOON), (TypeError, StatementError))
    assert isinstance(claims[1].result(SOON), Claimed)
    assert claimed(journal, "next", step("next")).token == 1


def test_closing_writes_what_is_queued(world: World, gate: type[Gate]) -> None:
    journal = world.journal("other")
    world.journals.remove(journal)
    claims = [claimed(journal, f"s{n}", step(f"s{n}")) for n in range(3)]
    journal._writer.submit(gate())
    futures = [journal.finish(c, DONE) for c in claims]
    gate.passed.set()
    journal.close()
    assert all(f.result(0).applied for f in futures)
    assert [world.row(f"s{n}").state for n in range(3)] == ["succeeded"] * 3


def test_what_comes_after_the_end_is_refused_and_does_not_hang(world: World) -> None:
    journal = world.journal("other")
    world.journals.remove(journal)
    claim = claimed(journal, "s", step())
    journal.close()
    with pytest.raises(JournalUnavailableError, match="closed"):
        journal.finish(claim, DONE).result(SOON)
    assert world.row("s").state == "ready"  # given back
    journal._writer.close()  # once more changes nothing


# ---------------------------------------------------------------- the database is away


@pytest.fixture
def sqlite(sqlite_journal_url: str) -> World:
    return World(sqlite_journal_url)


def unavailable(journal: Journal) -> str:
    with pytest.raises(JournalUnavailableError) as error:
        journal.claim("t", step("t")).result(SOON)
    assert "up, may be written and has room" in str(error.value)
    return str(error.value)


def test_a_read_only_journal(sqlite: World) -> None:
    journal = sqlite.journal()
    claim = claimed(journal, "s", step())

    @event.listens_for(journal.engine, "begin")
    def protect(connection: Connection) -> None:
        connection.exec_driver_sql("PRAGMA query_only = ON")

    assert "readonly" in unavailable(journal)
    event.remove(journal.engine, "begin", protect)
    journal.engine.dispose()
    assert journal.finish(claim, DONE).result(SOON).applied  # nothing else was harmed
    sqlite.close()


def test_a_full_disk(sqlite: World) -> None:
    journal = sqlite.journal()

    @event.listens_for(journal.engine, "begin")
    def fill(connection: Connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    big = step("big", payload={"args": ["x" * 100_000], "kwargs": {}})
    with pytest.raises(JournalUnavailableError, match="full"):
        journal.claim("big", big).result(SOON)
    event.remove(journal.engine, "begin", fill)
    journal.engine.dispose()
    assert claimed(journal, "big", big).token == 1
    sqlite.close()


def test_a_journal_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "journal.db").mkdir()
    with pytest.raises(JournalUnavailableError, match="unable to open"):
        World(f"sqlite:///{tmp_path}/journal.db").journal()


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "journal.db").write_text("no database at all, but long enough to look at" * 99)
    with pytest.raises(JournalUnavailableError, match="not a database"):
        World(f"sqlite:///{tmp_path}/journal.db").journal()


def test_a_server_that_is_down() -> None:
    world = World("postgresql://nobody:hunter2@127.0.0.1:1/journal")
    with pytest.raises(JournalUnavailableError, match="refused") as error:
        world.journal()
    assert "hunter2" not in str(error.value)


@pytest.mark.postgres
def test_connections_that_were_cut_are_made_anew(postgres_journal_url: str) -> None:
    world = World(postgres_journal_url)
    journal = world.journal()
    cut = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with world.engine.connect() as c:
        c.execute(text(cut))
    assert claimed(journal, "s", step()).token == 1

    # And in the middle of a transaction:
    tries: list[int] = []

    def work(connection: Connection) -> int:
        tries.append(1)
        if len(tries) == 1:
            with world.engine.connect() as c:
                c.execute(text(cut))
        return int(connection.execute(text("SELECT 1")).scalar_one())

    assert journal.transaction(work) == 1
    assert len(tries) == 2
    world.close()


@pytest.mark.postgres
def test_a_server_that_is_read_only(postgres_journal_url: str) -> None:
    world = World(postgres_journal_url)
    journal = world.journal()

    @event.listens_for(journal.engine, "begin")
    def protect(connection: Connection) -> None:
        connection.exec_driver_sql("SET default_transaction_read_only = on")

    assert "read-only" in unavailable(journal)
    event.remove(journal.engine, "begin", protect)
    journal.engine.dispose()
    assert claimed(journal, "t", step("t")).token == 1
    world.close()


def test_the_tries_are_bounded(world: World) -> None:
    tries: list[int] = []

    def work(connection: Connection) -> None:
        tries.append(1)
        connection.execute(text("SELECT * FROM no_such_table"))

    with pytest.raises(Exception, match="no_such_table"):
        in_transaction(world.engine, work)
    assert len(tries) <= DATABASE_ATTEMPTS


def test_a_mistake_is_not_tried_again(world: World) -> None:
    tries: list[int] = []

    def work(connection: Connection) -> None:
        tries.append(1)
        connection.execute(text("INSERT INTO duties (name, until) VALUES ('d', 1), ('d', 1)"))

    with pytest.raises(IntegrityError):
        in_transaction(world.engine, work)
    assert len(tries) == 1


class TestAlone:
    """A lone fiber's write is made where it is asked for."""

    def test_at_once(self, journal: Journal) -> None:
        note = Note("a")
        assert in_a_fiber(lambda: journal._writer.submit(note).done())
        assert note.future.result(0) == "a"

    def test_not_before_what_is_queued(self, journal: Journal, gate: type[Gate]) -> None:
        writer = journal._writer
        writer.submit(gate())
        queued, note = writer.submit(Note("a")), Note("b")
        assert not in_a_fiber(lambda: writer.submit(note).done())
        gate.passed.set()
        assert {queued.result(SOON), note.future.result(SOON)} in ({"ab"}, {"a", "b"})
        assert in_a_fiber(lambda: writer.submit(Note("c")).result(SOON)) == "c"

    def test_not_before_what_it_asked_for_in_the_same_turn(self, journal: Journal) -> None:
        writer = journal._writer
        written: list[str] = []

        def ask() -> bool:
            with writer._committing:  # as by the thread, of what others have asked for
                first = writer.submit(Note("a"))
            first.add_done_callback(lambda _: written.append("a"))
            second = writer.submit(Note("b"))
            second.add_done_callback(lambda _: written.append("b"))
            return second.done()

        assert not in_a_fiber(ask)
        last = in_a_fiber(lambda: writer.submit(Note("c")).result(SOON))
        assert last in {"c", "bc", "abc"}  # alone, or with what is still queued
        assert written == ["a", "b"]

    def test_what_nobody_waits_for_goes_along_with_others(self, journal: Journal) -> None:
        claimed(journal, "s", step())
        assert not in_a_fiber(lambda: journal.settle("s", 1).done())

    def test_an_error_is_its_own(self, world: World, journal: Journal) -> None:
        claim = in_a_fiber(lambda: claimed(journal, "s", step()))
        assert world.row("s").state == "running"
        nobody = Claimed(
            **{**{f: getattr(claim, f) for f in Claimed.__slots__ if f != "since"}, "id": "no"}
        )
        call = journal.start_call
        assert in_a_fiber(lambda: call(nobody, 0, "m", "f", "k").result(SOON)) == "lost"
        with pytest.raises(DatabaseError):  # no name: no call
            in_a_fiber(lambda: call(claim, 0, None, "f", "k").result(SOON))  # type: ignore[arg-type]
        assert in_a_fiber(lambda: journal.finish(claim, DONE).result(SOON)).applied

    def test_after_the_end(self, world: World) -> None:
        journal = world.journal()
        journal._writer.close()
        with pytest.raises(JournalUnavailableError, match="closed"):
            in_a_fiber(lambda: wait(journal._writer.submit(Note("a"))))
