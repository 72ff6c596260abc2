from __future__ import annotations

import base64
import struct
import sys
import threading
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import JSON, Engine, insert, inspect, text

from app.journal.schema import migrate
from app.journal.schema.engine import connect
from app.journal.schema.models import Base, MemoryVector
from app.journal.schema.transactions import in_transaction
from celery_agents.errors import ConfigurationError, JournalUnavailableError
from tests.support.apart import apart

pytestmark = pytest.mark.databases("both")


@pytest.fixture
def empty(request: pytest.FixtureRequest, database: str, tmp_path: Path) -> Engine:
    """An empty database."""
    if database == "sqlite":
        return connect(f"sqlite:///{tmp_path}/new/journal.db")
    return connect(request.getfixturevalue("postgres_url"))


def tables(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names()) - {"alembic_version"}


def test_up_down_and_up_again(empty: Engine) -> None:
    migrate.upgrade(empty)
    migrate.downgrade(empty, "base")
    assert tables(empty) == set()
    assert in_transaction(empty, migrate.current) is None
    migrate.upgrade(empty)
    assert tables(empty) == set(Base.metadata.tables)
    assert in_transaction(empty, migrate.current) == migrate.head()
    empty.dispose()


def test_vectors_stay_on_the_way_down(empty: Engine) -> None:
    """Those that are bytes are JSON again, as those were that stood there before."""
    migrate.upgrade(empty)
    keys = [{"space_id": 1, "number": n, "place": n, "model": "m", "data": {}} for n in range(3)]
    numbers = struct.pack("2f", 0.6, 0.8)
    rows = [{**key, "vector": numbers} for key in keys]
    rows[2] |= {"data": {"vector": "earlier"}, "vector": None}
    in_transaction(empty, lambda c: c.execute(insert(MemoryVector), rows))
    migrate.downgrade(empty, "0021")
    found = text("SELECT data FROM memory_vectors ORDER BY number").columns(data=JSON())
    told = in_transaction(empty, lambda c: list(c.execute(found).scalars()))
    made = {"vector": base64.b64encode(numbers).decode()}
    assert told == [made, made, {"vector": "earlier"}]
    migrate.upgrade(empty)
    empty.dispose()


