"""The client of bare Celery."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celery import chain, chord, group

from bench import driver
from bench.contestants.celery import app
from bench.driver import TIMEOUT_S, Task


class Driver(driver.Driver):
    """``delay`` and ``get``, as everybody does."""

    def steps(self, task: Task, values: Sequence[int]) -> list[Any]:
        """Send the task for each value by ``delay``, and read all results."""
        delay = getattr(app, task).delay
        return _read([delay(value) for value in values])

    def chains(self, values: Sequence[int]) -> list[Any]:
        """Run chains of three additions by ``chain``."""
        return _read([chain(app.add.s(v), app.add.s(), app.add.s()).delay() for v in values])

    def fan_out(self, members: int, way: str) -> int:  # noqa: ARG002
        """Run a chord of no-ops whose body counts them."""
        # Its id alone: a client that keeps the header's results looks at all of them for each one
        # that arrives, which takes the square of the members.
        run_id = chord([app.noop.s(value) for value in range(members)])(app.count.s()).id
        return int(_read([app.app.AsyncResult(run_id)])[0])

    def votes(self, count: int) -> list[Any]:
        """Run chords of five votes whose body takes the most frequent."""
        return _read([chord([app.yes.s("?")] * 5)(app.most.s()) for _ in range(count)])

    def enqueue(self, count: int, way: str) -> None:
        """Send no-ops as a ``group``, or one by one by ``delay``."""
        if way == "group":
            group(app.noop.s(value) for value in range(count)).delay()
            return
        for value in range(count):
            app.noop.delay(value)


def _read(results: list[Any]) -> list[Any]:
    """Read all results; each is subscribed to before any is waited for.

    ``get`` sends its subscription and at once looks for the result on another connection. A result
    that is stored between these two is missed, and ``get`` waits for ever; with some hundred chains
    that happens to one in some rounds. What ``delay`` sends is subscribed to before it is sent.
    """
    for result in results:
        result.backend.add_pending_result(result)
    return [result.get(timeout=TIMEOUT_S) for result in results]
