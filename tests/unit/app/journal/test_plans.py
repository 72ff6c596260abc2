"""What the journal does with one step costs the same however many rows it holds.

Everything a worker does is done once on a journal with many rows, and the database is asked how it
runs each statement that the code sends meanwhile: none may read a whole table, or a whole index
over one.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, make_url, text
from sqlalchemy.engine import Connection

from app.journal import Journal
from app.journal.schema.engine import connect
from app.journal.schema.models import Base
from app.journal.steps import due
from app.journal.writing import prepared as shots
from app.journal.writing import sqlite, sqlite_members
from tests.support.drawn import costly
from tests.support.postgres import Databases
from tests.unit.app.journal.support import (
    World,
)
from tests.unit.app.journal.working import answer_people, work_through

pytestmark = pytest.mark.databases("both")

#: Finished steps, each tenth a root with nine members: far above what a scan could be right for.
ROWS = costly(100_000, part=3)
LARGE = {"steps", "runs", "calls", "joins", "events", "entries", "sessions", "waits"}

_SERIES = {
    "postgresql": f"(SELECT n FROM generate_series(0, {ROWS - 1}) AS s(n))",
    "sqlite": (
        "(WITH RECURSIVE s(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s "
        f"WHERE n < {ROWS - 1}) SELECT n FROM s)"
    ),
}
_FILL = (
    """
    INSERT INTO steps (id, run_id, parent_id, member, position, round, task, agent, queue, priority,
        state, payload, attempts, max_attempts, token, ready_at, wake_at, wakes, cancel_requested,
        outcome, settled, created_at, started_at, finished_at)
    SELECT 'old' || n, 'old' || (n - n % 10), CASE WHEN n % 10 > 0 THEN 'old' || (n - n % 10) END,
        'm' || (n % 10), n % 10, 1, 'agents.ask', 'a', 'agents', 5,
        CASE WHEN n % 1000 = 0 THEN 'dead' ELSE 'succeeded' END, '{}', 1, 3, 1, n, n, 0, false,
        '{}', true, n, n, n
    FROM {series} AS s
    """,
    """
    INSERT INTO runs (id, task, state, created_at, finished_at, compensable)
    SELECT 'old' || n, 'agents.vote', 'succeeded', n, n, false FROM {series} AS s
    """,
    """
    INSERT INTO calls (step_id, seq, token, name, fingerprint, idempotency_key, started_at,
        finished_at, answer)
    SELECT 'old' || n, 0, 1, 'model', 'f', 'k', n, n, '{}' FROM {series} AS s WHERE n % 2 = 0
    """,
    """
    INSERT INTO joins (step_id, round, policy, keep, expected, done, succeeded, state)
    SELECT 'old' || n, 1, 'all', false, 9, 9, 9, 'fired' FROM {series} AS s
    """,
    """
    INSERT INTO events (run_id, step_id, at, kind)
    SELECT 'old' || (n - n % 10), 'old' || n, n, 'retry' FROM {series} AS s
    """,
    """
    INSERT INTO sessions (tenant, name, exchanges, created_at, changed_at, holder)
    SELECT 't', 'old' || n, 100, n, n, CASE WHEN n % 1000 = 0 THEN 'old' || n END
    FROM {series} AS s
    """,
    """
    INSERT INTO entries (tenant, stream, seq, kind, data, tokens, at)
    SELECT 't', 'session/old' || (n / 100), n % 100, 'exchange', '{"messages": []}', 10, n
    FROM {series} AS s
    """,
    """
    INSERT INTO waits (step_id, tenant, stream, since)
    SELECT 'old' || n, 't', 'session/old' || (n / 10), n FROM {series} AS s
    """,
)


def _fill(url: str) -> None:
    engine = connect(url)
    with engine.begin() as connection:
        for statement in _FILL:
            series = _SERIES[engine.dialect.name]
            connection.execute(text(statement.replace("{series}", series)))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if engine.dialect.name == "postgresql":  # SQLite has no statistics in a real journal either
            connection.execute(text("VACUUM ANALYZE"))
    engine.dispose()


@pytest.fixture(scope="session")
def _large_sqlite(_migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("large") / "journal.db"
    shutil.copyfile(_migrated_sqlite, path)
    _fill(f"sqlite:///{path}")
    return f"sqlite:///{path}"


@pytest.fixture(scope="session")
def _large_postgres(postgres: Databases, _migrated_postgres: str) -> Iterator[str]:
    url = postgres.create(template=make_url(_migrated_postgres).database)
    _fill(url)
    yield url
    postgres.drop(url)


@pytest.fixture
def large(request: pytest.FixtureRequest, database: str) -> Iterator[World]:
    """A journal with many finished steps."""
    world = World(request.getfixturevalue(f"_large_{database}"))
    yield world
    world.close()


class Plans:
    """Asks for the plan of each statement that an engine is about to run."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.scans: dict[str, list[str]] = {}

    def watch(self, world: World, journal: Journal) -> None:
        for engine in (world.engine, journal.engine):
            event.listen(engine, "before_cursor_execute", self._explain)

    def _explain(
        self,
        connection: Connection,
        cursor: Any,
        statement: str,
        parameters: Any,
        _context: Any,
        executemany: bool,
    ) -> None:
        prepared = re.fullmatch(r"(?:SET LOCAL [^;]*; )+(EXECUTE \w+ [^;]*)", statement)
        statement = prepared[1] if prepared else statement
        if statement in self.seen or not re.match(
            r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH|EXECUTE)", statement
        ):
            return
        self.seen.add(statement)
        # As a list when the statement is run for each; one of all rows has them all together.
        first = parameters[0] if executemany and isinstance(parameters, list) else parameters
        found = _ASK[connection.dialect.name](cursor.connection.cursor(), statement, first)
        if found:
            self.scans[statement] = found


