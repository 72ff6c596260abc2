"""A flow's part of a step: its history read, its code asked, what it wants written down."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any, NamedTuple

from agents.flows.history import LINES_WARN, PATCHED, Difference, Line
from agents.flows.instance import Instance
from agents.flows.pattern import (
    Advanced,
    advance,
    begins_anew,
    begun,
    cancelled,
    dropped,
    next_due,
)
from agents.plan import AwaitedAny, Expand, JoinPolicy
from app.concurrency.fibers import brief
from app.execution.acting.hearing import (
    callers_of,
    failed,
    is_actor,
    keeps_s,
    line_of,
    most_of,
    stopped_by,
    told_now,
)
from app.execution.context import Step
from app.execution.forks import begun_fork
from app.execution.runtime import Runtime
from app.journal.schema.rows import Claimed, NewEntry
from app.journal.steps.joins import EARLY_S
from app.journal.stores.flows import DIVERGED, FEW, NewEnd, News, ToldLine, since_begun
from celery_agents.contracts.base import PLACES_MAX, JsonValue
from celery_agents.contracts.flows.entries import HISTORY
from celery_agents.contracts.flows.flow import Flow
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State
from celery_agents.errors import FlowError, StepCancelledError, UnknownFlowError
from celery_agents.sealing import EVENT

log = logging.getLogger(__name__)
#: A flow whose code differs from its history, or is not here, is tried again after so long: by
#: then another worker, with other code, may take it.
PARKED_S = 60.0
#: Flows that a process remembers to have parked, the newest ones.
PARKED_MAX = 10_000
#: Kind of the event of a flow whose history is long.
LONG = "long_history"
#: Times that a flow may begin anew without waiting for anything.
GENERATIONS_MAX = 100


#: Kinds of commands that ask for no member.
_NO_MEMBERS = frozenset({"timer", "signal", "emit", "cancel", PATCHED})


class KeptFlow(NamedTuple):
    """A flow's last claim in this process, of one that may go on by the ends of its members."""

    claim: Claimed
    #: Its input.
    told: JsonValue
    #: What time it was by the journal, and by this process.
    clock: float
    read_at: float
    #: When, by this process, a commit of it last waited for the disk.
    synced: float = -math.inf


class Kept(NamedTuple):
    """An instance that stays in this process, with what it was last told and nobody confirmed."""

    instance: Instance
    code: Callable[..., Any]
    version: int
    heard: int
    last: list[tuple[str, dict[str, Any]]]
    #: The place of its generation's first line, among all of the history.
    begins: int = 0
    flow: KeptFlow | None = None
    #: Whether it may have members: then its cost is theirs.
    asked: bool = True


class Instances:
    """Instances of flows by their ids, the newest ones; one that is in use is not among them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._parked: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def of(cls, runtime: Runtime) -> Instances:
        """Those of this process."""
        return runtime.resource(cls, lambda: cls(runtime.settings.flows_max))

    def park(self, step_id: str) -> None:
        """Remember that a flow's code is not here as it has to be."""
        with self._lock:
            self._parked[step_id] = None
            if len(self._parked) > PARKED_MAX:
                self._parked.popitem(last=False)

    def has_parked(self, step_id: str) -> bool:
        """Return whether a flow's code was not here as it has to be."""
        return step_id in self._parked

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
    """Let a flow go on with what has come for it.

    In a fiber: it is looked at together with others. What users wrote runs in a thread.
    """
    had_kept = Instances.of(step.runtime).take(step.claim.id)
    seen = _seen(step, request, had_kept)
    return brief(_decided, step, request, had_kept, seen)


def _decided(step: Step, request: Flow, had_kept: Kept | None, seen: _Seen) -> Expand | Outcome:
    kept = _brought_up(had_kept, seen, step, request)
    if kept is None:
        return _forked(step, request)
    if not isinstance(kept, Kept):
        return kept
    if kept.instance.difference is not None:
        dropped(kept.instance)
        return _parked(step, _told(kept.instance.difference))
    news = seen[1] if kept is had_kept else _news(step, request, kept, seen)
    had = kept.instance.lines
    lines = _lines(request, news, kept.version, begun=had > 0)
    found = advance(kept.instance, kept.code, request.input, lines, news.at + EARLY_S)
    return _gone_on(step, request, kept, found, (had, news))


def _news(step: Step, request: Flow, kept: Kept, seen: _Seen) -> News:
    """News of an instance that was just brought up: of what it was told, they may be known.

    Ends among these are of what it waited for before, and stand in its history now.
    """
    news, instance, most = seen[1], kept.instance, most_of(request, kept.instance)
    if not instance.open and len(news.signals) < FEW:
        signals = told_now([one for one in news.signals if one.seq > kept.heard], most)
        return news._replace(ends=[], signals=signals)
    return step.runtime.journal.flows.news(step.claim, [*instance.open], kept.heard, most)


