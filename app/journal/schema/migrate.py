"""The journal's schema, by Alembic: upgrade, downgrade, and the check at a worker's start.

Alembic takes longer to import than all that a worker asks of the schema, so only what changes one
that is there imports it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    insert,
    inspect,
    select,
)
from sqlalchemy.exc import DBAPIError

from app.journal.schema.models import Base
from app.journal.schema.transactions import in_transaction
from celery_agents import names
from celery_agents.errors import ConfigurationError, JournalUnavailableError

if TYPE_CHECKING:
    from alembic.config import Config

log = logging.getLogger(__name__)

_FOLDER = Path(__file__).parent / "migrations"
#: Alembic's own table, as it makes it.
_VERSION = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32)),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)

#: Behind a migration that waits for a table all others wait, so it does not for long, and tries
#: again: a dump keeps the tables to its end.
LOCK_WAIT_S = 5.0
_LOCKED = "55P03"  # lock_not_available


def _config(connection: Connection) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.attributes["connection"] = connection
    return config


@cache
def _revisions() -> frozenset[str]:
    files = (_FOLDER / "versions").glob("[0-9]*.py")
    return frozenset(file.name.partition("_")[0] for file in files)


def head() -> str:
    """Return the revision that this version needs: the number of the last migration's file."""
    return max(_revisions())


def current(connection: Connection) -> str | None:
    """Return the revision that the database has; None when it has none."""
    if not inspect(connection).has_table(_VERSION.name):
        return None
    return connection.execute(select(_VERSION)).scalar()


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Bring the schema up to ``revision``; all in one transaction.

    Raises:
        ConfigurationError: the schema is of a version that this one does not know.
        JournalUnavailableError: somebody keeps the tables, as a dump does; nothing was changed.
    """
    from alembic import command

    _migrate(engine, lambda c: command.upgrade(_config(c), revision))


def downgrade(engine: Engine, revision: str) -> None:
    """Take the schema back to ``revision``; all in one transaction.

    Raises:
        ConfigurationError: the schema is of a version that this one does not know.
        JournalUnavailableError: somebody keeps the tables, as a dump does; nothing was changed.
    """
    from alembic import command

    _migrate(engine, lambda c: command.downgrade(_config(c), revision))


def _migrate(engine: Engine, work: Callable[[Connection], None]) -> None:
    def bounded(connection: Connection) -> None:
        if (found := current(connection)) is not None and found not in _revisions():
            raise _other_schema(engine, found)
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {int(LOCK_WAIT_S * 1000)}")
        work(connection)

    try:
        in_transaction(engine, bounded)
    except JournalUnavailableError as error:
        cause = error.__cause__
        if isinstance(cause, DBAPIError) and getattr(cause.orig, "pgcode", "") == _LOCKED:
            raise JournalUnavailableError(
                "The journal's tables are in use by a transaction that takes long: a dump, or a "
                "query of somebody's. Nothing was changed. Try again after its end."
            ) from error
        raise


def ensure_schema(engine: Engine) -> None:
    """Check the schema at a worker's start; a SQLite journal is made or upgraded on the way.

    Raises:
        ConfigurationError: the schema of a server database is not the one of this version, or that
            of a SQLite journal is of a version that this one does not know.
    """
    wanted = head()
    found = in_transaction(engine, current)
    if found == wanted:
        return
    if engine.dialect.name == "sqlite":  # embedded: nobody else would do it
        if not in_transaction(engine, _make):
            upgrade(engine)
        log.info("The SQLite journal is at schema %s", wanted)
        return
    raise _other_schema(engine, found)


def refusal(engine: Engine) -> ConfigurationError | None:
    """Return the error of a journal whose schema is not the one of this version, or none.

    Raises:
        JournalUnavailableError: it is away.
    """
    found = in_transaction(engine, current)
    return None if found == head() else _other_schema(engine, found)


def _other_schema(engine: Engine, found: str | None) -> ConfigurationError:
    where = engine.url.set(query={}).render_as_string(hide_password=True)
    what = (
        f"The schema of the journal ({where}) is {found or 'empty'}, this version needs {head()}."
    )
    if found is None or found in _revisions():
        do = f"Run: {names.COMMAND} db upgrade"
    else:
        do = f"{found} is of a newer version: start that one, or let it take the schema down."
    return ConfigurationError(f"{what} Is it the one of DATABASE_URL that you mean? {do}")


def _make(connection: Connection) -> bool:
    """Make the tables of this version at once; return False where some version's are there."""
    if current(connection) is not None:
        return False
    Base.metadata.create_all(connection, checkfirst=False)
    _VERSION.create(connection, checkfirst=True)  # a journal that was taken down has it, empty
    connection.execute(insert(_VERSION).values(version_num=head()))
    return True
