"""The client's side of a contestant: what every workload is written in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

#: What every contestant's workers can do: ``noop`` gives its input back, ``wait`` does so after the
#: model server's 200 ms.
Task = Literal["noop", "wait"]
#: Longest wait for one result: of a round that is well, some seconds.
TIMEOUT_S = 90.0


class Panel(NamedTuple):
    """The end of a vote: its answer, the samples and the waves that it took."""

    option: str | None
    samples: int
    waves: int


class Driver:
    """Asks a contestant for work and reads the results.

    Subclasses implement what their workloads need. A result that does not come, or a step that
    failed, raises or stands in the list as something other than the expected value.
    """

    def steps(self, task: Task, values: Sequence[int]) -> list[Any]:
        """Enqueue a step for each value, read all results; in the order of the values."""
        raise NotImplementedError

    def step(self, value: int) -> Any:
        """One no-op step alone, and its result."""
        return self.steps("noop", [value])[0]

    def chains(self, values: Sequence[int]) -> list[Any]:
        """For each value a run of three steps that each add one to what the one before gave.

        All are sent, then all results are read.
        """
        raise NotImplementedError

    def flow(self, steps: int) -> int:
        """One durable function that does no-op steps one after another, each recorded.

        Step n adds one to n: the last sum.
        """
        raise NotImplementedError

    def fan_out(self, members: int, way: str) -> int:
        """No-op steps for 0 … members - 1 and a join that counts them: the count."""
        raise NotImplementedError

    def votes(self, count: int) -> list[Any]:
        """Runs of five steps that each say "yes" and a join that counts them.

        All are sent, then all results are read: the option that won, of each.
        """
        raise NotImplementedError

    def panels(self, questions: Sequence[list[Any]], waves: int | None) -> list[Panel]:
        """Votes of forty samples each, whose answers are given, that stop when they may.

        All are sent, then all results are read.
        """
        raise NotImplementedError

    def enqueue(self, count: int, way: str) -> None:
        """Send no-op steps that nobody runs."""
        raise NotImplementedError

    def recovery(self) -> float:
        """Kill a worker in the middle of a step: seconds until another one runs it."""
        raise NotImplementedError

    def grow(self, rows: int) -> None:
        """Have so many rows of finished steps in the journal."""
        raise NotImplementedError

    def enqueue_many(self, count: int) -> None:
        """Send no-op steps in the fastest way."""
        raise NotImplementedError

    def urgent(self, value: int) -> Any:
        """One no-op step that overtakes all others, and its result."""
        raise NotImplementedError

    def depth(self) -> int:
        """How many steps are queued."""
        raise NotImplementedError

    def close(self) -> None:
        """Free what it holds."""
