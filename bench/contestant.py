"""A contestant as the bench knows it before it runs. Standard library alone: see bench/client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

Database = Literal["sqlite", "postgresql"]
#: A case's parameters: JSON values by name.
Case = Mapping[str, Any]


@dataclass(frozen=True)
class Contestant:
    """One way to run steps. Subclasses say how its workers are started.

    Its package has a module ``driver`` with a class ``Driver``, the client's side. With
    ``requires`` (pinned) it lives in an environment of its own, else in the project's.
    """

    name: str
    workloads: frozenset[str]
    database: Database | None = None
    #: Concurrencies at which the waiting steps are tried; the best one counts.
    waiting: Sequence[int] = (100,)
    #: How it can fan out, with the most members of each way.
    fan_out: Mapping[str, int] = field(default_factory=dict)
    #: How it can enqueue.
    enqueue: Sequence[str] = ()
    #: Whether what was accepted and finished survives the death of every process.
    durable: bool = False
    #: Whether steps go through a queue to another process.
    queued: bool = True
    requires: Sequence[str] = ()
    #: The settings that this one has beside its kind's.
    variant: Mapping[str, str] = field(default_factory=dict)

    #: Distributions whose versions are told.
    packages: ClassVar[Sequence[str]] = ()

    @property
    def family(self) -> str:
        """The package under ``bench/contestants``."""
        return type(self).__module__.rpartition(".")[2]

    def workers(self, python: str, workload: str, case: Case) -> list[list[str]]:  # noqa: ARG002
        """The command of each worker process; none by default."""
        return []

    def prepare(self, environ: Mapping[str, str]) -> None:
        """Make what the workers expect to be there, on fresh servers."""

    def environment(self, workload: str, case: Case) -> dict[str, str]:  # noqa: ARG002
        """Variables for the workers and the client, beside those that name the servers."""
        return {}

    def settings(self, workload: str, case: Case) -> str:  # noqa: ARG002
        """Return what was set, for the table."""
        return ""
