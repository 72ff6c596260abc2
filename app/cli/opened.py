"""The journal, opened for one command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import click
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from agents.threads import in_thread
from app.governance.logins import JournaledLogins
from app.journal.schema import migrate
from app.journal.schema.engine import connect_as
from app.journal.stores.memos import Memos
from app.settings import Settings
from celery_agents.errors import ConfigurationError, JournalUnavailableError


@contextmanager
def journal(ctx: click.Context) -> Iterator[Engine]:
    """Open the journal of the app that ``-A`` names."""
    engine = connect_as(ctx.obj.app.agents_settings, timeout_s=5.0)
    try:
        yield engine
    except (JournalUnavailableError, SQLAlchemyError) as error:
        if (problem := _of_schema(engine)) is not None:
            raise problem from error
        raise
    finally:
        engine.dispose()


def _of_schema(engine: Engine) -> ConfigurationError | None:
    """Return the error of a journal that has another version's schema, or none."""
    try:
        return migrate.refusal(engine)
    except (JournalUnavailableError, SQLAlchemyError):
        return None  # it is away: that is what is told


def logins_of(settings: Settings) -> JournaledLogins:
    """Logins at MCP servers; the journal is opened for the first that is asked for."""

    @cache
    def memos() -> Memos:
        return Memos(connect_as(settings, timeout_s=5.0))

    return JournaledLogins(memos, settings.seals, in_thread)
