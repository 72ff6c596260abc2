"""The client of bare Celery."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench import driver
from bench.contestants.celery import app
from bench.driver import TIMEOUT_S, Task


class Driver(driver.Driver):
    """``delay`` and ``get``, as everybody does."""

    def steps(self, task: Task, values: Sequence[int]) -> list[Any]:
        delay = getattr(app, task).delay
        return [result.get(timeout=TIMEOUT_S) for result in [delay(value) for value in values]]
