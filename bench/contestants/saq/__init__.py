"""SAQ on Redis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from bench.contestant import Case, Contestant


class Saq(Contestant):
    """One worker process with an asyncio loop."""

    packages: ClassVar[Sequence[str]] = ("saq", "redis")

    def workers(self, python: str, workload: str, case: Case) -> list[list[str]]:  # noqa: ARG002
        """One ``saq`` process."""
        return [[python, "-m", "saq", "bench.contestants.saq.app.settings", "--quiet"]]

    def environment(self, workload: str, case: Case) -> dict[str, str]:  # noqa: ARG002
        """The number of jobs that the worker runs at once."""
        return {"BENCH_CONCURRENCY": str(case.get("concurrency", 100))}

    def settings(self, workload: str, case: Case) -> str:
        """The same in words."""
        return f"concurrency {self.environment(workload, case)['BENCH_CONCURRENCY']}"


CONTESTANTS: tuple[Contestant, ...] = (
    Saq(
        "saq",
        frozenset({"noop", "roundtrip", "waiting", "enqueue"}),
        waiting=(500, 1000),
        enqueue=("enqueue",),
        requires=("saq[redis,hiredis]==0.26.4", "redis==7.4.1", "typing-extensions==4.16.0"),
    ),
)
