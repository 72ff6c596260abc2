"""Workers of the test kit: ``python -m celery_agents.service.app.testing.process FD``.

They are Celery's own, with three things that their environment says: the agents' scripts and
cassettes, the journal's clock, and an end with the process that started them, however that ends.
What takes long is to import Celery, SQLAlchemy and the service; so one process does that once, and
forks a worker for each line that it is told: its arguments and variables, as JSON. It writes the
worker's pid to the descriptor.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from contextlib import suppress
from importlib import import_module, metadata
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

from app.layout import qualified

#: Variables that a stack sets; none begins as the service's settings do.
CLOCK, MODELS = "CELERY_AGENTS_TESTING_CLOCK", "CELERY_AGENTS_TESTING_MODELS"
#: Of :data:`MODELS`: models without a script are asked.
REAL = "real"
#: What a worker imports as it starts.
_EARLY = ("celery.apps.worker", "celery.worker.consumer", "celery.app.log")
_OURS = ("app.factory", "app.pool.pool", "app.messaging.consumer", "app.execution.task", "tasks")


_entry_points = metadata.entry_points


def _without_commands(**about: str) -> Any:
    """No commands of other packages: Flower's, which Celery would import, is a server of pages."""
    return () if about.get("group") == "celery.commands" else _entry_points(**about)


def _import_commands() -> None:
    """Import Celery's commands, but no prompt for `celery amqp`: that is a library of terminals."""
    prompt = ModuleType("click_repl")
    vars(prompt)["register_repl"] = lambda _: None
    with patch.object(metadata, "entry_points", _without_commands):
        sys.modules[prompt.__name__] = prompt
        import_module("celery.bin.celery")
        del sys.modules[prompt.__name__]


def main() -> None:
    """Import, then fork workers, until standard input is closed."""
    gc.disable()  # importing makes no garbage; the service looks after it from then on
    _import_commands()
    for name in (*_EARLY, *map(qualified, _OURS)):
        import_module(name)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that none stays as a zombie
    _fork(int(sys.argv[1]))


def _fork(told: int) -> None:
    """Fork a worker for each line, and end with them all, also where nobody is told any more."""
    workers: list[int] = []
    try:
        while line := sys.stdin.readline():
            if (pid := os.fork()) == 0:
                workers.clear()  # whose end is the parent's
                os.close(told)
                _work(*json.loads(line))
                return
            workers.append(pid)
            with suppress(BrokenPipeError):  # who started us is gone: there is no more to read
                os.write(told, f"{pid}\n".encode())
    finally:
        for pid in workers:
            _kill(pid)


def _kill(pid: int) -> None:
    """Kill a worker, if it still is one: the id of one that has ended may be somebody else's."""
    with suppress(ChildProcessError, ProcessLookupError):
        if os.waitpid(pid, os.WNOHANG) == (0, 0):
            os.kill(pid, signal.SIGKILL)


def _work(argv: list[str], environ: dict[str, str]) -> None:
    """Be a worker."""
    os.environ.clear()
    os.environ.update(environ)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, sys.stdin.fileno())
    gc.enable()
    from app.journal.schema.moving import MovedClock
    from app.testing.cassettes import SharedTape, play_calls
    from app.testing.playing import play_all
    from app.testing.replies import SharedReplies, connected

    MovedClock(Path(os.environ[CLOCK])).show()
    broker = connected(os.environ["REDIS_URL"])
    play_all(SharedReplies(broker), real=os.environ.get(MODELS) == REAL)
    play_calls(SharedTape(broker))
    from celery.__main__ import main as celery

    sys.argv = ["celery", *argv]
    celery()


if __name__ == "__main__":
    main()
