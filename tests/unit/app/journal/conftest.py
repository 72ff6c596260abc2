"""Each test of the journal runs on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shutil import copy

import pytest
from sqlalchemy import make_url

from app.journal import Journal
from app.journal.schema.models import Base
from tests.support.postgres import Databases, engine
from tests.unit.app.journal.support import World


@pytest.fixture(scope="session")
def _shared_postgres(postgres: Databases, _migrated_postgres: str) -> Iterator[str]:
    url = postgres.create(template=make_url(_migrated_postgres).database)
    yield url
    postgres.drop(url)


@pytest.fixture
def emptied_postgres_url(_shared_postgres: str) -> str:
    """One database for all tests, emptied: making one for each would take most of their time."""
    deletes = "; ".join(f"DELETE FROM {name}" for name in Base.metadata.tables)
    with engine(_shared_postgres).connect() as c:
        c.exec_driver_sql(deletes)
    return _shared_postgres


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def journal_url(request: pytest.FixtureRequest) -> str:
    """An empty journal of the newest schema."""
    name = {"sqlite": "sqlite_journal_url", "postgres": "emptied_postgres_url"}[request.param]
    url: str = request.getfixturevalue(name)
    return url


@pytest.fixture
def world(journal_url: str) -> Iterator[World]:
    made = World(journal_url)
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