def _forked(step: Step, request: Flow) -> Expand | Outcome:
    """Let a fork begin with what it takes over."""
    fork = begun_fork(step, request)
    instance = fork.begins.instance
    if instance.difference is not None:
        dropped(instance)
        return _parked(step, _told(instance.difference))
    news = step.runtime.journal.flows.news(step.claim, [], -1)
    lines = _lines(request, news, fork.version, begun=True)
    found = fork.begins.advance(lines, news.at + EARLY_S)
    kept = Kept(instance, fork.code, fork.version, -1, [])
    return _gone_on(step, request, kept, found, (0, news))


def _gone_on(
    step: Step, request: Flow, kept: Kept, found: Advanced, told: tuple[int, News]
) -> Expand | Outcome:
    """Write what has come of an advance; ``told``: the lines that it had before, and the news."""
    (had, news), claim, settings = told, step.claim, step.runtime.settings
    instances = Instances.of(step.runtime)
    # What came behind the line that ended its code was not told: it is news for what comes next.
    heard = max((line.place for line in found.lines if line.place is not None), default=kept.heard)
    if is_actor(request) and failed(found) and claim.parent_id is None:
        dropped(kept.instance)
        return _parked(step, stopped_by(found))
    step.callers = callers_of(found)
    kept = kept._replace(asked=kept.asked or _asks(found.lines))
    if found.state is not None:
        kept, found = _anew(step, request, kept, (had, found, heard), news.at)
    elif had < LINES_WARN <= kept.instance.lines:
        step.runtime.journal.note(claim.run_id, claim.id, LONG, [{"lines": kept.instance.lines}])
    step.lets_go = bool(kept.instance.open or found.cancels)
    result = _written(step, kept, found, news, heard)
    if isinstance(result, Expand) and settings.flows_max:
        last = [(str(line.kind), line.data) for line in found.lines]
        flow = KeptFlow(claim, request.input, news.at, time.monotonic())
        about: Any = {"heard": heard, "last": last, "flow": flow if _is_plain(step) else None}
        instances.put(claim.id, kept._replace(**about))
    else:
        dropped(kept.instance)
    return result


def _is_plain(step: Step) -> bool:
    """Return whether members of a flow are asked as its code says, whatever else is asked of it."""
    claim = step.claim
    bounded = step.allowance is not None or claim.remaining_s is not None
    return claim.parent_id is None and not (bounded or step.streamed or step.scope)


def _anew(
    step: Step, request: Flow, kept: Kept, told: tuple[int, Advanced, int], at: float
) -> tuple[Kept, Advanced]:
    """Begin anew, once or until it waits; with what is written of that: the last generation.

    ``told``: the lines that it had before, what has come of the last ones, and the place of the
    last signal among them.
    """
    had, found, heard = told
    cancels, emits = list(found.cancels), list(found.emits)
    kept = kept._replace(begins=kept.begins + had)
    for _ in range(GENERATIONS_MAX):
        ended, before = kept.instance, found
        cancels += [key for key in ended.open if key not in before.wanted]
        version, code = step.runtime.agents.registry.flows.get(request.flow, request.version)
        line = begins_anew(ended, before, at, version, heard)
        instance = Instance(ended.run_id, ended.generation + 1, forked=ended.forked)
        kept = kept._replace(instance=instance, code=code, version=version)
        dropped(ended)
        # An actor commits first: what is due then is taken up by what comes next.
        until = -math.inf if is_actor(request) else at + EARLY_S
        found = advance(instance, code, request.input, [line], until)
        emits += found.emits
        if found.state is None:
            found.cancels, found.emits = [*cancels, *found.cancels], emits
            return kept, found
    error = FlowError(f"The flow began anew {GENERATIONS_MAX} times without waiting.")
    return kept, Advanced(
        cancels=cancels, emits=emits, outcome=Outcome(state=State.FAILED, error=ErrorInfo.of(error))
    )


#: Lines of a history behind those that an instance was confirmed, and news of where it stands.
_Seen = tuple[list[ToldLine], News]


def _seen(step: Step, request: Flow, kept: Kept | None) -> _Seen:
    """Read at one look what concerns an instance that stays in this process, or one to be made."""
    store = step.runtime.journal.flows
    if kept is None:
        return store.first_glance(step.claim)
    instance = kept.instance
    about = ([*instance.open], kept.heard, most_of(request, instance))
    return store.glance(step.claim, _confirmed(kept), *about)


def _confirmed(kept: Kept) -> int:
    """Return the place of the first line that it was told and nobody confirmed."""
    return kept.begins + kept.instance.lines - len(kept.last)


