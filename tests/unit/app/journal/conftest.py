"""Each file of tests of the journal runs on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from shutil import copy

import pytest
from sqlalchemy import Engine, make_url
from sqlalchemy.engine.base import OptionEngine
from sqlalchemy.exc import OperationalError

from app.journal import Journal
from app.journal.schema.engine import connect
from app.journal.schema.models import Base
from tests.support.postgres import Databases, engine
from tests.unit.app.journal.support import World


@pytest.fixture(scope="session")
def _shared_postgres(postgres: Databases, _migrated_postgres: str) -> Iterator[str]:
    url = postgres.create(template=make_url(_migrated_postgres).database)
    yield url
    postgres.drop(url)


class Emptying:
    """Empties a database over one connection: the first statements of each new one take 13 ms."""

    _DELETES = "; ".join(f"DELETE FROM {name}" for name in Base.metadata.tables)

    def __init__(self, url: str) -> None:
        self._engine = engine(url)
        self._connection = self._engine.connect()

    def __call__(self) -> None:
        try:
            self._connection.exec_driver_sql(self._DELETES)
        except OperationalError:  # a test has cut all connections
            self.close()
            self._connection = self._engine.connect()
            self._connection.exec_driver_sql(self._DELETES)

    def close(self) -> None:
        self._connection.close()


@pytest.fixture(scope="session")
def _emptying(_shared_postgres: str) -> Iterator[Emptying]:
    with closing(Emptying(_shared_postgres)) as made:
        yield made


@pytest.fixture
def emptied_postgres_url(_shared_postgres: str, _emptying: Emptying) -> str:
    """One database for all tests, emptied: making one for each would take most of their time."""
    _emptying()
    return _shared_postgres


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test whose file does not say "both" on one of them (tests/support/databases.py)."""
    if metafunc.definition.get_closest_marker("databases") is None:
        metafunc.definition.add_marker(pytest.mark.databases("one"))


@pytest.fixture
def journal_url(request: pytest.FixtureRequest, database: str) -> str:
    """An empty journal of the newest schema."""
    name = {"sqlite": "sqlite_journal_url", "postgres": "emptied_postgres_url"}[database]
    url: str = request.getfixturevalue(name)
    return url


class _Kept(OptionEngine):
    """An engine whose connections stay for the next test."""

    def dispose(self, close: bool = True) -> None:
        """Leave them."""


class Lasting:
    """Engines of one database for all tests: each new connection takes both sides 10 ms.

    The first of each test has those of the first of others, and so on.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._all: list[Engine] = []

    def of_a_test(self) -> Iterator[Engine]:
        """Yield the engines of a test, one after another."""
        for one in self._all:
            with suppress(OperationalError), one.connect() as connection:  # a test has cut them
                connection.exec_driver_sql("SELECT 1")
            yield _Kept(one, {})
        while True:
            self._all.append(connect(self.url))
            yield _Kept(self._all[-1], {})

    def close(self) -> None:
        for one in self._all:
            one.dispose()


@pytest.fixture(scope="session")
def _lasting(_shared_postgres: str) -> Iterator[Lasting]:
    with closing(Lasting(_shared_postgres)) as made:
        yield made


@pytest.fixture
def world(request: pytest.FixtureRequest, journal_url: str) -> Iterator[World]:
    engines = None
    if journal_url.startswith("postgresql"):
        lasting: Lasting = request.getfixturevalue("_lasting")
        assert lasting.url == journal_url
        engines = partial(next, lasting.of_a_test())
    made = World(journal_url, made=engines)
    yield made
    made.close()


@pytest.fixture
def journal(world: World) -> Journal:
    """The journal as one worker process sees it."""
    return world.journal()


@pytest.fixture
def second_journal_url(
    request: pytest.FixtureRequest, journal_url: str, tmp_path: Path
) -> Iterator[str]:
    """Another empty journal, of the same database as the first one."""
    if journal_url.startswith("sqlite"):
        first, second = Path(str(make_url(journal_url).database)), tmp_path / "second.db"
        copy(first, second)
        yield str(make_url(journal_url).set(database=str(second)))
        return
    postgres: Databases = request.getfixturevalue("postgres")
    template = make_url(request.getfixturevalue("_migrated_postgres")).database
    url = postgres.create(template=template)
    yield url
    postgres.drop(url)
