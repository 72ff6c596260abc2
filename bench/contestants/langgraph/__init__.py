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


#: When checkpoints are written. Of a single step the end is enough; of three each is recorded, and
#: the next one does not wait for that.
_DURABILITY = {
    "noop": "exit",
    "roundtrip": "exit",
    "waiting": "exit",
    "chain": "async",
    "flow": "async",
}


class Langgraph(Contestant):
    """Graphs at the least durability that keeps what the workload asks for."""

    packages: ClassVar[Sequence[str]] = ("langgraph", "langgraph-checkpoint", "psycopg")

    def environment(self, workload: str, case: Case) -> dict[str, str]:
        """The number of graphs that run at once, and their durability."""
        return {
            "BENCH_CONCURRENCY": str(case.get("concurrency", 16)),
            "BENCH_DURABILITY": _DURABILITY[workload],
        }

    def settings(self, workload: str, case: Case) -> str:
        """The same in words."""
        told = self.environment(workload, case)
        at_once, durability = told["BENCH_CONCURRENCY"], told["BENCH_DURABILITY"]
        return f"in process, {at_once} at a time, durability {durability}"


def _on(name: str, database: Database) -> Langgraph:
    return Langgraph(
        name,
        frozenset(_DURABILITY),
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
