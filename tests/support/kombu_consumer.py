"""A consumer of one queue as a process of its own: writes each message's id, then acknowledges.

python -m tests.support.kombu_consumer REDIS_URL TRANSPORT FILE VISIBILITY_TIMEOUT_S
"""

from __future__ import annotations

import os
import sys
from typing import Any

from kombu import Connection, Consumer, Exchange, Queue

from celery_agents.transport import transport_options
from tests.support import killed_at_take

QUEUE = Queue("flood", Exchange("flood"), routing_key="flood")


def main(url: str, transport: str, path: str, visibility_timeout_s: str) -> None:
    options = {
        **transport_options(visibility_timeout_s=int(visibility_timeout_s), redis_timeout_s=5.0),
        "unacked_restore_interval": 1,
    }
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def received(message: Any) -> None:
        os.write(file, f"{message.headers['id']}\n".encode())
        message.ack()

    with Connection(url, transport=transport, transport_options=options) as connection:
        channel = connection.channel()
        channel.basic_qos(0, 8, False)
        with Consumer(channel, [QUEUE], on_message=received, accept=["json"]):
            while True:
                connection.drain_events()


if __name__ == "__main__":
    killed_at_take.install()
    main(*sys.argv[1:])
