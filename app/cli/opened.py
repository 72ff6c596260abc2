"""The journal, opened for one command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click
from sqlalchemy import Engine

from app.journal.schema.engine import connect


@contextmanager
def journal(ctx: click.Context) -> Iterator[Engine]:
    """Open the journal of the app that ``-A`` names."""
    settings = ctx.obj.app.agents_settings
    url = settings.database_url.get_secret_value()
    engine = connect(url, timeout_s=5.0, seals=settings.seals)
    try:
        yield engine
    finally:
        engine.dispose()
