"""One worker on servers of its own, for what is measured of it alone."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.integration.harness import Stack
from tests.support.redis_server import RedisServer
from tests.support.workers import migrate

#: Of one that is full: nothing else of Celery's is measured.
QUIET = ("--without-mingle", "--without-gossip", "-Q", "agents,agents.control")


@contextmanager
def one_worker(
    *options: str,
    config: str = "",
    env: Mapping[str, str] | None = None,
    url: str | None = None,
    ready: bool = True,
) -> Iterator[Stack]:
    """A broker, a journal (of this ``url``, else in a file) and a worker of these options.

    ``config`` is its agents' file, where there is one.
    """
    with tempfile.TemporaryDirectory() as folder, RedisServer(Path(folder) / "broker") as broker:
        directory, given = Path(folder), dict(env or {})
        if config:
            file = directory / "agents.toml"
            file.write_text(config, encoding="utf-8")
            given["AGENTS_CONFIG"] = str(file)
        journal = url or f"sqlite:///{directory / 'journal.db'}"
        migrate(journal)
        stack = Stack(broker.url, journal, directory, given)
        try:
            stack.worker([*options, *QUIET], ready=ready)
            yield stack
        finally:
            stack.close()
