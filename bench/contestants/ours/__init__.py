"""celery-agents, as its Procfile starts it, on SQLite and on PostgreSQL.

Its agents are plain ones, as a reader of the pages writes them; those of ``ours-pure`` are marked
as pure, so that their calls need no journal.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from bench import workloads
from bench.contestant import Case, Contestant, Database
from deploy.local import procfile
from deploy.local.state import ROOT

_LINES = procfile.read(ROOT / "Procfile")


@dataclass(frozen=True)
class Ours(Contestant):
    """The Procfile's worker, with another pool or concurrency where a case asks for it."""

    #: Of the agents that do nothing but give an answer.
    effects: Literal["idempotent", "pure"] = "idempotent"

    packages: ClassVar[Sequence[str]] = ("celery-agents", "celery", "sqlalchemy", "redis")

    def workers(self, python: str, workload: str, case: Case) -> list[list[str]]:  # noqa: ARG002
        """The Procfile's worker with the options of the case."""
        return [procfile.argv(f"{_LINES['worker']} {shlex.join(self._changed(case))}")]

    def prepare(self, environ: Mapping[str, str]) -> None:
        """Run the Procfile's release command, which migrates the journal."""
        command = procfile.argv(_LINES["release"])
        subprocess.run(command, env=environ, cwd=ROOT, check=True, capture_output=True)

    def environment(self, workload: str, case: Case) -> dict[str, str]:  # noqa: ARG002
        """The module of the agents, and their effects."""
        return {"AGENTS_MODULES": "bench.contestants.ours.app", "BENCH_EFFECTS": self.effects}

    def settings(self, workload: str, case: Case) -> str:  # noqa: ARG002
        """The options that differ from the Procfile, and pure agents where they are."""
        told = shlex.join(self._changed(case))
        return f"{told}, pure agents" if self.effects == "pure" else told

    def _changed(self, case: Case) -> list[str]:
        asked = {"loglevel": "WARNING", **self.variant}  # as for Celery
        if "concurrency" in case:
            asked["concurrency"] = str(case["concurrency"])
        return [word for name, value in asked.items() for word in (f"--{name}", value)]


#: Those whose steps call an agent that may be pure.
_PURE = frozenset({"noop", "roundtrip", "chain", "fanout", "vote"})
_FAN_OUT = {"map": 10_000, "chord": 10_000}


def _plain(name: str, database: Database) -> Ours:
    return Ours(
        name,
        frozenset(workloads.NAMES),  # all of them
        database=database,
        waiting=(100, 500, 1000, 2000),
        fan_out=_FAN_OUT,
        enqueue=("ask", "ask.many") if database == "sqlite" else (),  # it knows no journal
        durable=True,
    )


def _pure(name: str, database: Database) -> Ours:
    return Ours(name, _PURE, database=database, fan_out=_FAN_OUT, durable=True, effects="pure")


CONTESTANTS: tuple[Contestant, ...] = (
    _plain("ours-sqlite", "sqlite"),
    _plain("ours-postgres", "postgresql"),
    _pure("ours-pure-sqlite", "sqlite"),
    _pure("ours-pure-postgres", "postgresql"),
)


def with_pool(contestant: Contestant, asked: str) -> Contestant:
    """The contestant with another pool, under a name that says so: ``POOL`` or ``POOL:SLOTS``."""
    pool, _, slots = asked.partition(":")
    named = replace(contestant, name=f"{contestant.name}@{asked}", variant={"pool": pool})
    if not slots:
        return named
    variant = {"pool": pool, "concurrency": str(int(slots))}
    return replace(named, variant=variant, waiting=(int(slots),))
