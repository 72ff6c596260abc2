"""The journal, opened for one command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click
from sqlalchemy import Engine

from app.journal.schema.engine import connect_as


@contextmanager
def journal(ctx: click.Context) -> Iterator[Engine]:
    """Open the journal of the app that ``-A`` names."""
    engine = connect_as(ctx.obj.app.agents_settings, timeout_s=5.0)
    try:
        yield engine
    finally:
        engine.dispose()
