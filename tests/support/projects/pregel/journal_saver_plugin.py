"""Has LangGraph's own tests use our saver where they use its saver for SQLite."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from uuid import uuid4

from app.saver import JournalSaver


@contextmanager
def _checkpointer() -> Iterator[JournalSaver]:
    """A saver with nothing in it: each tenant's threads are its own."""
    yield JournalSaver(uuid4().hex)


@asynccontextmanager
async def _checkpointer_aio() -> AsyncIterator[JournalSaver]:
    with _checkpointer() as made:
        yield made


def pytest_collection_finish() -> None:
    """Take the place of the two, in the module that has the fixtures."""
    fixtures = sys.modules["tests.conftest"]
    assert fixtures._checkpointer_sqlite, "not where it was"
    assert fixtures._checkpointer_sqlite_aio, "not where it was"
    fixtures._checkpointer_sqlite = _checkpointer
    fixtures._checkpointer_sqlite_aio = _checkpointer_aio