def test_migrations_make_what_the_models_say(empty: Engine) -> None:
    migrate.upgrade(empty)
    with empty.connect() as c:
        context = MigrationContext.configure(c, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    empty.dispose()


def test_partial_indexes_hold_live_rows_only(empty: Engine) -> None:
    """Autogenerate does not compare their conditions."""
    migrate.upgrade(empty)
    wanted = {i.name for t in Base.metadata.tables.values() for i in t.indexes if partial(i)}
    made = {
        i["name"]
        for t in tables(empty)
        for i in inspect(empty).get_indexes(t)
        if any(k.endswith("_where") for k in i.get("dialect_options", {}))
    }
    assert made == wanted
    assert len(wanted) >= 5
    empty.dispose()


@pytest.mark.postgres
def test_pages_keep_room_for_next_versions(postgres_url: str) -> None:
    """Autogenerate does not compare this either."""
    engine = connect(postgres_url)
    migrate.upgrade(engine)
    with engine.connect() as c:
        query = "SELECT relname, reloptions[1] AS option FROM pg_class WHERE relkind = 'r'"
        made = {row.relname: row.option for row in c.exec_driver_sql(query) if row.option}
    wanted = {
        t.name: f"fillfactor={options['fillfactor']}"
        for t in Base.metadata.tables.values()
        if (options := t.dialect_options["postgresql"]["with"])
    }
    assert made == wanted
    assert set(wanted) == {"runs", "steps"}
    engine.dispose()


@pytest.mark.postgres
def test_a_dump_holds_up_the_migration_and_nobody_else(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for a table that is being read has all others wait behind it."""
    monkeypatch.setattr(migrate, "LOCK_WAIT_S", 0.1)
    engine = connect(postgres_url)
    migrate.upgrade(engine, "0014")
    with engine.connect() as dump:
        dump.exec_driver_sql("LOCK TABLE steps IN ACCESS SHARE MODE")  # as pg_dump does
        with pytest.raises(JournalUnavailableError, match=r"in use .* Nothing was changed"):
            migrate.upgrade(engine)
        assert in_transaction(engine, migrate.current) == "0014"
        in_transaction(engine, lambda c: c.exec_driver_sql("UPDATE steps SET state = 'ready'"))
    migrate.upgrade(engine)
    with engine.connect() as dump:
        dump.exec_driver_sql("LOCK TABLE steps IN ACCESS SHARE MODE")
        with pytest.raises(JournalUnavailableError, match="Nothing was changed"):
            migrate.downgrade(engine, "0014")
    assert in_transaction(engine, migrate.current) == migrate.head()
    with engine.connect() as later:  # the bound was that transaction's alone
        assert later.exec_driver_sql("SHOW lock_timeout").scalar() == "0"
    engine.dispose()


def partial(index: object) -> bool:
    return bool(index.dialect_options["sqlite"]["where"] is not None)  # type: ignore[attr-defined]  # Index's


def test_a_worker_makes_the_schema_of_an_embedded_journal(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path}/journal.db")
    migrate.ensure_schema(engine)
    migrate.ensure_schema(engine)
    assert tables(engine) == set(Base.metadata.tables)
    engine.dispose()


def described(engine: Engine) -> dict[str, object]:
    """Tables by their columns, keys and constraints, whatever the order; indexes by their text."""
    found, told = inspect(engine), dict[str, object]()
    for table in (*tables(engine), "alembic_version"):
        told[table] = (
            {c["name"]: {n: str(v) for n, v in c.items()} for c in found.get_columns(table)},
            found.get_pk_constraint(table),
            sorted(map(str, found.get_foreign_keys(table))),
            sorted(map(str, found.get_check_constraints(table))),
            sorted(map(str, found.get_unique_constraints(table))),
        )
    query = text("SELECT name, sql FROM sqlite_master WHERE type <> 'table' AND sql IS NOT NULL")
    with engine.connect() as c:
        told |= {row.name: " ".join(row.sql.split()) for row in c.execute(query)}
        told["made of"] = [*c.execute(text("SELECT version_num FROM alembic_version"))]
    return told


def test_an_embedded_journal_is_made_as_all_migrations_make_it(tmp_path: Path) -> None:
    one, other = (connect(f"sqlite:///{tmp_path}/{name}.db") for name in ("made", "migrated"))
    migrate.ensure_schema(one)
    migrate.upgrade(other)
    assert described(one) == described(other)
    migrate.downgrade(one, "base")
    migrate.ensure_schema(one)  # beside Alembic's own table, which stays
    assert described(one) == described(other)
    migrate.downgrade(one, "0014")
    migrate.ensure_schema(one)
    assert described(one) == described(other)
    one.dispose()
    other.dispose()


def test_the_head_is_the_number_of_the_last_migration() -> None:
    folder = Path(migrate.__file__).parent / "migrations"
    config = Config()
    config.set_main_option("script_location", str(folder))
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_heads() == [migrate.head()]
    named = {script.revision: Path(script.path).name for script in scripts.walk_revisions()}
    assert {name.partition("_")[0] for name in named.values()} == {*named}


def test_who_finds_or_makes_the_schema_imports_no_alembic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is it imported with our modules: tests/unit/test_imports.py."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "alembic"]:
        monkeypatch.setitem(sys.modules, name, None)
    for _ in range(2):
        engine = connect(f"sqlite:///{tmp_path}/journal.db")
        migrate.ensure_schema(engine)
        engine.dispose()
    with pytest.raises(ImportError):
        migrate.upgrade(engine)


@pytest.mark.postgres
def test_a_worker_does_not_change_the_schema_of_a_server(postgres_url: str) -> None:
    engine = connect(postgres_url)
    with pytest.raises(ConfigurationError, match=r"is empty, .*agents db upgrade"):
        migrate.ensure_schema(engine)
    migrate.upgrade(engine)
    migrate.ensure_schema(engine)
    engine.dispose()


def test_a_schema_of_a_newer_version_is_left_alone(empty: Engine) -> None:
    """Whoever starts, upgrades or downgrades there is told; an upgrade would not help."""
    migrate.upgrade(empty)
    newer = text("UPDATE alembic_version SET version_num = '9999'")
    in_transaction(empty, lambda c: c.execute(newer))
    for touch in (
        migrate.ensure_schema,
        migrate.upgrade,
        lambda engine: migrate.downgrade(engine, "base"),
    ):
        with pytest.raises(ConfigurationError, match="9999 is of a newer version"):
            touch(empty)
    assert "agents db upgrade" not in str(migrate.refusal(empty))
    assert tables(empty) == set(Base.metadata.tables)
    empty.dispose()


def test_two_workers_that_start_at_once_make_one_schema(tmp_path: Path) -> None:
    for n in range(5):
        engines = [connect(f"sqlite:///{tmp_path}/{n}.db") for _ in range(3)]
        failures: list[BaseException] = []
        start = threading.Barrier(len(engines))

        def ensure(
            engine: Engine,
            start: threading.Barrier = start,
            failures: list[BaseException] = failures,
        ) -> None:
            start.wait()
            try:
                migrate.ensure_schema(engine)
            except Exception as error:  # noqa: BLE001 - the test shows whatever it was
                failures.append(error)

        threads = [threading.Thread(target=ensure, args=(e,)) for e in engines]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert failures == []
        assert tables(engines[0]) == set(Base.metadata.tables)
        for engine in engines:
            engine.dispose()


def ensured(url: str, begin: Barrier) -> None:
    """Ensure the schema as one of several processes that begin at once."""
    engine = connect(url)
    begin.wait()
    migrate.ensure_schema(engine)


def test_two_processes_too(tmp_path: Path) -> None:
    for n in range(2):
        args = (f"sqlite:///{tmp_path}/{n}.db", apart.Barrier(2))
        children = [apart.Process(target=ensured, args=args) for _ in range(2)]
        for child in children:
            child.start()
        for child in children:
            child.join(60)
        assert [child.exitcode for child in children] == [0, 0]


def test_rows_from_before_tenants_are_nobodys(empty: Engine) -> None:
    migrate.upgrade(empty, "0001")
    with empty.begin() as c:
        c.exec_driver_sql(
            "INSERT INTO runs (id, task, state, created_at, compensable)"
            " VALUES ('r', 'agents.ask', 'open', 1, false)"
        )
    migrate.upgrade(empty)
    with empty.begin() as c:
        assert c.exec_driver_sql("SELECT tenant FROM runs").scalars().all() == [""]
    migrate.downgrade(empty, "0001")
    with empty.begin() as c:
        assert c.exec_driver_sql("SELECT id FROM runs").scalars().all() == ["r"]
    empty.dispose()
