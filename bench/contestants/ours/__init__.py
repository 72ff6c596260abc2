"""celery-agents, as its Procfile starts it, on SQLite and on PostgreSQL.

Its agents are plain ones, as a reader of the pages writes them.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from bench import workloads
from bench.contestant import Case, Contestant, Database
from deploy.local import procfile
from deploy.local.state import ROOT

_LINES = procfile.read(ROOT / "Procfile")


@dataclass(frozen=True)
class Ours(Contestant):
    """The Procfile's worker, with another pool or concurrency where a case asks for it."""

    packages: ClassVar[Sequence[str]] = ("celery-agents", "celery", "sqlalchemy", "redis")

    def workers(self, python: str, workload: str, case: Case) -> list[list[str]]:  # noqa: ARG002
        """The Procfile's worker with the options of the case."""
        return [procfile.argv(f"{_LINES['worker']} {shlex.join(self._changed(case))}")]

    def prepare(self, environ: Mapping[str, str]) -> None:
        """Run the Procfile's release command, which migrates the journal."""
        command = procfile.argv(_LINES["release"])
        subprocess.run(command, env=environ, cwd=ROOT, check=True, capture_output=True)

    def environment(self, workload: str, case: Case) -> dict[str, str]:  # noqa: ARG002
        """The module of the agents."""
        return {"AGENTS_MODULES": "bench.contestants.ours.app"}

    def settings(self, workload: str, case: Case) -> str:  # noqa: ARG002
        """The options that differ from the Procfile."""
        return shlex.join(self._changed(case))

    def _changed(self, case: Case) -> list[str]:
        asked = {"loglevel": "WARNING", **self.variant}  # as for Celery
        if "concurrency" in case:
            asked["concurrency"] = str(case["concurrency"])
        return [word for name, value in asked.items() for word in (f"--{name}", value)]


_FAN_OUT = {"map": 10_000, "chord": 10_000}


def _ours(name: str, database: Database) -> Ours:
    return Ours(
        name,
        frozenset(workloads.NAMES),  # all of them
        database=database,
        waiting=(100, 500, 1000, 2000),
        fan_out=_FAN_OUT,
        enqueue=("ask", "ask.many") if database == "sqlite" else (),  # it knows no journal
        durable=True,
    )


CONTESTANTS: tuple[Contestant, ...] = (
    _ours("ours-sqlite", "sqlite"),
    _ours("ours-postgres", "postgresql"),
)


def with_pool(contestant: Contestant, asked: str) -> Contestant:
    """The contestant with another pool, under a name that says so: ``POOL`` or ``POOL:SLOTS``."""
    pool, _, slots = asked.partition(":")
    named = replace(contestant, name=f"{contestant.name}@{asked}", variant={"pool": pool})
    if not slots:
        return named
    variant = {"pool": pool, "concurrency": str(int(slots))}
    return replace(named, variant=variant, waiting=(int(slots),))
