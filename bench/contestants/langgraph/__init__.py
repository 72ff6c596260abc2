"""LangGraph with a checkpointer: graphs run in the client's process, without a queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from bench.contestant import Case, Contestant, Database

_PINS = (
    "langgraph==1.2.22",
    "langgraph-checkpoint-sqlite==3.1.2",
    "langgraph-checkpoint-postgres==3.2.0",
    "psycopg[binary]==3.3.9",
)


class Langgraph(Contestant):
    """A checkpoint at the end of a run of one step; after each step of longer ones."""

    packages: ClassVar[Sequence[str]] = ("langgraph", "langgraph-checkpoint", "psycopg")

    def environment(self, workload: str, case: Case) -> dict[str, str]:  # noqa: ARG002
        return {"BENCH_CONCURRENCY": str(case.get("concurrency", 16))}

    def settings(self, workload: str, case: Case) -> str:
        at_once = self.environment(workload, case)["BENCH_CONCURRENCY"]
        return f"in process, {at_once} at a time"


def _on(name: str, database: Database) -> Langgraph:
    return Langgraph(
        name,
        frozenset({"noop", "roundtrip", "waiting", "chain"}),
        database=database,
        waiting=(100, 500),
        durable=True,
        queued=False,
        requires=_PINS,
    )


CONTESTANTS: tuple[Contestant, ...] = (
    _on("langgraph-sqlite", "sqlite"),
    _on("langgraph-postgres", "postgresql"),
)
