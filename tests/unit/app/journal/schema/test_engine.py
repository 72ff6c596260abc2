from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import DBAPIError

from app.journal.schema import engine as engines
from app.journal.schema.engine import (
    CACHE_KIB,
    READ_ONLY,
    as_json,
    connect,
    read_clock,
    reading,
    relaxed,
)
from app.journal.schema.transactions import in_statements, in_transaction
from celery_agents.errors import AgentsError, ConfigurationError
from tests.unit.app.journal.support import World

pytestmark = pytest.mark.databases("both")


def test_the_databases_clock_tells_seconds_since_the_epoch(world: World) -> None:
    first = world.clock()
    assert first == pytest.approx(time.time(), abs=30)
    time.sleep(0.02)
    assert 0 < world.clock() - first < 10  # finer than a second


def test_the_clock_goes_on_within_a_transaction(world: World) -> None:
    with world.engine.connect() as c:
        first = read_clock(c)
        time.sleep(0.02)
        assert read_clock(c) > first


def test_a_clock_that_is_answered_late_is_not_ahead(world: World) -> None:
    """A frozen process, a network that stalls: what is made by it would not be due for as long."""
    late: list[float] = []

    def stall(*_: Any) -> None:
        late.append(time.monotonic())
        time.sleep(0.3)

    with connect(world.url).connect() as c:
        event.listen(c, "before_cursor_execute", stall)
        read_clock(c)
        event.remove(c, "before_cursor_execute", stall)
        known = read_clock(c)
    assert len(late) == 1
    assert known <= world.clock() + 0.02


