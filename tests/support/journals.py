"""Journals as those of tests begin, empty and of the newest schema: made once in a run.

Each runner of files would run all migrations, make the files of a server, and have its forks put
the statements together: four seconds of CPU.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import make_url

from tests.support import forks
from tests.support.postgres import ENVIRONMENT, PostgresServer, binaries
from tests.support.scratch import scratch
from tests.support.workers import migrate

#: Each DROP DATABASE is a checkpoint, after which whole pages would be written anew.
SETTINGS = ("full_page_writes=off",)


class Served(NamedTuple):
    """A server that has been stopped, and its database."""

    server: PostgresServer
    database: str


class Journals:
    """Where they are: made as they are asked for; forks have those of the process they are of."""

    @cached_property
    def sqlite(self) -> Path:
        """The file of one."""
        path = self._folder / "journal.db"
        migrate(f"sqlite:///{path}")
        learn(f"sqlite:///{shutil.copyfile(path, path.with_name('learnt.db'))}")
        return path

    @cached_property
    def postgres(self) -> Served | None:
        """A server of tests to be copied; None where there is none, or one of the developer's."""
        if os.environ.get(ENVIRONMENT) or (programs := binaries()) is None:
            return None
        server = PostgresServer(programs, self._folder, *SETTINGS)
        server.start()
        url = server.create()
        migrate(url)
        learnt = server.create(template=make_url(url).database)
        learn(learnt)
        server.drop(learnt)
        server.end()
        return Served(server, str(make_url(url).database))

    def prepare(self, fixtures: set[str]) -> None:
        """Make those that tests with these fixtures ask for; what fails is told by the tests."""
        with suppress(RuntimeError):
            if fixtures & {"database", "sqlite_journal_url"}:
                _ = self.sqlite
            if fixtures & {"database", "postgres"}:
                _ = self.postgres

    def close(self) -> None:
        """Remove those that this process has made."""
        if self.__dict__.get("_owner") == os.getpid():
            shutil.rmtree(self._folder, ignore_errors=True)

    @cached_property
    def _folder(self) -> Path:
        self._owner = os.getpid()
        made = Path(tempfile.mkdtemp(prefix="celery-agents-journals-", dir=scratch()))
        made.chmod(0o711)  # the server has another user
        return made


def learn(url: str) -> None:
    """Have forks know the statements of journals like this one."""
    if forks.nursery is not None:
        forks.nursery.learn(url)


#: Those of this run.
journals = Journals()
