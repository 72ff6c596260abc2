"""The report of a test: for people, for programs, and whether it is good."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from app.load.figures import Second, WorkerMemory, by_second, held, quantile
from app.load.knee import Knee, Stage
from app.load.sent import TimedRequest
from app.load.trial import Trial
from app.load.witness import Witness

#: Reasons that are told apart, and characters of each.
_REASONS, _REASON = 5, 160
#: A tester that was late by so much measured itself, too.
_LATE_S = 0.25


@dataclass(frozen=True)
class Tolerance:
    """Bounds of what is good; None: whatever it is."""

    p99_s: float | None = None
    #: The share of requests that may end otherwise than well.
    errors: float = 0.0


@dataclass(frozen=True)
class Latencies:
    """From the time at which requests were due, to their ends."""

    p50_s: float
    p95_s: float
    p99_s: float
    max_s: float
    mean_s: float


@dataclass(frozen=True)
class LoadReport:
    """All of a test."""

    agent: str
    profile: str
    seconds: float
    sent: int
    #: Those that the broker did not take, as far as is known, and why.
    refused: int
    refused_with: str | None
    ended: int
    states: dict[str, int]
    #: Why those that failed did, and how many: the most frequent reasons, then all others.
    reasons: dict[str, int]
    #: Accepted, and without an end when the time for that was over.
    lost: int
    #: Runs with more or fewer rows than one.
    not_once: int
    paid_twice: int
    done_rate: float
    latency: Latencies
    #: How late the tester itself was at the most.
    late_s: float
    interrupted: bool
    exhausted: bool
    memory: list[WorkerMemory]
    by_second: list[Second]
    stages: list[Stage]
    knee: Knee | None
    #: What is not good; empty where all is.
    found: list[str]

    @property
    def ok(self) -> bool:
        """True where all is good."""
        return not self.found

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {"ok": self.ok, **asdict(self)}

    def lines(self) -> Iterator[str]:
        """Yield it for people."""
        told = self.latency
        states = ", ".join(f"{number:,} {state}" for state, number in self.states.items())
        yield f"{self.agent}  {self.profile}, {self.seconds:.1f} s"
        yield f"sent       {self.sent:,}, not taken {self.refused:,}"
        yield f"ended      {self.ended:,} ({states or 'none'}), {self.done_rate:.1f} a second"
        for reason, number in self.reasons.items():
            yield f"failed     {number:,}: {reason}"
        yield (
            f"latency    p50 {told.p50_s:.3f} s, p95 {told.p95_s:.3f} s, p99 {told.p99_s:.3f} s, "
            f"most {told.max_s:.3f} s, from when they were due"
        )
        once = f"{self.not_once:,} not once, {self.paid_twice:,} paid twice"
        yield f"checked    {self.lost:,} lost, {once}"
        for one in self.memory:
            slope = "" if one.slope_mb_min is None else f", {one.slope_mb_min:+.2f} MB a minute"
            yield f"memory     {one.worker}: {one.first_mb:.0f} to {one.last_mb:.0f} MB{slope}"
        for stage in self.stages:
            word = "held" if stage.held else f"not held, {stage.done_rate:.1f} a second done"
            yield f"stage      {stage.rate:.1f} a second: p99 {stage.p99_s:.3f} s, {word}"
        if self.knee is not None:
            yield f"knee       {_knee(self.knee)}"
        for line in self.found:
            yield f"not good   {line}"


def _knee(knee: Knee) -> str:
    if knee.not_held is None:
        return f"above {knee.rate:.1f} a second, the most that was asked for"
    below = "" if knee.held is None else f"; {knee.held:.1f} is held"
    return f"{knee.rate:.1f} a second{below}, {knee.not_held:.1f} is not"


def reported(
    trial: Trial,
    witness: Witness,
    *,
    agent: str,
    profile: str,
    bounds: Tolerance,
    stages: Sequence[Stage] = (),
    knee: Knee | None = None,
) -> LoadReport:
    """Make the report of a test that is over."""
    every = trial.requests.all()
    ids = [sent.run_id for sent in every]
    ended = [sent for sent in every if sent.ended is not None]
    states = Counter(sent.state or "" for sent in ended)
    latencies = sorted(sent.ended - sent.due for sent in every if sent.ended is not None)
    checks = {
        "lost": len(every) - len(ended),
        "not_once": abs(len(ids) - witness.known(ids)) + len(ids) - len({*ids}),
        "paid_twice": witness.paid_twice(ids),
    }
    latency = Latencies(
        p50_s=quantile(latencies, 0.5),
        p95_s=quantile(latencies, 0.95),
        p99_s=quantile(latencies, 0.99),
        max_s=quantile(latencies, 1.0),
        mean_s=sum(latencies) / len(latencies) if latencies else 0.0,
    )
    last = max((sent.ended or sent.due for sent in every), default=trial.begin)
    seconds = max(last - trial.begin, 1e-9)
    return LoadReport(
        agent=agent,
        profile=profile,
        seconds=seconds,
        sent=len(every),
        refused=trial.requests.refused,
        refused_with=trial.requests.error,
        ended=len(ended),
        states=dict(states.most_common()),
        reasons=_reasons(witness.errors([s.run_id for s in ended if s.state != "succeeded"])),
        done_rate=len(ended) / seconds,
        latency=latency,
        late_s=trial.requests.late_s,
        interrupted=trial.interrupted,
        exhausted=trial.exhausted,
        memory=held(trial.memory),
        by_second=by_second(every, trial.begin),
        stages=[*stages],
        knee=knee,
        found=[*_found(trial, every, latency, bounds, checks)],
        **checks,
    )


def _reasons(errors: Iterable[str]) -> dict[str, int]:
    """Errors by their first words: the most frequent ones, then how many others."""
    told = Counter(" ".join(error.split())[:_REASON] for error in errors)
    most = dict(told.most_common(_REASONS))
    if others := told.total() - sum(most.values()):
        most["for other reasons"] = others
    return most


def _found(
    trial: Trial,
    every: Sequence[TimedRequest],
    latency: Latencies,
    bounds: Tolerance,
    checks: dict[str, int],
) -> Iterator[str]:
    if checks["lost"]:
        yield f"{checks['lost']:,} have not ended: more time for it (--drain), or they are lost"
    if checks["not_once"]:
        yield f"{checks['not_once']:,} runs have not one row"
    if checks["paid_twice"]:
        yield f"{checks['paid_twice']:,} calls were paid twice"
    bad = sum(sent.state not in {None, "succeeded"} for sent in every) + trial.requests.refused
    if bad > bounds.errors * (len(every) + trial.requests.refused):
        why = f": {trial.requests.error}" if trial.requests.error else ""
        yield f"{bad:,} of {len(every) + trial.requests.refused:,} went wrong{why}"
    if bounds.p99_s is not None and latency.p99_s > bounds.p99_s:
        yield f"p99 is {latency.p99_s:.3f} s, above {bounds.p99_s:g} s"
    if trial.exhausted:
        yield f"{trial.requests.count:,} were sent and no more may be (--most): it ended early"
    if trial.requests.late_s > _LATE_S:
        yield f"the tester was late itself, by {trial.requests.late_s:.2f} s: its machine is full"
