"""Celery alone, with settings that people use and nothing of ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from bench.contestant import Case, Contestant

#: What was best of a few tries where nothing waits: more threads only take turns.
_NOOP = {"threads": 8, "prefork": 2}


class Celery(Contestant):
    """``celery worker`` with one of its pools; messages are acknowledged early, its default."""

    packages: ClassVar[Sequence[str]] = ("celery", "kombu", "redis")

    def workers(self, python: str, workload: str, case: Case) -> list[list[str]]:  # noqa: ARG002
        """One ``celery worker`` with the pool of the case."""
        app = [python, "-m", "celery", "-A", "bench.contestants.celery.app", "worker"]
        options = ["--without-mingle", "--without-gossip", "--loglevel", "WARNING"]
        return [[*app, *options, *self._pool(case)]]

    def settings(self, workload: str, case: Case) -> str:  # noqa: ARG002
        """The pool, as options of the command line."""
        return " ".join(self._pool(case))

    def _pool(self, case: Case) -> list[str]:
        pool = self.variant["pool"]
        return ["--pool", pool, "--concurrency", str(case.get("concurrency", _NOOP[pool]))]


_WORKLOADS = frozenset({"noop", "roundtrip", "waiting", "chain", "fanout", "vote"})
CONTESTANTS: tuple[Contestant, ...] = (
    Celery(
        "celery-threads",
        _WORKLOADS | {"enqueue"},
        waiting=(100, 200, 500),
        fan_out={"chord": 10_000},
        enqueue=("delay", "group"),
        variant={"pool": "threads"},
    ),
    Celery(
        "celery-prefork",
        _WORKLOADS,
        waiting=(32, 64),
        fan_out={"chord": 10_000},
        variant={"pool": "prefork"},
    ),
)
