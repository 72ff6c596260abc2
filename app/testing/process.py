"""Workers of the test kit: ``python -m celery_agents.service.app.testing.process FD worker …``.

They are Celery's own, with three things that their environment says: the agents' scripts and
cassettes, the journal's clock, and an end with the process that started them, however that ends.
What takes long is to import Celery, SQLAlchemy and the service; so one process does that once, and
forks a worker for each line that it is told. It writes the worker's pid to the descriptor.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from app.layout import qualified

#: Variables that a stack sets; none begins as the service's settings do.
CLOCK, MODELS = "CELERY_AGENTS_TESTING_CLOCK", "CELERY_AGENTS_TESTING_MODELS"
#: Of :data:`MODELS`: models without a script are asked.
REAL = "real"
#: What a worker imports as it starts.
_EARLY = ("celery.bin.celery", "celery.apps.worker", "celery.worker.consumer", "celery.app.log")
_OURS = ("app.factory", "app.pool.pool", "app.messaging.consumer", "app.execution.task", "tasks")


def main() -> None:
    """Import, then fork workers, until standard input is closed."""
    gc.disable()  # importing makes no garbage; the service looks after it from then on
    for name in (*_EARLY, *map(qualified, _OURS)):
        import_module(name)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that none stays as a zombie
    told, workers = int(sys.argv.pop(1)), []
    while os.read(sys.stdin.fileno(), 1):
        if (pid := os.fork()) == 0:
            os.close(told)
            _work()
            return
        workers.append(pid)
        os.write(told, f"{pid}\n".encode())
    for pid in workers:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _work() -> None:
    """Be a worker."""
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

    sys.argv[0] = "celery"
    celery()


if __name__ == "__main__":
    main()
