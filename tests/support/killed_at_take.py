"""For a process of the tests: dies in the gap, when Redis has just handed it a message.

That is after the reply and before the next command. What then keeps the message alive is only what
Redis did in the step that handed it over; kombu's own transport writes it down in the next one.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import redis

#: Names a directory; a process that dies leaves a file there.
DIRECTORY = "KILLED_AT_TAKE"
#: How many processes die, one after another; later ones live.
TIMES = "KILLED_AT_TAKE_TIMES"


def install() -> None:
    """Watch this process's replies of Redis, if its environment says so."""
    if DIRECTORY not in os.environ:
        return
    plain: Any = redis.Redis.parse_response

    def parse_response(self: Any, connection: Any, command_name: Any, **options: Any) -> Any:
        reply = plain(self, connection, command_name, **options)
        taking = command_name in {"BRPOP", "EVALSHA"} and isinstance(reply, list | tuple)
        if taking and any(b'"task"' in p for p in reply if isinstance(p, bytes)):
            _die()
        return reply

    redis.Redis.parse_response = parse_response  # type: ignore[method-assign]


def _die() -> None:
    """SIGKILL, unless enough have died."""
    for number in range(int(os.environ[TIMES])):
        try:
            (Path(os.environ[DIRECTORY]) / str(number)).touch(exist_ok=False)
        except FileExistsError:
            continue
        os.kill(os.getpid(), signal.SIGKILL)
