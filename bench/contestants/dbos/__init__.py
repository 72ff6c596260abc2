"""DBOS: workflows through its queue, on PostgreSQL and on SQLite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from bench.contestant import Case, Contestant, Database

PINS = ("dbos==3.4.0", "psycopg[binary]==3.3.9", "sqlalchemy==2.1.9")


class Dbos(Contestant):
    """One process that runs what its queue has, looked at every 5 ms."""

    packages: ClassVar[Sequence[str]] = ("dbos", "sqlalchemy", "psycopg")

    def workers(self, python: str, workload: str, case: Case) -> list[list[str]]:  # noqa: ARG002
        """One process that runs the queue's workflows."""
        return [[python, "-m", "bench.contestants.dbos.app"]]

    def environment(self, workload: str, case: Case) -> dict[str, str]:  # noqa: ARG002
        """The number of workflows that the worker runs at once."""
        return {"BENCH_CONCURRENCY": str(case.get("concurrency", 100))}

    def settings(self, workload: str, case: Case) -> str:
        """The worker's concurrency, and how often it looks."""
        at_once = self.environment(workload, case)["BENCH_CONCURRENCY"]
        return f"worker_concurrency {at_once}, polling interval 5 ms"


def _on(name: str, database: Database) -> Dbos:
    return Dbos(
        name,
        frozenset({"noop", "roundtrip", "waiting", "chain", "flow"}),
        database=database,
        waiting=(100, 500),
        durable=True,
        requires=PINS,
    )


CONTESTANTS: tuple[Contestant, ...] = (
    _on("dbos-postgres", "postgresql"),
    _on("dbos-sqlite", "sqlite"),
)
