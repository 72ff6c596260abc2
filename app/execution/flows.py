"""A flow's part of a step: its history read, its code asked, what it wants written down."""

from __future__ import annotations

import logging
from operator import attrgetter
from typing import Any

from agents.flows.history import Difference, Line
from agents.flows.instance import Instance
from agents.flows.pattern import Advanced, advance, begun, dropped
from agents.plan import AwaitedAny, Expand, JoinPolicy
from app.execution.context import Step
from app.journal.schema.rows import NewEntry
from app.journal.steps.anyhow import HISTORY
from app.journal.steps.joins import EARLY_S
from app.journal.stores.flows import DIVERGED, News
from celery_agents.contracts.flows.flow import Flow
from celery_agents.contracts.outcome import ErrorInfo, Outcome
from celery_agents.errors import StepCancelledError, UnknownFlowError

log = logging.getLogger(__name__)
#: A flow whose code differs from its history, or is not here, is tried again after so long: by
#: then another worker, with other code, may take it.
PARKED_S = 60.0
#: Above all places.
_ALL = 2**31 - 1


def flow_step(step: Step, request: Flow) -> Expand | Outcome:
    """Let a flow go on with what has come for it."""
    store, claim = step.runtime.journal.flows, step.claim
    told = store.lines(claim.tenant, claim.id) if claim.token > 1 else []
    history = [Line.of(kind, data) for kind, data in told]
    version = history[0].value["version"] if history else request.version
    try:
        version, code = step.runtime.agents.registry.flows.get(request.flow, version)
    except UnknownFlowError as error:
        if not history:
            raise
        return _parked(step, {"missing": error.message})
    instance = begun(code, claim.id, request.input, history)
    try:
        if instance.difference is not None:
            return _parked(step, _told(instance.difference))
        heard = max((n for kind, data in told if (n := data.get("place")) is not None), default=-1)
        news = store.news(claim, [*instance.open], heard)
        lines = _lines(news, history, version)
        found = advance(instance, code, request.input, lines, news.at + EARLY_S)
        step.lets_go = bool(instance.open or found.cancels)
        return _written(step, instance, found, news, heard)
    finally:
        dropped(instance)


def _lines(news: News, history: list[Line], version: int) -> list[Line]:
    """Make lines of what has come, in the order in which it did."""
    lines = [_end(row) for row in news.ends]
    lines += [
        Line("signal", row.data["name"], row.at, row.data["value"], place=row.seq)
        for row in news.signals
    ]
    lines.sort(key=attrgetter("at"))
    if not history:
        lines.insert(0, Line("started", "", news.at, {"version": version}))
    return lines


def _end(row: Any) -> Line:
    outcome = Outcome.model_validate(row.outcome)
    if outcome.ok:
        return Line("done", row.member, row.finished_at, outcome.value)
    error = outcome.error or ErrorInfo.of(StepCancelledError())
    return Line("failed", row.member, row.finished_at, error.compact())


def _written(
    step: Step, instance: Instance, found: Advanced, news: News, heard: int
) -> Expand | Outcome:
    """Return the flow's end or what it waits for, and have its new lines written with that."""
    claim = step.claim
    step.recorded = [
        NewEntry(claim.tenant, HISTORY + claim.id, line.kind, line.data, run_id=claim.run_id)
        for line in found.lines
    ]
    step.recorded += [
        NewEntry(claim.tenant, e.stream, e.kind, e.data, e.key, claim.run_id) for e in found.emits
    ]
    if found.outcome is not None:
        usage = step.runtime.journal.tally(claim.id).usage
        return found.outcome.model_copy(update={"usage": usage})
    due = instance.timers.next_due
    return Expand(
        members=found.members,
        join=JoinPolicy(kind="any", timeout_s=None if due is None else max(due - news.at, 0.0)),
        awaited=AwaitedAny(
            open=tuple(instance.open),
            lets_go=tuple(found.cancels),
            heard=max((row.seq for row in news.signals), default=heard),
        ),
    )


def _told(difference: Difference) -> dict[str, Any]:
    """Tell people of a difference."""
    return {
        "line": difference.line,
        "place": difference.place,
        "recorded": None if difference.recorded is None else str(difference.recorded),
        "asked": None if difference.asked is None else str(difference.asked),
        "told": str(difference),
    }


def _parked(step: Step, why: dict[str, Any]) -> Expand:
    """Let the flow be for a while, and say why once: nothing is cancelled, and nobody is asked."""
    store, claim = step.runtime.journal.flows, step.claim
    known = store.diverged(claim.id, claim.run_id) == why
    if not known:
        log.warning("The flow %s is parked: %s", claim.id, why)
        step.runtime.journal.note(claim.run_id, claim.id, DIVERGED, [why])
    return Expand(join=JoinPolicy(kind="any", timeout_s=PARKED_S), awaited=AwaitedAny(heard=_ALL))
