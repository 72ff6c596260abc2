"""Health of all targets: probes become rows with thresholds, which tell whom to ask instead."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError
from sqlalchemy import Engine

from agents.catalog.probes import Probe, probe_agents
from app.concurrency.fibers import in_thread, wait
from app.execution.others.neighbours import served
from app.execution.runtime import Runtime
from app.journal import Journal
from app.journal.stores.memos import Memos
from app.journal.stores.targets import Targets
from app.journal.tables.health import Condition
from app.maintenance.sight import breakers_in
from app.messaging.redis import connect_redis
from app.settings import Settings
from celery_agents.errors import AgentsError, redact

log = logging.getLogger(__name__)

_MESSAGE_LIMIT = 300
#: Of the journal, a row that is there to be written.
_MEMO = "health"


def judged(
    before: Any, probe: Probe, at: float, *, unhealthy_after: int, healthy_after: int
) -> dict[str, Any]:
    """The row of a target after one more probe; ``before`` is its former row, if there is one.

    The state changes after so many findings in a row that say otherwise.
    """
    ok = probe.error is None
    failures = 0 if ok else getattr(before, "failures", 0) + 1
    successes = getattr(before, "successes", 0) + 1 if ok else 0
    was = Condition(getattr(before, "state", Condition.UNKNOWN))
    state = was
    if successes >= healthy_after:
        state = Condition.HEALTHY
    elif failures >= unhealthy_after:
        state = Condition.UNHEALTHY
    return {
        "target": probe.target,
        "state": state,
        "since": before.since if before is not None and state is was else at,
        "checked_at": at,
        "last_ok_at": at if ok else getattr(before, "last_ok_at", None),
        "latency_ms": probe.latency_ms if ok else getattr(before, "latency_ms", None),
        "failures": failures,
        "successes": successes,
        "message": None if probe.error is None else redact(probe.error, limit=_MESSAGE_LIMIT),
    }


def record(journal: Journal, probes: Sequence[Probe], settings: Settings) -> dict[str, str]:
    """Write down what probes found; returns the states by target."""

    def judge(before: dict[str, Any], at: float) -> list[dict[str, Any]]:
        return [
            judged(
                before.get(p.target),
                p,
                at,
                unhealthy_after=settings.unhealthy_after_failures,
                healthy_after=settings.healthy_after_successes,
            )
            for p in probes
        ]

    before, after = journal.targets.judge([p.target for p in probes], judge)
    for row in after:
        if row["target"] in before and before[row["target"]].state != row["state"]:
            log.warning("%s is %s. %s", row["target"], row["state"], row["message"] or "")
    return {row["target"]: row["state"] for row in after}


def probe_all(runtime: Runtime) -> dict[str, str]:
    """Look at everything once and write it down; returns the states by target."""
    settings = runtime.settings
    looking = probe_agents(
        runtime.agents.registry,
        timeout_s=settings.health_timeout_s,
        queues=lambda: set().union(*served(runtime.app).values()),
        in_thread=in_thread,
    )
    agents = runtime.loop.submit(looking)
    own = [probe_broker(settings), probe_writes(runtime.journal.engine)]
    return record(runtime.journal, [*own, *wait(agents)], settings)


def probe_journal(engine: Engine) -> Probe:
    """Look whether the journal answers."""
    return timed("journal", Targets(engine).ping)


def probe_writes(engine: Engine) -> Probe:
    """Look whether the journal takes a write: a full one answers questions all the same."""
    return timed("journal", lambda: Memos(engine).change(_MEMO, lambda known: known))


def probe_broker(settings: Settings) -> Probe:
    """Look whether Redis answers and takes writes: a full one does the former only."""
    with connect_redis(settings, settings.health_timeout_s) as redis:
        return timed("broker", lambda: redis.set("agents:health", 1, px=1000))


def timed(target: str, look: Callable[[], object]) -> Probe:
    """Look, and tell how long it took or why it failed."""
    began = time.perf_counter()
    try:
        look()
    except (AgentsError, RedisError) as error:
        return Probe(target, f"{type(error).__name__}: {error}")
    return Probe(target, latency_ms=(time.perf_counter() - began) * 1000)


@dataclass(frozen=True, slots=True)
class Report:
    """How everything is, for people: rows as they are read, and whether something is wrong."""

    rows: list[dict[str, Any]]
    ok: bool


def report(engine: Engine, settings: Settings) -> Report:
    """The targets as last probed, broker and journal as they are now.

    A row that is not looked at any more is ``stale``: its agent was taken away, unless all rows
    are stale; then beat or its worker is not running, and that is wrong.
    """
    live = [probe_broker(settings), probe_writes(engine)]
    found = {p.target: judged(None, p, 0.0, unhealthy_after=1, healthy_after=1) for p in live}
    stale_s = settings.health_stale_s
    known: list[dict[str, Any]] = []
    if found["journal"]["state"] == Condition.HEALTHY:
        known = Targets(engine).read()
    others = [r for r in known if r["target"] not in found]
    shut = breakers_in(settings, others) if found["broker"]["state"] == Condition.HEALTHY else {}
    for row in others:
        if row["age_s"] > stale_s:
            row["state"] = "stale"
    ages = [r["age_s"] for r in known]
    told = [{"lasts_s": None, "age_s": 0.0, **found[name]} for name in sorted(found)] + others
    for row in told:
        row["breaker"] = shut.get(row["target"])
    wrong = any(r["state"] == Condition.UNHEALTHY for r in told)
    return Report(told, ok=not wrong and (not ages or min(ages) <= stale_s))
