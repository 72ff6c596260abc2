"""Numbers of one process for Prometheus, counted where the journal has taken what is counted.

Plain sums in a dictionary, and not the objects of ``prometheus_client``: one lock a step instead of
one a number, and what a prefork child has counted can be handed to its parent as differences, so
that no file of a dead child is left to be read with each scrape.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from celery_agents.contracts.outcome import Outcome, Usage
from celery_agents.errors import AgentsError

#: What is not among the names that are known: anybody may ask for an agent of any name.
OTHER = "other"
#: Kinds of errors of one agent that have their names, the first ones: few have as many.
KINDS_MAX = 16
#: Upper bounds of buckets, in seconds: a step without a call takes some ms, a long one minutes.
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """A counter, or with ``buckets`` a histogram."""

    name: str
    told: str
    labels: tuple[str, ...]
    buckets: tuple[float, ...] = ()


RUNS = Metric("agents_runs", "Runs that ended here", ("task", "state"))
STEPS = Metric("agents_steps", "Steps that ended here", ("task", "agent", "state"))
DURATION = Metric(
    "agents_step_duration_seconds",
    "From a step's first claim to its end, waits between attempts and for members too",
    ("task", "agent"),
    SECONDS,
)
WAIT = Metric(
    "agents_step_wait_seconds", "Since a step could have been claimed", ("task",), SECONDS
)
ERRORS = Metric("agents_errors", "Steps that ended with an error, by its kind", ("agent", "kind"))
RETRIES = Metric(
    "agents_retries", "Attempts after which another one comes, by why", ("agent", "kind")
)
CALLS = Metric("agents_calls", "Paid or outside acts", ("agent", "outcome"))
TOKENS = Metric("agents_tokens", "Tokens of calls; cached are input, too", ("agent", "direction"))
COST = Metric("agents_cost_usd", "US dollars of calls whose price is known", ("agent",))
NOTED = Metric("agents_noted", "Errors that were noted and not raised", ("place",))
REQUESTS = Metric("agents_http_requests", "Requests of the API", ("route", "method", "code"))
REQUEST_DURATION = Metric(
    "agents_http_request_duration_seconds", "Until the response begins", ("route",), SECONDS
)
METRICS = {
    metric.name: metric
    for metric in (
        *(RUNS, STEPS, DURATION, WAIT, ERRORS, RETRIES, CALLS, TOKENS, COST, NOTED),
        *(REQUESTS, REQUEST_DURATION),
    )
}

#: What was counted under one name and set of labels: a sum, or the buckets and the sum of all.
_Key = tuple[str, tuple[str, ...]]
#: Differences as they are sent: name, labels, sum or buckets.
Differences = list[tuple[str, Sequence[str], float | list[float]]]


class Metrics:
    """The numbers of one process.

    Labels are few whatever is asked: agents that are registered, kinds of errors that there are.
    """

    def __init__(self, agents: Collection[str] = ()) -> None:
        self._agents = frozenset(agents)
        self._kinds = frozenset(_kinds(AgentsError))
        self._sums: dict[_Key, float] = {}
        self._buckets: dict[_Key, list[float]] = {}
        self._noted: dict[str, int] = {}
        self._named: dict[str, set[str]] = {}  # kinds, by agent
        self._lock = threading.Lock()

    def ended(self, task: str, agent: str | None, outcome: Outcome, *, root: bool) -> None:
        """Count the end of a step, that of its run too where it is the ``root``."""
        name, state = self._agent(agent), outcome.state.value  # whose hash is quicker
        with self._lock:
            self._add(STEPS, (task, name, state))
            if outcome.duration_s is not None:
                self._observe(DURATION, (task, name), outcome.duration_s)
            if root:
                self._add(RUNS, (task, state))
            if outcome.error is not None:
                self._add(ERRORS, (name, self._kind(name, outcome.error.kind)))

    def taken(self, task: str, waited_s: float) -> None:
        """Count a claim, so long after it could have been made."""
        with self._lock:
            self._observe(WAIT, (task,), max(waited_s, 0.0))

    def again(self, agent: str | None, kind: str) -> None:
        """Count an attempt after which another one comes."""
        name = self._agent(agent)
        with self._lock:
            self._add(RETRIES, (name, self._kind(name, kind)))

    def called(self, agent: str | None, usage: Usage, *, ok: bool) -> None:
        """Count an act that was made, with what it cost. What is read again is none."""
        name = self._agent(agent)
        with self._lock:
            self._add(CALLS, (name, "ok" if ok else "failed"))
            self._spend(name, usage)

    def spent(self, agent: str | None, usage: Usage) -> None:
        """Count what a step without calls says that it cost."""
        with self._lock:
            self._spend(self._agent(agent), usage)

    def responded(self, route: str, method: str, code: int, took_s: float) -> None:
        """Count a request of the API, by the template of its route."""
        with self._lock:
            self._add(REQUESTS, (route, method, str(code)))
            self._observe(REQUEST_DURATION, (route,), took_s)

    def note(self, counts: dict[str, int]) -> None:
        """Count what was noted since this was last asked, by all that was noted up to now."""
        with self._lock:
            for place, count in counts.items():
                if count > (before := self._noted.get(place, 0)):
                    self._add(NOTED, (place,), count - before)
            self._noted = dict(counts)

    def take(self) -> Differences:
        """All that was counted, which is forgotten: somebody else adds it up."""
        with self._lock:
            taken: Differences = [(name, labels, n) for (name, labels), n in self._sums.items()]
            taken += [(name, labels, found) for (name, labels), found in self._buckets.items()]
            self._sums, self._buckets = {}, {}
        return taken

    def add(self, differences: Iterable[tuple[str, Sequence[str], Any]]) -> None:
        """Count what another process has counted."""
        with self._lock:
            for name, labels, more in differences:
                metric, key = METRICS[name], tuple(labels)
                if not metric.buckets:
                    self._add(metric, key, more)
                    continue
                own = self._buckets.setdefault((name, key), _empty(metric))
                for place, count in enumerate(more):
                    own[place] += count

    def read(self) -> Iterator[tuple[Metric, tuple[str, ...], float | list[float]]]:
        """All that is counted, in the order of the metrics."""
        with self._lock:
            found: list[tuple[_Key, float | list[float]]] = [*self._sums.items()]
            found += [(key, list(counts)) for key, counts in self._buckets.items()]
        for metric in METRICS.values():
            for (name, labels), counts in sorted(found, key=lambda pair: pair[0]):
                if name == metric.name:
                    yield metric, labels, counts

    def _agent(self, name: str | None) -> str:
        return "" if name is None else name if name in self._agents else OTHER

    def _kind(self, agent: str, kind: str) -> str:
        named = self._named.setdefault(agent, set())
        if kind not in named:
            if kind not in self._kinds or len(named) >= KINDS_MAX:
                return OTHER
            named.add(kind)
        return kind

    def _spend(self, agent: str, usage: Usage) -> None:
        for direction, tokens in (
            ("input", usage.input_tokens),
            ("output", usage.output_tokens),
            ("cached", usage.cached_tokens),
        ):
            if tokens:
                self._add(TOKENS, (agent, direction), tokens)
        if usage.cost_usd:
            self._add(COST, (agent,), usage.cost_usd)

    def _add(self, metric: Metric, labels: tuple[str, ...], by: float = 1) -> None:
        key = (metric.name, labels)
        self._sums[key] = self._sums.get(key, 0) + by

    def _observe(self, metric: Metric, labels: tuple[str, ...], value: float) -> None:
        key = (metric.name, labels)
        if (counts := self._buckets.get(key)) is None:
            counts = self._buckets[key] = _empty(metric)
        counts[bisect_left(metric.buckets, value)] += 1
        counts[-1] += value


def _empty(metric: Metric) -> list[float]:
    """Counts of each bucket and of what is above them, then the sum."""
    return [0.0] * (len(metric.buckets) + 2)


def _kinds(error: type[AgentsError]) -> Iterator[str]:
    yield error.kind
    for special in error.__subclasses__():
        yield from _kinds(special)
