"""The next step of a flow that asks one agent after the other, begun by the end of the one before.

The flow's instance has to be in this process. Its code is run on an end that is not written yet, so
an instance whose end is then written in another way is dropped: the next claim of the flow replays.
"""

from __future__ import annotations

import json
import logging
import time

from agents.catalog.registry import Registered
from agents.flows.history import LINES_WARN, Line
from agents.flows.pattern import Advanced, advance, dropped
from agents.kinds.function import FunctionBackend
from agents.plan import Member
from app.concurrency.fibers import brief, current, wait
from app.execution.attempts.unwritten import is_written, row_of, written_in_time
from app.execution.flows import Instances, Kept, entry_of
from app.execution.runtime import Runtime
from app.journal.ahead import Ahead
from app.journal.schema.engine import as_json
from app.journal.schema.rows import Claimed
from app.journal.sequels import FlowSeen, GoingOn
from app.journal.steps.joins import EARLY_S
from celery_agents import names
from celery_agents.contracts.ask import CAPS
from celery_agents.contracts.outcome import Outcome
from celery_agents.noted import note

log = logging.getLogger(__name__)

#: One message goes on with what follows for so long; then others have their turn, a worker that is
#: to stop among them.
SEQUEL_S = 1.0
#: A flow's agents without effects share one wait for the disk for so long: a power cut undoes what
#: they did in that time, which cost nothing, and it is done again.
SHARED_S = 0.025
#: Options by which a request is counted, or its answer kept.
_GOVERNED = frozenset({*CAPS, "budget", "cache", "similarity"})
#: Kinds of values that are the same in the journal as here.
_SAME = frozenset({str, int, float, bool, type(None)})


def sequel(runtime: Runtime, claim: Claimed, outcome: Outcome, until: float) -> Claimed | None:
    """End a member and begin the next one of its flow; None: neither, it is to end as others do.

    Where none of them has effects, ends of such members are written together, a moment later.
    """
    if not _may_go_on(runtime, claim, outcome, until):
        return None
    instances = Instances.of(runtime)
    assert claim.parent_id is not None, "it is a member"
    kept = instances.take(claim.parent_id)
    if kept is None or kept.flow is None or not _waits_for(kept, claim):
        if kept is not None:
            instances.put(claim.parent_id, kept)
        return None
    next_ = None
    try:
        next_ = _next(runtime, claim, outcome, kept, instances)
    except Exception as error:  # noqa: BLE001 - it is noted, and ends as others do
        note(log, "sequel", "A flow goes on by a message", error=error)
    finally:
        if next_ is None:
            dropped(kept.instance)
    return next_


def _may_go_on(runtime: Runtime, claim: Claimed, outcome: Outcome, until: float) -> bool:
    """Return whether a member's end may begin the next one; its slot is free for that."""
    plain = claim.policy == "any" and claim.task == names.ASK and outcome.ok
    if not plain or outcome.compensation is not None or runtime.stopping:
        return False
    if time.monotonic() >= until:
        return False
    fiber = current()
    return fiber is None or fiber.job is None or fiber.job.may_go_on


def _waits_for(kept: Kept, claim: Claimed) -> bool:
    """Return whether a flow waits for this member alone."""
    instance = kept.instance
    waits = len(instance.open) == 1 and claim.member in instance.open
    lasts = instance.cancelled_at is None and instance.lines < LINES_WARN - 1
    return waits and lasts and not instance.timers and not instance.inbox.awaited


def _next(
    runtime: Runtime, claim: Claimed, outcome: Outcome, kept: Kept, instances: Instances
) -> Claimed | None:
    flow, instance = kept.flow, kept.instance
    assert flow is not None, "it is one that may go on so"
    value = outcome.value
    if type(value) not in _SAME:
        value = json.loads(as_json(value))
    at = max(flow.clock + time.monotonic() - flow.read_at, instance.loop.now)
    lines, told = instance.lines, Line("done", claim.member or "", at, value)
    found = _advanced(kept, told, at)
    if (member := _alone(runtime, kept, found)) is None:
        return None
    (line,) = found.lines
    seen = FlowSeen(flow.claim, kept.heard, kept.begins + lines)
    pure = _are_pure(runtime, claim, member)
    final = not (pure and time.monotonic() < flow.synced + SHARED_S)
    going = GoingOn(outcome, at, seen, entry_of(flow.claim, line), member, final)
    begun = _begun(runtime, claim, going, pure=pure)
    if begun is not None:
        if final and begun.ahead is None:
            flow = flow._replace(synced=time.monotonic())
        last = [(str(line.kind), line.data)]
        instances.put(flow.claim.id, kept._replace(last=last, flow=flow))
    return begun


def _begun(runtime: Runtime, claim: Claimed, going: GoingOn, *, pure: bool) -> Claimed | None:
    """Begin what a flow asks next: with the end before it written, or before that is."""
    me, sequels, row = runtime.journal.me.id, runtime.journal.sequels, row_of(claim)
    if row is not None and row.is_sent:
        if not is_written(row):
            return None
        row = None  # its end is the first of what comes
    runs_ahead = pure and _touches_nothing(runtime, going.asks)
    if row is None:
        if (fiber := current()) is None or not runs_ahead:
            return wait(sequels.go_on(claim, going, me))
        begun = (row := Ahead(sequels, claim, me)).add(going)
        fiber.thread.loop.call_later(SHARED_S, written_in_time, runtime, row)
        return begun
    late = time.monotonic() >= row.since + SHARED_S
    begun = row.add(going)
    if begun is None or not (late or row.full or not runs_ahead):
        return begun
    return wait(row.write())


def _are_pure(runtime: Runtime, ended: Claimed, asks: Member) -> bool:
    """Return whether an end may be undone that nobody has seen but who is asked next.

    Both agents are pure: what is undone is done again, and meanwhile nothing has come of it.
    """
    both = (_agent(runtime, ended.agent), _agent(runtime, asks.agent))
    return all(one is not None and one.effects == "pure" for one in both)


def _agent(runtime: Runtime, name: str | None) -> Registered | None:
    return runtime.agents.registry.find(name or "")


def _touches_nothing(runtime: Runtime, asks: Member) -> bool:
    """Return whether an agent is a function that is not given its step, and concerns no guard.

    A call that is counted has its step's row: the loop, and all others on it, would wait for that.
    """
    agent = _agent(runtime, asks.agent)
    if agent is None or not isinstance(agent.backend, FunctionBackend):
        return False
    plain = runtime.agents.turns.is_plain(agent) and _GOVERNED.isdisjoint(asks.options)
    return plain and agent.backend.is_alone


def _advanced(kept: Kept, told: Line, at: float) -> Advanced:
    def work() -> Advanced:
        assert kept.flow is not None, "as above"
        return advance(kept.instance, kept.code, kept.flow.told, [told], at + EARLY_S)

    return brief(work)  # users' code: the loop has others to serve, and the lease to keep


def _alone(runtime: Runtime, kept: Kept, found: Advanced) -> Member | None:
    """The one agent that a flow asks now, if it wants and waits for nothing else."""
    instance = kept.instance
    over = found.outcome is not None or found.state is not None
    if over or instance.difference is not None or len(found.lines) != 1:
        return None
    if found.cancels or found.emits or len(found.wanted) != 1 or instance.timers:
        return None
    ((key, member),) = found.wanted.items()
    if [*instance.open] != [key] or instance.inbox.awaited:
        return None
    plain = member.task == names.ASK and not member.waits and member.ended is None
    known = plain and runtime.agents.registry.find(member.agent or "") is not None
    return member if known else None
