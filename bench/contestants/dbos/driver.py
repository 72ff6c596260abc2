"""The client of DBOS."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from dbos import DBOSClient

from bench import driver
from bench.contestants.dbos import app
from bench.driver import Task

#: Threads that send: each message is a transaction of its own, and SQLite has one writer.
_SENDERS = {"postgresql": 8, "sqlite": 2}
_LOOK_S = 0.002


class Driver(driver.Driver):
    """``enqueue`` and ``get_result``, which looks every 2 ms."""

    def __init__(self) -> None:
        senders = _SENDERS[app.database_url().partition(":")[0]]
        self._client = _connected(senders)
        self._pool = ThreadPoolExecutor(senders)

    def steps(self, task: Task, values: Sequence[int]) -> list[Any]:
        """Enqueue the workflow for each value, and read all results."""
        return self._runs(task, values)

    def chains(self, values: Sequence[int]) -> list[Any]:
        """Enqueue workflows of three recorded steps."""
        return self._runs("three", values)

    def flow(self, steps: int) -> int:
        """Enqueue a workflow of so many recorded steps."""
        return int(self._runs("sequence", [steps])[0])

    def _runs(self, workflow: str, values: Sequence[int]) -> list[Any]:
        def send(value: int) -> Any:
            options: Any = {"queue_name": app.QUEUE, "workflow_name": workflow}
            return self._client.enqueue(options, value)

        if len(values) == 1:
            return [send(values[0]).get_result(polling_interval_sec=_LOOK_S)]
        sent = list(self._pool.map(send, values))
        return [handle.get_result(polling_interval_sec=_LOOK_S) for handle in sent]

    def close(self) -> None:
        """End the sending threads and the client."""
        self._pool.shutdown()
        self._client.destroy()


def _connected(connections: int) -> DBOSClient:
    """The client, once the worker has made its tables."""
    while True:
        with suppress(Exception):  # whatever the database says until then; the bench bounds it
            client = DBOSClient(
                system_database_url=app.database_url(), system_database_pool_size=connections
            )
            if client.retrieve_queue(app.QUEUE) is not None:
                return client
            client.destroy()
        time.sleep(0.2)
