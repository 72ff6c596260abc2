"""Dramatiq on Redis, results in Redis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from bench.contestant import Case, Contestant


class Dramatiq(Contestant):
    """Processes of threads; actors that wait run on its asyncio loop, and hold a thread."""

    packages: ClassVar[Sequence[str]] = ("dramatiq", "redis")

    def workers(self, python: str, workload: str, case: Case) -> list[list[str]]:
        """One ``dramatiq`` command, which starts its processes itself."""
        app = [python, "-m", "dramatiq", "bench.contestants.dramatiq.app"]
        return [[*app, *self.settings(workload, case).split()]]

    def settings(self, workload: str, case: Case) -> str:  # noqa: ARG002
        """The numbers of processes and threads, as options of the command line."""
        if "concurrency" in case:  # one loop is enough for what waits, and many threads are not
            return f"--processes 1 --threads {case['concurrency']}"
        return "--processes 2 --threads 8"


CONTESTANTS: tuple[Contestant, ...] = (
    Dramatiq(
        "dramatiq",
        frozenset({"noop", "roundtrip", "waiting", "chain", "enqueue"}),
        waiting=(100, 250),
        enqueue=("send",),
        requires=("dramatiq[redis]==2.2.1", "redis==8.1.0", "hiredis==3.5.0"),
    ),
)