def _ask_postgres(cursor: Any, statement: str, parameters: Any) -> list[str]:
    *_, asked = statement.split("; ")  # an advisory lock stands before what is read under it
    cursor.execute(f"EXPLAIN (FORMAT JSON) {asked}", parameters)
    (answer,) = cursor.fetchone()
    explained = json.loads(answer) if isinstance(answer, str) else answer
    return [told for node in _nodes(explained[0]["Plan"]) if (told := _scan(node))]


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def _scan(node: dict[str, Any]) -> str | None:
    kind, name = node["Node Type"], node.get("Relation Name")
    if kind == "Seq Scan" and name in LARGE:
        return f"Seq Scan on {name}"
    index = node.get("Index Name")
    if index in WHOLE and "Index Cond" not in node:
        return f"{kind} on all of {index}"
    return None


def _ask_sqlite(cursor: Any, statement: str, parameters: Any) -> list[str]:
    cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
    found = []
    for *_, told in cursor.fetchall():
        scan = re.match(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?", told)
        if scan and scan[1] in LARGE and (scan[2] is None or scan[2] in WHOLE):
            found.append(told)
    return found


_ASK: dict[str, Callable[[Any, str, Any], list[str]]] = {
    "postgresql": _ask_postgres,
    "sqlite": _ask_sqlite,
}
#: Indexes over all rows of a large table; partial ones hold live rows only, or few others.
WHOLE = {
    name
    for table in Base.metadata.tables.values()
    if table.name in LARGE
    for name in (
        *(str(i.name) for i in table.indexes if i.dialect_options["sqlite"]["where"] is None),
        f"pk_{table.name}",
        *(f"sqlite_autoindex_{table.name}_{n}" for n in (1, 2)),
    )
} | {"ix_steps_parent_id"}


def test_no_statement_reads_a_whole_table(large: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of thousands it may read them all.
    monkeypatch.setattr("app.journal.retention.chunks._LARGEST", 100)
    plans = Plans()
    journal = large.journal()
    plans.watch(large, journal)
    work_through(large, journal)
    answer_people(large, journal)
    assert sorted((told, statement[:500]) for statement, told in plans.scans.items()) == []
    assert len(plans.seen) > 60
    if large.engine.dialect.name == "postgresql":
        prepared = {p.call for p in vars(shots).values() if isinstance(p, shots.Prepared)}
        assert prepared <= plans.seen
    else:
        short = {t for statements in sqlite.OF.values() for t in statements.texts}
        assert short | {*sqlite_members.TEXTS} <= plans.seen


def test_a_scan_would_be_seen(large: World) -> None:
    plans = Plans()
    journal = large.journal()
    plans.watch(large, journal)
    with large.engine.begin() as c:
        c.execute(text("SELECT count(*) FROM steps WHERE task = 'x'")).all()
        c.execute(text("SELECT id FROM runs WHERE state = 'x'")).all()
    assert len(plans.scans) == 2


#: More than are compared, of which a server that knows nothing of its tables takes one to be due.
_SLEEPERS = """
INSERT INTO steps (id, run_id, position, round, task, queue, priority, state, payload, attempts,
    max_attempts, token, ready_at, wake_at, wakes, cancel_requested, settled, created_at, tenant)
SELECT md5(n::text), md5(n::text), 0, 0, 'agents.flow', 'agents', 5, 'waiting', '{}', 0,
    4, 1, 0, 0, 0, FALSE, FALSE, 0, 't' FROM generate_series(1, 10000) AS n;
INSERT INTO joins (step_id, round, policy, keep, expected, done, succeeded, state, deadline_at)
SELECT md5(n::text), 1, 'any', FALSE, 1, 0, 0, 'open', n FROM generate_series(1, 10000) AS n;
"""


@pytest.mark.postgres
def test_of_flows_that_are_due_few_are_looked_up_by_a_server_without_statistics(
    postgres_journal_url: str,
) -> None:
    world, looks = World(postgres_journal_url), list[int]()
    journal = world.journal()
    with world.engine.begin() as c:
        c.execute(text("ALTER TABLE steps SET (autovacuum_enabled = false)"))
        c.execute(text("ALTER TABLE joins SET (autovacuum_enabled = false)"))
        c.execute(text(_SLEEPERS))

    def explain(_: Any, cursor: Any, statement: str, parameters: Any, *__: Any) -> None:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
        (answer,) = cursor.fetchone()
        nodes = _nodes(answer[0]["Plan"])
        looks.extend(n["Actual Loops"] for n in nodes if n.get("Relation Name") == "steps")

    event.listen(world.engine, "before_cursor_execute", explain)
    with world.engine.begin() as c:
        assert len(due.take_flows(c, 8, ["agents"], journal.me.id)) == 8
    assert max(looks) == due._AMONG
    world.close()
