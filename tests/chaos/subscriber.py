"""One who listens to a topic and is killed now and then: ``python -m tests.chaos.subscriber``.

Each message that it is given it writes down, by a line of its own.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from celery_agents import Client
from celery_agents.errors import AgentsError

TOPIC, NAME = "news", "pager"
#: Seconds that it takes for each: it is killed amid a page.
TAKES_S = 0.002


def listen(redis_url: str, file: Path) -> None:
    """Write down messages until somebody ends it; a worker that is away is asked again."""
    with Client(redis_url) as client, file.open("a", encoding="utf-8") as lines:
        while True:
            try:
                for message in client.topics.listen(TOPIC, NAME):
                    lines.write(f"{message.body}\n")
                    lines.flush()
                    time.sleep(TAKES_S)
            except AgentsError as error:
                sys.stderr.write(f"{os.getpid()}: {error}\n")


if __name__ == "__main__":
    listen(sys.argv[1], Path(sys.argv[2]))
