"""Taskiq on Redis streams, results in Redis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from bench.contestant import Case, Contestant


class Taskiq(Contestant):
    """One worker process with an asyncio loop; a second one did not help on two cores."""

    packages: ClassVar[Sequence[str]] = ("taskiq", "taskiq-redis", "redis")

    def workers(self, python: str, workload: str, case: Case) -> list[list[str]]:
        """One ``taskiq worker`` command."""
        app = [python, "-m", "taskiq", "worker", "bench.contestants.taskiq.app:broker"]
        options = ["--log-level", "WARNING", *self.settings(workload, case).split()]
        return [[*app, *options]]

    def settings(self, workload: str, case: Case) -> str:  # noqa: ARG002
        """The numbers of processes and tasks, as options of the command line."""
        return f"--workers 1 --max-async-tasks {case.get('concurrency', 100)}"


CONTESTANTS: tuple[Contestant, ...] = (
    Taskiq(
        "taskiq",
        frozenset({"noop", "roundtrip", "waiting", "enqueue"}),
        waiting=(500, 1000),
        enqueue=("kiq",),
        requires=("taskiq==0.13.0", "taskiq-redis==1.2.4", "redis==8.1.0", "hiredis==3.5.0"),
    ),
)
