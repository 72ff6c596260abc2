"""Deciding on slots that are due: they start runs, wait, or are passed over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agents.schedules.slots import due
from celery_agents.contracts.flows.schedules import CatchUp, ScheduleRule

#: A slot that is seen so long after its time was missed: no worker was up. One that restarts, or a
#: database that is away for a moment, is back sooner.
MISSED_S = 60.0
#: Slots that are looked at together; those behind them come next.
SLOTS_MAX = 1_000
#: Slots that wait for the run that is under way; more are passed over.
QUEUED_MAX = 100


@dataclass(frozen=True, slots=True)
class ScheduleState:
    """Where a schedule stands."""

    next_at: float | None
    #: Since when there is its rule.
    begins_at: float
    queued: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Dispatch:
    """The things to do now, and where the schedule stands then."""

    #: Slots that start a run each.
    starts: tuple[float, ...]
    next_at: float | None
    queued: tuple[float, ...] = ()
    skipped: int = 0
    #: Whether the runs that are under way are to be cancelled.
    cancels: bool = False


def dispatch(rule: ScheduleRule, state: ScheduleState, now: float, *, under_way: bool) -> Dispatch:
    """Decide on all slots up to now.

    Args:
        rule: of the schedule.
        state: where it stands.
        now: seconds since 1970.
        under_way: whether a run of it is.

    Raises:
        InvalidPayloadError: the rule cannot be read any more.
    """
    found: list[float] = []
    next_at = state.next_at
    if next_at is not None:
        found, next_at = due(rule, next_at, now, state.begins_at, SLOTS_MAX)
    more = next_at is not None and next_at <= now
    kept = _kept(found, now, rule.catchup, more=more)
    waiting = (*state.queued, *kept)
    skipped = len(found) - len(kept)
    match rule.overlap:
        case "allow":
            return Dispatch(waiting, next_at, (), skipped)
        case "skip":
            starts = () if under_way else waiting[:1]
            return Dispatch(starts, next_at, (), skipped + len(waiting) - len(starts))
        case "replace":
            skipped += len(waiting[:-1])
            waiting = waiting[-1:]
    starts = () if under_way else waiting[:1]
    queued = waiting[len(starts) :]
    return Dispatch(
        starts,
        next_at,
        queued[:QUEUED_MAX],
        skipped + len(queued[QUEUED_MAX:]),
        cancels=rule.overlap == "replace" and under_way and bool(queued),
    )


def _kept(found: Sequence[float], now: float, catchup: CatchUp, *, more: bool) -> list[float]:
    """Return the slots that were not missed, and of those that were what is made up for."""
    if catchup == "all":
        return [*found]
    kept = [slot for slot in found if slot >= now - MISSED_S]
    if catchup == "latest" and found and not (kept or more):
        return [found[-1]]
    return kept
