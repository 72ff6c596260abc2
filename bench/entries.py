"""Entries a second that four processes add to streams, and what a follower misses of them.

Each writer adds batches to a stream of its own, as steps' ends do, while one follower reads all of
them page by page until it has come past the last.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from typing import Any

from sqlalchemy import Engine, func, select

from app.journal.queries.entries import Position
from app.journal.schema.engine import connect
from app.journal.schema.models import Entry
from app.journal.schema.rows import NewEntry
from app.journal.stores.streams import StreamStore
from bench.journals import journals

WRITERS, BATCHES, BATCH, SOON_S = 4, 800, 32, 300.0
PAGE = 1_000


def main() -> None:
    """Print both databases' figures."""
    for name, url in journals():
        for followed in (False, True):
            told = {"bench": "entries", "database": name, "followed": followed}
            print(json.dumps(told | measured(url, followed=followed)), flush=True)


def measured(url: str, *, followed: bool) -> dict[str, int]:
    """Have the writers write, with or without a follower beside them; what came of it."""
    spawn = multiprocessing.get_context("spawn")
    together, times = spawn.Barrier(WRITERS), spawn.SimpleQueue()
    prefix = f"bench-{followed}/"
    streams = [f"{prefix}{n}" for n in range(WRITERS)]
    writers = [spawn.Process(target=_write, args=(url, s, together, times)) for s in streams]
    for writer in writers:
        writer.start()
    engine = connect(url)
    seen = _followed(StreamStore(engine), prefix, writers) if followed else []
    began, ended = zip(*(times.get() for _ in writers), strict=True)
    for writer in writers:
        writer.join()
    wanted = WRITERS * BATCHES * BATCH
    told = {
        "entries": wanted,
        "entries_per_s": round(wanted / (max(ended) - min(began))),
        "lost": wanted - _there(engine, prefix),
    }
    engine.dispose()
    once = len(set(seen))
    return told | ({"missed": wanted - once, "seen_twice": len(seen) - once} if followed else {})


def _followed(
    store: StreamStore, prefix: str, writers: Sequence[BaseProcess]
) -> list[tuple[str, int]]:
    """The places of all entries that a follower comes past, in its order."""
    seen: list[tuple[str, int]] = []
    done: Position | None = None
    while True:
        running = any(writer.is_alive() for writer in writers)
        page, done = store.follow("", prefix, prefix, PAGE, done)
        seen += [(entry["stream"], entry["seq"]) for entry in page]
        if not (page or running):
            return seen


def _there(engine: Engine, prefix: str) -> int:
    query = select(func.count()).select_from(Entry).where(Entry.stream.startswith(prefix))
    with engine.connect() as connection:
        return int(connection.execute(query).scalar_one())


def _write(url: str, stream: str, together: Barrier, times: SimpleQueue[Any]) -> None:
    engine = connect(url)
    store = StreamStore(engine)
    new = [NewEntry("", stream, "noted", {"n": n}) for n in range(BATCH)]
    store.read("", stream, -1, 1)  # its connection is open
    together.wait(SOON_S)
    began = time.monotonic()
    for _ in range(BATCHES):
        store.append("", stream, new)
    times.put((began, time.monotonic()))
    engine.dispose()
