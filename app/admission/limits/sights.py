"""Limits as people see them: how they stand, who waits where; closing and opening them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from redis.exceptions import RedisError

from agents.catalog.registry import Registry
from agents.governance.wants import instance, paused_by, refused_by
from app.admission.covering import about_of
from app.admission.limits.shared import SharedLimits
from app.messaging.intake import QUEUED, Intake
from celery_agents.contracts.limits import LimitPolicy, LimitState
from celery_agents.contracts.outcome import State
from celery_agents.contracts.tenants import TenantState
from celery_agents.errors import InvalidPayloadError, NotAdmittedError, RateLimitedError
from celery_agents.noted import note

log = logging.getLogger(__name__)

#: Errors of steps that may wait for a limit.
_REFUSED = {NotAdmittedError.kind, RateLimitedError.kind}


def states(limits: SharedLimits | None, registry: Registry) -> list[LimitState]:
    """How each limit stands; of one per tenant or run, those for which somebody waits.

    Blocks for two round trips.
    """
    if limits is None:
        return []
    waiting = {owner_of(q) for q in limits.queues().result()}
    shown = [
        (name, policy, own)
        for name, policy in limits.policies.items()
        for own in _instances(name, policy, limits, registry, waiting)
    ]
    accounts = {
        name: {a.account for a in registry.deployments if name in limits.of(a)}
        for name, _, _ in shown
    }
    keys = [_keys(name, own, accounts[name]) for name, _, own in shown]
    found = limits.look(keys).result()
    return [
        _state(name, limits.covering.one(name, _subject(policy, own)), own, told)
        for (name, policy, own), told in zip(shown, found, strict=False)
    ]


def pause(
    limits: SharedLimits | None, registry: Registry, name: str, seconds: float | None
) -> None:
    """Close a limit or a key for so long, or until it is opened.

    Raises:
        InvalidPayloadError: there is none of that name.
    """
    known = _known(limits, registry, name)
    known.pause([paused_by(name) if name in known.policies else name], seconds).result()


def resume(limits: SharedLimits | None, registry: Registry, name: str) -> None:
    """Open a limit with the keys that it covers, or a key.

    Raises:
        InvalidPayloadError: there is none of that name.
    """
    known = _known(limits, registry, name)
    covered = sorted({a.account for a in registry.deployments if name in known.of(a)})
    own = [name, refused_by(name)]
    known.resume([paused_by(name), *covered] if name in known.policies else own).result()


def _known(limits: SharedLimits | None, registry: Registry, name: str) -> SharedLimits:
    routed = registry.routed
    asked = (a for a in registry.deployments if limits and (limits.of(a) or a.deployment in routed))
    accounts = [
        key for a in asked for key in (a.account, *([a.target] if a.deployment in routed else ()))
    ]
    names = [] if limits is None else [*limits.policies, *sorted({*accounts})]
    if limits is None or name not in names:
        listed = ", ".join(names) or "none at all"
        raise InvalidPayloadError(f"There is no limit and no key {name!r}. There are: {listed}.")
    return limits


def status(
    limits: SharedLimits | None, intake: Intake, run_id: str, tree: dict[str, Any] | None
) -> dict[str, Any] | None:
    """A run as a tree: by the journal, or as it was sent where nobody has taken it yet.

    Steps that wait say for what: a queue, or a limit and where they stand there.
    """
    if tree is None:
        try:
            tree = intake.queued(run_id)
        except RedisError as error:
            note(log, "queued", "Without Redis nobody knows what is only queued", error=error)
    if tree is None:
        return None
    for step in tree["steps"]:
        if step["state"] in {QUEUED, State.READY} and step["error"] is None and step["queue"]:
            step["waits_for"] = f"queue {step['queue']}"
    return with_places(limits, tree)


def with_places(limits: SharedLimits | None, tree: dict[str, Any] | None) -> dict[str, Any] | None:
    """A run as a tree, where steps that wait for a limit say where they stand now."""
    if tree is None or limits is None:
        return tree
    parked = [step for step in tree["steps"] if _is_parked(step)]
    if not parked:
        return tree
    places = limits.places([step["id"] for step in parked]).result()
    for step, (queue, place, wait_s) in zip(parked, places, strict=False):
        if queue:
            about = "" if wait_s is None else f", about {wait_s:.0f} s"
            step["waits_for"] = f"limit {limit_of(queue)}, place {place}{about}"
            step["error"] = {**step["error"], "message": f"waits for {step['waits_for']}"}
    return tree


def owner_of(queue: str) -> str:
    """The limit, with its subject, or the paused key that a queue is of."""
    kind, _, rest = queue.partition(":")
    if kind == "P":
        return rest.removeprefix("limit:").removeprefix("refused:")
    return rest.partition(":")[2] if kind == "R" else rest


def limit_of(queue: str) -> str:
    """The limit, or the paused key, that a queue is of."""
    key = queue.startswith("P:") and not queue.startswith("P:limit:")
    return owner_of(queue) if key else owner_of(queue).partition(":")[0]


def tenants(intake: Intake, registry: Registry, queue: str) -> list[TenantState]:
    """How tenants stand in a queue, with what they weigh."""
    weights = registry.weights
    found = intake.tenants(queue)
    return [s.model_copy(update={"weight": weights.get(s.name, 1.0)}) for s in found]


def _is_parked(step: dict[str, Any]) -> bool:
    return (step["error"] or {}).get("kind") in _REFUSED and step["state"] == State.READY


def _instances(
    name: str,
    policy: LimitPolicy,
    limits: SharedLimits,
    registry: Registry,
    waiting: set[str],
) -> Iterator[str]:
    """The names of a limit's parts: one, or one for each that has its own."""
    if policy.per in {"tenant", "run"}:
        yield from sorted(own for own in waiting if own.startswith(f"{name}:"))
        return
    covered = [about_of(a) for a in registry.deployments if name in limits.of(a)]
    yield from sorted({instance(name, policy, about) for about in covered} or {name})


def _keys(name: str, own: str, accounts: set[str]) -> list[list[str]]:
    """The keys of a limit's slots, queues and pauses, and of what was learned of it."""
    _, _, subject = own.partition(":")
    pauses = [paused_by(name), *sorted(accounts & {subject} or accounts)]
    rates = [f"R:{what}:{own}" for what in ("requests", "tokens", "input", "output")]
    queues = [f"S:{own}", f"U:{own}", *(f"P:{key}" for key in pauses), *rates]
    return [[f"S:{own}", f"U:{own}"], queues, pauses, [subject]]


def _subject(policy: LimitPolicy, own: str) -> str:
    """The tenant that a part of a limit is of."""
    return own.partition(":")[2] if policy.per == "tenant" else ""


def _state(name: str, policy: LimitPolicy, own: str, told: Any) -> LimitState:
    held, waiting, paused_ms, learned = told
    numbers = [word.decode() for word in learned]
    return LimitState(
        name=name,
        policy=policy,
        subject=own.partition(":")[2],
        in_use=held,
        waiting=waiting,
        paused_s=paused_ms / 1000 if paused_ms > 0 else None,
        learned={what: float(n) for what, n in zip(numbers[::2], numbers[1::2], strict=True)},
    )