def _brought_up(
    kept: Kept | None, seen: _Seen, step: Step, request: Flow
) -> Kept | Expand | Outcome | None:
    """An instance that stands where the journal's history ends; or why there is none.

    None: it is a fork that has not begun.

    One that is here goes on with what others have written since. What it was told last may never
    have been written, if its claim was stale; then it is begun anew.
    """
    store, claim = step.runtime.journal.flows, step.claim
    told = seen[0]
    if kept is not None:
        if _stands(kept, told):
            if not (more := told[len(kept.last) :]):
                return kept
            lines = [Line.of(one.kind, one.data) for one in more]
            kept.instance.replay(lines)
            asked = kept.asked or _asks(lines)
            return kept._replace(heard=_heard(more, kept.heard), asked=asked)
        dropped(kept.instance)
    if kept is not None or len(told) == FEW:
        told = store.lines(claim.tenant, claim.id)
    told = since_begun(told) if claim.token > 1 else []
    history = [Line.of(one.kind, one.data) for one in told]
    if not history and request.fork is not None:
        return None
    version = history[0].value["version"] if history else request.version
    try:
        version, code = step.runtime.agents.registry.flows.get(request.flow, version)
    except UnknownFlowError as error:
        if not (history or is_actor(request)):
            raise
        return _parked(step, {"missing": error.message})
    instance = begun(code, claim.id, request.input, history)
    begins = told[0].seq if told else 0
    asked = begins > 0 or _asks(history)
    return Kept(instance, code, version, _heard(told, -1), [], begins, asked=asked)


def _stands(kept: Kept, told: list[ToldLine]) -> bool:
    """Return whether an instance stands where these lines of its history go on."""
    last, more = told[: len(kept.last)], told[len(kept.last) :]
    if told and told[0].seq != _confirmed(kept):
        return False
    # Told nothing last, it has no line that shows that another process has begun anew since.
    anew = any(line.kind == "started" for line in more)
    return not anew and [(line.kind, line.data) for line in last] == kept.last


def _asks(lines: Iterable[Line]) -> bool:
    """Return whether there are members among what a flow asked for."""
    return any(one.kind not in _NO_MEMBERS for line in lines for one in line.commands)


def _heard(told: list[ToldLine], before: int) -> int:
    """Return the place of the last signal that stands in a history."""
    places = (place for line in told if (place := line.data.get("place")) is not None)
    return max(places, default=before)


def _lines(request: Flow, news: News, version: int, *, begun: bool) -> list[Line]:
    """Make lines of what has come, in the order in which it did."""
    lines = [_end(row) for row in news.ends]
    lines += [line_of(request, one, news.at) for one in news.signals]
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


def _written(step: Step, kept: Kept, found: Advanced, news: News, heard: int) -> Expand | Outcome:
    """Return the flow's end or what it waits for, and have its new lines written with that."""
    claim = step.claim
    step.recorded = [entry_of(claim, line) for line in found.lines]
    step.recorded += [
        NewEntry(claim.tenant, e.stream, e.kind, e.data, e.key, claim.run_id) for e in found.emits
    ]
    anew = bool(found.lines) and found.lines[0].kind == "started"
    step.begins = kept.begins if anew else 0
    if found.outcome is not None:
        if unread := kept.instance.inbox.unread:
            told = Line("unread", "", news.at, [list(one) for one in unread])
            step.recorded.append(entry_of(claim, told))
        if not (kept.asked or _asks(found.lines)):  # it has no members
            return found.outcome
        usage = step.runtime.journal.tally(claim.id).usage
        return found.outcome.model_copy(update={"usage": usage})
    due = next_due(kept.instance)
    return Expand(
        members=found.members,
        join=JoinPolicy(
            kind="any",
            timeout_s=None if due is None else max(due - news.at, 0.0),
            since=news.at,
            keep=not kept.instance.inbox.hears,
        ),
        awaited=AwaitedAny(
            deaf=not kept.instance.inbox.hears,
            open=tuple(kept.instance.open),
            lets_go=tuple(found.cancels),
            heard=heard,
            begins=step.begins,
            keeps_s=keeps_s(claim, step.runtime.settings),
        ),
    )


def entry_of(claim: Claimed, line: Line) -> NewEntry:
    """The entry that a line of a flow's history is."""
    return NewEntry(claim.tenant, HISTORY + claim.id, line.kind, line.data, run_id=claim.run_id)


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
    Instances.of(step.runtime).park(claim.id)
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
    return Expand(
        join=JoinPolicy(kind="any", timeout_s=PARKED_S), awaited=AwaitedAny(heard=PLACES_MAX)
    )