@pytest.mark.postgres
def test_a_transaction_that_is_let_wait_holds_up_nobody_for_ever(
    postgres_journal_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of a process that is frozen amid it, with locks that others want."""
    monkeypatch.setattr(engines, "LET_WAIT_S", 0.5)
    frozen, others = connect(postgres_journal_url), connect(postgres_journal_url)
    lock = text("SELECT pg_advisory_xact_lock(7)")
    with frozen.connect() as c:
        c.execute(lock)
        with others.begin() as other:
            other.execute(text("SET LOCAL lock_timeout = '60s'"))
            other.execute(lock)
        with pytest.raises(DBAPIError):
            c.execute(lock)
    assert in_transaction(frozen, lambda c: c.execute(text("SELECT 1")).scalar()) == 1
    for engine in (frozen, others):
        engine.dispose()


@pytest.mark.postgres
def test_the_server_compiles_no_statement_and_plans_it_once(postgres_journal_url: str) -> None:
    """A plan that has to go a way which is switched off looks dear: to compile it took a second."""
    engine = connect(postgres_journal_url)
    with engine.connect() as c:
        c.rollback()
        assert c.exec_driver_sql("SHOW jit").scalar_one() == "off"
        assert c.exec_driver_sql("SHOW plan_cache_mode").scalar_one() == "force_generic_plan"
    engine.dispose()


@pytest.mark.postgres
def test_a_read_without_a_transaction_leaves_its_connection_to_those_with_one(
    postgres_journal_url: str,
) -> None:
    """Else half of a write would stay, where its other half fails."""
    engine = connect(postgres_journal_url)
    moment = text("SELECT transaction_timestamp()")

    def moments(c: Connection) -> set[object]:
        return {c.execute(moment).scalar() for _ in range(2)}

    def fail(c: Connection) -> None:
        c.execute(text("SELECT 1 / 0"))

    assert len(in_statements(engine, moments)) == 2
    assert len(in_transaction(engine, moments)) == 1
    with pytest.raises(DBAPIError):
        in_statements(engine, fail)
    assert len(in_transaction(engine, moments)) == 1
    engine.dispose()


def test_sqlite_is_durable_and_for_many_processes(sqlite_journal_url: str) -> None:
    with connect(sqlite_journal_url).connect() as c:
        found = {
            p: c.exec_driver_sql(f"PRAGMA {p}").scalar_one()
            for p in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_a_transaction_that_reads_sees_one_moment(world: World) -> None:
    """Else a run is read half before and half after its end: ready, and finished at noon."""
    count, add = text("SELECT count(*) FROM actors"), text("INSERT INTO actors VALUES (:name)")

    def put(name: str) -> None:
        with world.engine.begin() as c:
            c.execute(add, {"name": name})

    with world.engine.begin() as c:
        c.execute(text("CREATE TABLE actors (name varchar(9))"))
    with reading(world.engine).connect() as c:
        before = c.execute(count).scalar_one()
        put("meanwhile")
        assert c.execute(count).scalar_one() == before == 0
    for _ in range(3):  # the connection that read writes again, and sees what others wrote
        put("after")
    with world.engine.connect() as c:
        assert c.execute(count).scalar_one() == 4


def test_sqlite_writers_wait_and_readers_do_not(sqlite_journal_url: str) -> None:
    engine = connect(sqlite_journal_url, timeout_s=0.1)
    with engine.begin():
        with (
            pytest.raises(Exception, match="locked"),
            connect(sqlite_journal_url, timeout_s=0.1).begin(),
        ):
            pass
        with reading(engine).begin() as c:
            assert c.execute(text("SELECT count(*) FROM steps")).scalar_one() == 0


def test_the_folder_of_an_embedded_journal_is_made(tmp_path: Path) -> None:
    with connect(f"sqlite:///{tmp_path}/a/b/journal.db").connect() as c:
        assert c.execute(text("SELECT 1")).scalar_one() == 1


@pytest.mark.parametrize("umask", [0o022, 0o000, 0o077])
def test_an_embedded_journal_is_for_its_user_alone(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with connect(f"sqlite:///{tmp_path}/a/journal.db").begin() as c:
            c.execute(text("CREATE TABLE t (x)"))
            made = sorted((tmp_path / "a").iterdir())
            assert [f.name for f in made] == ["journal.db", "journal.db-shm", "journal.db-wal"]
            assert {oct(f.stat().st_mode & 0o777) for f in made} == {"0o600"}
    finally:
        os.umask(before)
    assert oct((tmp_path / "a").stat().st_mode & 0o777) == "0o700"


def test_one_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    file = tmp_path / "journal.db"
    file.touch(0o644)
    file.chmod(0o644)
    connect(f"sqlite:///{file}").dispose()
    assert oct(file.stat().st_mode & 0o777) == "0o600"


def test_another_engine_leaves_this_process_its_locks(tmp_path: Path) -> None:
    """Else the next process to leave takes itself for the last, and deletes the log in use."""
    file, log = tmp_path / "journal.db", tmp_path / "journal.db-wal"
    engine = connect(f"sqlite:///{file}")
    with engine.begin() as c:
        c.execute(text("CREATE TABLE t (x)"))
    before = log.stat().st_ino
    connect(f"sqlite:///{file}")
    read = f"import sqlite3; sqlite3.connect({str(file)!r}).execute('SELECT * FROM t').close()"
    subprocess.run([sys.executable, "-c", read], check=True)
    assert log.stat().st_ino == before
    engine.dispose()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("no url", "not a database URL"),
        ("", "not a database URL"),
        ("mysql://root:hunter2@localhost/db", "'mysql'"),
        ("sqlite://", "memory"),
        ("sqlite:///:memory:", "memory"),
    ],
)
def test_urls_of_no_use_are_told(url: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told) as error:
        connect(url)
    assert "hunter2" not in str(error.value)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AgentsError, match="file"):
        connect(f"sqlite:///{tmp_path}/file/journal.db")


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_postgres_by_each_of_its_names(scheme: str) -> None:
    assert connect(f"{scheme}://u:p@host/db").url.drivername == "postgresql+psycopg2"


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=())),
    lambda below: (
        st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below, max_size=3)
    ),
    max_leaves=8,
)


@given(json_values)
def test_every_value_has_a_form_that_both_databases_take(value: object) -> None:
    text = as_json(value)
    text.encode()  # no halves of surrogate pairs

    def refuse(constant: str) -> object:
        raise AssertionError(constant)

    assert json.loads(text, parse_constant=refuse) == finite(value)


def finite(value: object) -> object:
    match value:
        case float() if not math.isfinite(value):
            return None
        case list():
            return [finite(v) for v in value]
        case dict():
            return {k: finite(v) for k, v in value.items()}
    return value


def test_only_what_is_final_waits_for_the_disk(tmp_path: Path) -> None:
    """Each transaction says anew how durable it is, whatever its connection did before."""
    engine = connect(f"sqlite:///{tmp_path / 'journal.db'}")
    found = []
    for made in (relaxed(engine), engine, relaxed(engine), engine):
        with made.begin() as connection:
            found.append(connection.exec_driver_sql("PRAGMA synchronous").scalar())
    assert found == [1, 2, 1, 2]
    engine.dispose()


def test_a_connection_to_a_file_keeps_little_of_it(sqlite_journal_url: str) -> None:
    """It forgets all of that whenever another one writes; a worker has many."""
    made = connect(sqlite_journal_url)
    with made.connect() as first, reading(made).connect() as second:
        kept = [c.exec_driver_sql("PRAGMA cache_size").scalar_one() for c in (first, second)]
    assert kept == [-CACHE_KIB, -CACHE_KIB]
    made.dispose()


def test_an_engine_that_reads_is_made_once(journal_url: str) -> None:
    made = connect(journal_url)
    assert reading(made) is reading(made)
    assert reading(made).get_execution_options()[READ_ONLY]
    assert READ_ONLY not in made.get_execution_options()
    made.dispose()
