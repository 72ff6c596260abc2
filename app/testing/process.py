"""A worker of the test kit: ``python -m celery_agents.service.app.testing.process -A … worker …``.

It is Celery's own worker, with three things that its environment says: the agents' scripts, the
journal's clock, and an end with the process that started it, however that ends.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from pathlib import Path

#: Variables that a stack sets; none begins as the service's settings do.
CLOCK, MODELS = "CELERY_AGENTS_TESTING_CLOCK", "CELERY_AGENTS_TESTING_MODELS"
#: Of :data:`MODELS`: models without a script are asked.
REAL = "real"


def main() -> None:
    """Run a worker."""
    gc.disable()  # importing makes no garbage; the service looks after it from then on
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from app.journal.schema.moving import MovedClock
    from app.testing.playing import play_all
    from app.testing.replies import SharedReplies

    MovedClock(Path(os.environ[CLOCK])).show()
    play_all(SharedReplies.at(os.environ["REDIS_URL"]), real=os.environ.get(MODELS) == REAL)
    from celery.__main__ import main as celery

    gc.enable()
    sys.argv[0] = "celery"
    celery()


def _end_with_parent() -> None:
    """End when the other end of standard input is closed."""
    descriptor = sys.stdin.fileno()
    while os.read(descriptor, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
