"""A flow's part of a step: its history read, its code asked, what it wants written down."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from operator import attrgetter
from typing import Any, NamedTuple

from agents.flows.history import Difference, Line
from agents.flows.instance import Instance
from agents.flows.pattern import Advanced, advance, begun, cancelled, dropped, next_due
from agents.plan import AwaitedAny, Expand, JoinPolicy
from app.execution.context import Step
from app.journal.schema.rows import NewEntry
from app.journal.steps.entries import HISTORY
from app.journal.steps.joins import EARLY_S
from app.journal.stores.flows import DIVERGED, NewEnd, News
from celery_agents.contracts.flows.flow import Flow
from celery_agents.contracts.outcome import ErrorInfo, Outcome
from celery_agents.errors import StepCancelledError, UnknownFlowError
from celery_agents.sealing import EVENT

log = logging.getLogger(__name__)
#: A flow whose code differs from its history, or is not here, is tried again after so long: by
#: then another worker, with other code, may take it.
PARKED_S = 60.0
#: Above all places.
_ALL = 2**31 - 1


class Kept(NamedTuple):
    """An instance that stays in this process, with what it was last told and nobody confirmed."""

    instance: Instance
    code: Callable[..., Any]
    version: int
    heard: int
    last: list[tuple[str, dict[str, Any]]]


class Instances:
    """Instances of flows by their ids, the newest ones; one that is in use is not among them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, step_id: str) -> Kept | None:
        """The instance of a flow, if it is here."""
        with self._lock:
            return self._kept.pop(step_id, None)

    def put(self, step_id: str, kept: Kept) -> None:
        """Keep an instance; let go of the oldest one where there are too many."""
        with self._lock:
            self._kept[step_id] = kept
            over = self._kept.popitem(last=False)[1] if len(self._kept) > self._most else None
        if over is not None:
            dropped(over.instance)


def flow_step(step: Step, request: Flow) -> Expand | Outcome:
    """Let a flow go on with what has come for it."""
    claim, journal, settings = step.claim, step.runtime.journal, step.runtime.settings
    instances = step.runtime.resource(Instances, lambda: Instances(settings.flows_max))
    found = _brought_up(instances.take(claim.id), step, request)
    if not isinstance(found, Kept):
        return found
    instance, code, version, heard, _ = found
    if instance.difference is not None:
        dropped(instance)
        return _parked(step, _told(instance.difference))
    news = journal.flows.news(claim, [*instance.open], heard)
    lines = _lines(news, version, begun=instance.lines > 0)
    advanced = advance(instance, code, request.input, lines, news.at + EARLY_S)
    step.lets_go = bool(instance.open or advanced.cancels)
    result = _written(step, instance, advanced, news, heard)
    if isinstance(result, Expand) and result.awaited is not None and settings.flows_max:
        last: list[tuple[str, dict[str, Any]]]
        last = [(line.kind, line.data) for line in advanced.lines]
        instances.put(claim.id, Kept(instance, code, version, result.awaited.heard, last))
    else:
        dropped(instance)
    return result


def _brought_up(kept: Kept | None, step: Step, request: Flow) -> Kept | Expand | Outcome:
    """An instance that stands where the journal's history ends; or why there is none.

    One that is here goes on with what others have written since. What it was told last may never
    have been written, if its claim was stale; then it is begun anew.
    """
    store, claim = step.runtime.journal.flows, step.claim
    if kept is not None:
        since = kept.instance.lines - len(kept.last)
        told = store.lines(claim.tenant, claim.id, since)
        if told[: len(kept.last)] == kept.last:
            more = told[len(kept.last) :]
            kept.instance.replay(Line.of(kind, data) for kind, data in more)
            return kept._replace(heard=_heard(more, kept.heard))
        dropped(kept.instance)
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
    return Kept(instance, code, version, _heard(told, -1), [])


def _heard(told: list[tuple[str, dict[str, Any]]], before: int) -> int:
    """Return the place of the last signal that stands in a history."""
    places = (place for _, data in told if (place := data.get("place")) is not None)
    return max(places, default=before)


def _lines(news: News, version: int, *, begun: bool) -> list[Line]:
    """Make lines of what has come, in the order in which it did."""
    lines = [_end(row) for row in news.ends]
    lines += [Line(one.kind, one.name, one.at, one.value, place=one.seq) for one in news.signals]
    lines.sort(key=attrgetter("at"))
    if not begun:
        lines.insert(0, Line("started", "", news.at, {"version": version}))
    return lines


def _end(told: NewEnd) -> Line:
    outcome = Outcome.model_validate(told.outcome)
    if outcome.ok:
        return Line("done", told.member, told.at, outcome.value)
    error = outcome.error or ErrorInfo.of(StepCancelledError())
    return Line("failed", told.member, told.at, error.compact())


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
    due = next_due(instance)
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


def _parked(step: Step, why: dict[str, Any]) -> Expand | Outcome:
    """Let the flow be for a while, and say why once: nothing is cancelled, and nobody is asked.

    One that was cancelled ends: its code cannot clean up here.
    """
    store, claim = step.runtime.journal.flows, step.claim
    if any(one.kind == "cancel" for one in store.news(claim, [], -1).signals):
        step.lets_go = True
        return cancelled()
    known = store.diverged(claim.id, claim.run_id) == why
    if not known:
        log.warning("The flow %s is parked: %s", claim.id, why.get("place") or why["missing"])
        told = why
        if (seals := step.runtime.seals) is not None:  # digests tell what was asked to who guesses
            told = {name: seals.seal(value, claim.id, EVENT) for name, value in why.items()}
        step.runtime.journal.note(claim.run_id, claim.id, DIVERGED, [told])
    return Expand(join=JoinPolicy(kind="any", timeout_s=PARKED_S), awaited=AwaitedAny(heard=_ALL))
