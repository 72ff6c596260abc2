"""Spans of a run, made of its rows: one for each step and call, with their own times."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from app.journal.queries.traced import TracedRun, error_of, session_in
from app.journal.schema.heads import read as read_head
from app.watching import genai
from celery_agents import names
from celery_agents.contracts.outcome import State, Usage
from celery_agents.traces import TraceParent, span_of, span_of_call, trace_of

#: How a span says that it ended badly. What was skipped or cancelled did not.
_BAD = frozenset({State.FAILED, State.DEAD})

#: What is told of the content of a step, where it is told: of an agent, its input and answer.
Content = Callable[[Any], dict[str, Any]]


@dataclass(slots=True)
class SpanRow:
    """A span: times are seconds since the epoch."""

    name: str
    trace_id: int
    span_id: int
    parent: TraceParent | None
    start_s: float
    end_s: float
    kind: str = "INTERNAL"
    error: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    events: tuple[tuple[str, float], ...] = ()
    #: Another span of the trace that it follows from.
    follows: TraceParent | None = None

    def within(self, start_s: float, end_s: float) -> SpanRow:
        """Cut it to the times of what it stands in, as those who draw spans expect it.

        A member that is asked to stop ends a moment after the step that wants it no more, and
        clocks of two workers may be milliseconds apart.
        """
        if start_s <= self.start_s and self.end_s <= end_s:
            return self
        start = min(max(self.start_s, start_s), end_s)
        over_s = round(self.end_s - end_s, 6)
        about = self.attributes | ({genai.OVERRUN_S: over_s} if over_s > 0 else {})
        end = max(min(self.end_s, end_s), start)
        return replace(self, start_s=start, end_s=end, attributes=about)


def spans_of(run: TracedRun, content: Content | None = None) -> list[SpanRow]:
    """The spans of a run that has ended, the root first, each behind the one that it hangs below.

    What the run's caller has sent is the root's parent. The step that undoes a run stands beside
    the root, since it begins when that has ended.
    """
    trace_id = trace_of(run.id, run.caller)
    done: dict[str, SpanRow] = {}
    for row in _downwards(run):
        above = done.get(row.parent_id)
        parent = run.caller if above is None else TraceParent(trace_id, above.span_id)
        span = _step(row, trace_id, parent, run, content)
        if above is not None:
            span = span.within(above.start_s, above.end_s)
        elif row.id != run.id:
            span = replace(span, follows=TraceParent(trace_id, span_of(run.id)))
        done[row.id] = span
    calls = (s for row in run.steps for s in _calls(run.calls.get(row.id, ()), done[row.id]))
    return [*done.values(), *calls]


def _downwards(run: TracedRun) -> Iterator[Any]:
    """Its steps, each behind the one that has it as a member."""
    known = {row.id for row in run.steps}
    below: dict[str | None, list[Any]] = {}
    for row in run.steps:
        below.setdefault(row.parent_id if row.parent_id in known else None, []).append(row)
    level = below.pop(None, [])
    while level:
        yield from level
        level = [member for row in level for member in below.get(row.id, ())]


def _step(
    row: Any, trace_id: int, parent: TraceParent | None, run: TracedRun, content: Content | None
) -> SpanRow:
    head, failure = read_head(row.head) if row.head else {}, error_of(row)
    name, about = genai.of_step(row.task, row.agent)
    begun_s = row.started_at
    if begun_s is None:  # what waits for a person, or a time, never begins; all else did nothing
        waits = row.task in {names.APPROVAL, names.WAIT}
        begun_s = row.created_at if waits else row.finished_at
    about |= {genai.RUN: run.id, genai.STATE: row.state}
    if (usage := head.get("usage")) is not None:
        about |= genai.of_usage(Usage.model_validate(usage))
    told = {
        genai.STEP: row.id if row.id != run.id else None,
        genai.CONVERSATION: session_in(row.asked),
        genai.MEMBER: row.member,
        genai.TENANT: row.tenant or None,
        genai.ATTEMPTS: row.attempts if row.attempts > 1 else None,
        genai.QUEUE_S: round(max(begun_s - row.created_at, 0.0), 3) or None,
        genai.ERROR: failure["kind"] if failure else None,
    }
    about |= {name: value for name, value in told.items() if value is not None}
    if content is not None:
        about |= content(row)
    return SpanRow(
        name=name,
        trace_id=trace_id,
        span_id=span_of(row.id),
        parent=parent,
        start_s=begun_s,
        end_s=max(row.finished_at, begun_s),
        error=(failure or {}).get("message", row.state) if row.state in _BAD else None,
        attributes=about,
        events=tuple((event.kind, event.at) for event in run.events.get(row.id, ())),
    )


def _calls(rows: Iterable[Any], step: SpanRow) -> Iterator[SpanRow]:
    """Spans of a step's calls. One that a worker's death cut off has no end: its step's is told."""
    for row in rows:
        name, kind, about = genai.of_call(row.name)
        about |= {genai.STEP: row.step_id, genai.ATTEMPT: row.token}
        if genai.OPERATION in about and (known := step.attributes.get(genai.CONVERSATION)):
            about[genai.CONVERSATION] = known
        error: str | None = None
        if row.finished_at is None:
            error, about[genai.ERROR] = "Its worker died, or was stopped.", "interrupted"
        elif row.error is not None:
            error, about[genai.ERROR] = row.error["message"], row.error["kind"]
        if row.cost_usd:
            about[genai.COST_USD] = row.cost_usd
        about |= _answered(row.answer)
        yield SpanRow(
            name=name,
            trace_id=step.trace_id,
            span_id=span_of_call(row.step_id, row.token, row.seq),
            parent=TraceParent(step.trace_id, step.span_id),
            start_s=row.started_at,
            end_s=step.end_s if row.finished_at is None else row.finished_at,
            kind=kind,
            error=error,
            attributes=about,
        ).within(step.start_s, step.end_s)


def _answered(text: str | None) -> dict[str, Any]:
    """Attributes of a model's answer, beside its words."""
    answer = json.loads(text) if text else None
    if not isinstance(answer, dict):
        return {}
    told = genai.of_usage(Usage.model_validate(answer.get("usage") or {}))
    reply = answer.get("value")
    stop = reply.get("stop", "end") if isinstance(reply, dict) else None
    return told if stop is None else told | genai.of_stop(stop)
