"""The journal, opened for one command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import click
from sqlalchemy import Engine

from agents.threads import in_thread
from app.governance.logins import JournaledLogins
from app.journal.schema.engine import connect_as
from app.journal.stores.memos import Memos
from app.settings import Settings


@contextmanager
def journal(ctx: click.Context) -> Iterator[Engine]:
    """Open the journal of the app that ``-A`` names."""
    engine = connect_as(ctx.obj.app.agents_settings, timeout_s=5.0)
    try:
        yield engine
    finally:
        engine.dispose()


def logins_of(settings: Settings) -> JournaledLogins:
    """Logins at MCP servers; the journal is opened for the first that is asked for."""

    @cache
    def memos() -> Memos:
        return Memos(connect_as(settings, timeout_s=5.0))

    return JournaledLogins(memos, settings.seals, in_thread)
