"""Runs that are started in somebody else's transaction, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, event, func, select, text
from sqlalchemy.orm import Session

from app.journal import Journal
from app.journal.schema.models import Run, Step
from app.journal.stores.statistics import Statistics
from app.journal.tables import stats
from celery_agents import Client, Outbox
from celery_agents.contracts.watching import StatsWanted
from celery_agents.errors import IdInUseError, InvalidPayloadError, PayloadTooLargeError
from tests.support.fernet import fernet_key
from tests.unit.app.journal.support import DONE, SOON, World, claimed

#: Nobody is there.
CLIENT = Client("redis://127.0.0.1:1/0", queue="mine")


@pytest.fixture
def theirs(journal_url: str) -> Iterator[Engine]:
    """An engine of the caller's own, with its defaults."""
    made = create_engine(journal_url)
    if made.dialect.name == "sqlite":
        event.listen(made, "connect", lambda c, _: c.execute("PRAGMA foreign_keys=ON"))
    yield made
    made.dispose()


def runs_in(engine: Engine) -> int:
    with engine.connect() as c:
        return c.execute(select(func.count()).select_from(Run)).scalar_one()


def woken(journal: Journal) -> list[Any]:
    found = journal.findings.wanting("unwoken", 9, grace_s=10, backoff_max_s=10)
    return [(wake.id, wake.task, wake.queue, wake.tenant) for wake in found]


@pytest.mark.databases("both")
def test_the_row_is_in_the_callers_commit(world: World, journal: Journal, theirs: Engine) -> None:
    with Session(theirs) as session, session.begin():
        session.execute(text("SELECT 1"))
        outbox = Outbox(session, CLIENT)
        run = outbox.start("refund", {"id": 7}, id="refund-7", tenant="acme", priority=2)
        assert run.id == "refund-7"
        if theirs.dialect.name == "postgresql":  # SQLite has one writer at a time
            assert woken(journal) == []
            assert runs_in(world.engine) == 0
    assert woken(journal) == [("refund-7", "agents.flow", "mine", "acme")]
    row = world.row("refund-7")
    assert row.payload == {"args": [{"id": 7}], "kwargs": {"flow": "refund"}}
    assert (row.state, row.priority, world.run("refund-7").tenant) == ("ready", 2, "acme")
    assert claimed(journal, "refund-7").attempt == 1


def test_rolled_back_it_never_was(world: World, journal: Journal, theirs: Engine) -> None:
    with Session(theirs) as session:
        Outbox(session, CLIENT).ask("gpt", "hello", id="a")
        session.rollback()
    assert runs_in(world.engine) == 0
    assert woken(journal) == []


def test_all_verbs_on_a_connection(world: World, theirs: Engine) -> None:
    with theirs.begin() as connection:
        outbox = Outbox(connection, CLIENT)
        made = [
            *outbox.ask.many("gpt", ["a", "b"]),
            outbox.vote(["a", "b"], "Is it?"),
            outbox.fallback(["a", "b"], "x"),
            outbox.gather(["a", "b"], "x"),
            outbox.map("a", ["x", "y"]),
            asyncio.run(outbox.ask.aio("gpt", "c")),
        ]
    assert runs_in(world.engine) == len(made) == 7
    tasks = [world.row(run.id).task for run in made]
    assert tasks[2:6] == ["agents.vote", "agents.fallback", "agents.gather", "agents.map"]


def test_an_id_is_one_run(world: World, theirs: Engine) -> None:
    with theirs.begin() as connection:
        outbox = Outbox(connection, CLIENT)
        outbox.ask("gpt", "hello", id="a")
        assert outbox.ask("gpt", "hello", id="a").id == "a"
    with theirs.begin() as connection:
        assert Outbox(connection, CLIENT).ask("gpt", "hello", id="a").id == "a"
        with pytest.raises(IdInUseError):
            Outbox(connection, CLIENT).ask("gpt", "other", id="a")
    assert runs_in(world.engine) == 1


def test_what_is_wrong_shows_at_the_call(world: World, theirs: Engine) -> None:
    small = Client("redis://127.0.0.1:1/0", payload_limit_bytes=100)
    with theirs.begin() as connection:
        with pytest.raises(InvalidPayloadError, match="timeout_s"):
            Outbox(connection, CLIENT).ask("gpt", "x", timeout_s=-1)
        with pytest.raises(PayloadTooLargeError):
            Outbox(connection, small).ask("gpt", "x" * 200)
    assert runs_in(world.engine) == 0


def test_with_keys_it_is_encrypted(world: World, theirs: Engine) -> None:
    keys = [fernet_key("outbox")]
    sealed = Client("redis://127.0.0.1:1/0", fernet_keys=keys)
    with theirs.begin() as connection:
        Outbox(connection, sealed).ask("gpt", "a secret", id="a")
        Outbox(connection, sealed).ask("gpt", "a secret", id="a")
        with pytest.raises(IdInUseError):
            Outbox(connection, sealed).ask("gpt", "another", id="a")
    assert "secret" not in str(world.row("a").payload)


@pytest.mark.databases("both")
def test_a_commit_that_comes_late_is_counted_once(
    world: World, journal: Journal, theirs: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever counts has come past the time at which it began."""
    monkeypatch.setattr(stats, "GRACE_S", 0.0)
    statistics = Statistics(world.engine)

    def counted() -> int:
        while statistics.count():
            pass
        return sum(row.count for row in statistics.within(StatsWanted(since_s=3600.0)).rows)

    def late(connection: Connection) -> None:
        Outbox(connection, CLIENT).ask("gpt", "late", id="late")

    def early() -> None:
        with theirs.begin() as connection:
            Outbox(connection, CLIENT).ask("gpt", "early", id="early")
        journal.finish(claimed(journal, "early"), DONE).result(SOON)
        assert counted() == 1

    if theirs.dialect.name == "postgresql":
        with theirs.begin() as connection:
            late(connection)
            early()
    else:  # no other writer may come between: it is made as if one had
        early()
        with theirs.begin() as connection:
            late(connection)
            connection.execute(text("UPDATE runs SET created_at = 1.0 WHERE id = 'late'"))
    journal.finish(claimed(journal, "late"), DONE).result(SOON)
    assert counted() == 2
    assert counted() == 2
    with world.engine.connect() as c:
        assert c.execute(select(func.count()).select_from(Step)).scalar_one() == 2
