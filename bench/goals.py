"""The ratios that this project wants to reach, beside what one run of the bench measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench.report import Row, best

#: Steps of 200 ms that a hundred slots can end in a second.
_IDEAL_AT_100 = 500.0
_MOST_MB = 200.0


@dataclass(frozen=True)
class Goal:
    """One ratio: what it is of, what is wanted of it, what was measured."""

    what: str
    measured: float
    wanted: float
    at_least: bool = True

    @property
    def reached(self) -> bool:
        """True when the measured ratio is as wanted or better."""
        return self.measured >= self.wanted if self.at_least else self.measured <= self.wanted

    def __str__(self) -> str:
        sign, verdict = (">=" if self.at_least else "<="), ("" if self.reached else "  NOT REACHED")
        return f"{self.what:<66} {self.measured:>8.2f}  wanted {sign} {self.wanted:g}{verdict}"


def goals(rows: Sequence[Row]) -> list[Goal]:
    """Every ratio for which this run has both sides."""
    names = list(dict.fromkeys(r.contestant.name for r in rows if r.contestant.family == "ours"))
    return [goal for name in names for goal in _of(_Side(rows, name))]


class _Side:
    """One of our contestants against the others."""

    def __init__(self, rows: Sequence[Row], name: str) -> None:
        self.name = name
        self._rows = rows

    def ours(self, workload: str, **case: object) -> Row | None:
        """Our best row of a workload, of those with these parameters."""
        return self._best(workload, lambda row: row.contestant.name == self.name, case)

    @property
    def lost(self) -> int:
        """Results that are missing or wrong, of all our rows."""
        return sum(row.lost for row in self._rows if row.contestant.name == self.name)

    def others(
        self, workload: str, accepted: Callable[[Row], bool], **case: object
    ) -> float | None:
        """The best figure of those others."""
        row = self._best(
            workload, lambda row: row.contestant.family != "ours" and accepted(row), case
        )
        return None if row is None else row.headline

    def over(
        self,
        what: str,
        workload: str,
        accepted: Callable[[Row], bool],
        wanted: float,
        *,
        inverted: bool = False,
        at_least: bool = True,
        **case: object,
    ) -> Iterator[Goal]:
        """Our figure over theirs (or theirs over ours), if there are both."""
        row, theirs = self.ours(workload, **case), self.others(workload, accepted, **case)
        if row is not None and row.headline and theirs:
            ratio = theirs / row.headline if inverted else row.headline / theirs
            yield Goal(f"{self.name}: {what}", ratio, wanted, at_least)

    def _best(
        self, workload: str, accepted: Callable[[Row], bool], case: dict[str, object]
    ) -> Row | None:
        return best(
            [
                row
                for row in self._rows
                if row.workload.name == workload
                and case.items() <= dict(row.case).items()
                and accepted(row)
            ]
        )


def _celery(row: Row) -> bool:
    return row.contestant.family == "celery"


def _dbos(row: Row) -> bool:
    return row.contestant.family == "dbos"


def _langgraph(row: Row) -> bool:
    return row.contestant.family == "langgraph"


def _durable(row: Row) -> bool:
    return row.contestant.durable


def _durable_queue(row: Row) -> bool:
    return row.contestant.durable and row.contestant.queued


def _forgetful(row: Row) -> bool:
    return not row.contestant.durable


def _asyncio_queue(row: Row) -> bool:
    return row.contestant.family in {"saq", "taskiq"}


def _of(side: _Side) -> Iterator[Goal]:
    yield Goal(f"{side.name}: results lost, in all", side.lost, 0, at_least=False)
    yield from side.over("no-op steps, over bare Celery's better pool", "noop", _celery, 1.5)
    yield from side.over("over the best durable queue", "noop", _durable_queue, 1.0)
    yield from side.over("over the fastest that journals nothing", "noop", _forgetful, 0.4)
    yield from side.over(
        "round trip alone, over bare Celery's", "roundtrip", _celery, 1.5, at_least=False
    )
    yield from _waiting(side)
    yield from side.over("chains, over bare Celery's", "chain", _celery, 2.0)
    yield from side.over("over the best durable one", "chain", _durable, 1.0)
    yield from side.over("a flow's steps in a row, over DBOS", "flow", _dbos, 2.0)
    yield from side.over("over LangGraph's functional API", "flow", _langgraph, 1.0)
    yield from _fan_out(side)
    yield from side.over("messages sent, over bare Celery's better way", "enqueue", _celery, 5.0)
    empty, full = side.ours("growth", rows=0), side.ours("growth", rows=1_000_000)
    if empty is not None and full is not None and empty.headline and full.headline:
        what = f"{side.name}: steps/s with a million rows, over none"
        yield Goal(what, full.headline / empty.headline, 0.9)


def _waiting(side: _Side) -> Iterator[Goal]:
    yield from side.over("waiting steps, over bare Celery's best pool", "waiting", _celery, 2.5)
    yield from side.over("over saq and taskiq", "waiting", _asyncio_queue, 1.0)
    yield from side.over("over the best durable one", "waiting", _durable, 1.7)
    at_best, at_100 = side.ours("waiting"), side.ours("waiting", concurrency=100)
    if at_best is not None:
        peak = at_best.used("worker", "peak_mb") or 0.0
        yield Goal(f"{side.name}: MB of the worker, waiting", peak, _MOST_MB, at_least=False)
    if at_100 is not None and at_100.headline:
        share = at_100.headline / _IDEAL_AT_100
        yield Goal(f"{side.name}: waiting with 100 slots, over the ideal 500/s", share, 0.9)


def _fan_out(side: _Side) -> Iterator[Goal]:
    for members in (1_000, 10_000):
        what = f"bare Celery's chord of {members:,}, over ours (time)"
        yield from side.over(what, "fanout", _celery, 3.0, inverted=True, members=members)
    small, large = side.ours("fanout", members=1_000), side.ours("fanout", members=10_000)
    if small is not None and large is not None and small.headline and large.headline:
        growth = large.headline / small.headline / 10
        what = f"{side.name}: time for a member of 10,000, over one of 1,000"
        yield Goal(what, growth, 1.2, at_least=False)
