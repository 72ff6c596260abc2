"""Short tasks about subscriptions, for clients that do not see the journal."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from app.execution.runtime import runtime_of
from app.execution.submission import opened_args
from app.journal.following.subscribed import Subscribed, SubscriptionKey
from app.maintenance.acts import recorded
from app.maintenance.starting import row_of_run
from celery_agents import names
from celery_agents.contracts.base import name_of, tenant_of, whole_of
from celery_agents.contracts.flows.schedules import ScheduledRun
from celery_agents.contracts.flows.subscriptions import StreamSet, SubscriptionRule, kind_of
from celery_agents.errors import InvalidPayloadError
from celery_agents.sealing import CANVAS

#: Subscriptions of one answer: some hundred bytes each.
LISTED_MAX = 1_000
#: Steps that only the journal starts.
_OWN = (names.COMPENSATE, names.WEBHOOK)


@shared_task(name=names.SUBSCRIPTIONS, bind=True)
def subscriptions(
    self: Any, name: str | None = None, tenant: str = "", limit: int = 100
) -> list[dict[str, Any]]:
    """Subscriptions of a tenant by their names, or the one of a name."""
    named = None if name is None else name_of(name)
    most = whole_of(limit, "limit", least=1, most=LISTED_MAX)
    store = runtime_of(self.app, self.request.hostname).journal.subscriptions
    return store.listed(tenant_of(tenant), named, most)


@shared_task(name=names.ON, bind=True, acks_late=True)
def on(
    self: Any, name: str, of: str, run: dict[str, Any], rule: dict[str, Any], **about: Any
) -> dict[str, Any]:
    """Make a subscription or change it; how it stands then."""
    key = SubscriptionKey(tenant_of(about.pop("tenant", "")), name_of(name))
    streams, kind, target = StreamSet.of(of), kind_of(**about), _target(self.app, run)
    wanted = Subscribed(streams, kind, SubscriptionRule.read(rule), "runs", target.model_dump())
    runtime = runtime_of(self.app, self.request.hostname)
    told = target.model_copy(update={"args": [{}]})
    row_of_run(runtime, "subscription", told, self.request.id, key.tenant)  # it can be made
    recorded(self, "subscription.put", key.name, key.tenant, of=streams.text, run=target.task)
    runtime.journal.subscriptions.put(key, wanted)
    return runtime.journal.subscriptions.listed(*key, 1)[0]


@shared_task(name=names.OFF, bind=True, acks_late=True)
def off(self: Any, name: str, tenant: str = "") -> bool:
    """Delete a subscription; its runs stay. Returns whether there was one."""
    key = SubscriptionKey(tenant_of(tenant), name_of(name))
    store = recorded(self, "subscription.delete", key.name, key.tenant).journal.subscriptions
    return store.delete(key)


@shared_task(name=names.PAUSE_SUBSCRIPTION, bind=True, acks_late=True)
def pause_subscription(self: Any, name: str, tenant: str = "") -> None:
    """Let a subscription serve nothing, until it is resumed."""
    key = SubscriptionKey(tenant_of(tenant), name_of(name))
    recorded(self, "subscription.pause", key.name, key.tenant).journal.subscriptions.pause(key)


@shared_task(name=names.RESUME_SUBSCRIPTION, bind=True, acks_late=True)
def resume_subscription(self: Any, name: str, tenant: str = "") -> None:
    """Let a subscription go on where it stands."""
    key = SubscriptionKey(tenant_of(tenant), name_of(name))
    recorded(self, "subscription.resume", key.name, key.tenant).journal.subscriptions.resume(key)


def _target(app: Any, run: dict[str, Any]) -> ScheduledRun:
    target = ScheduledRun.read(run)
    if target.task in _OWN:
        raise InvalidPayloadError(f"subscription: {target.task} is started by the journal alone.")
    args, kwargs = opened_args(app, CANVAS, target.args, target.kwargs)
    if args:
        raise InvalidPayloadError("run: its input is the event; give the signature none.")
    return target.model_copy(update={"kwargs": kwargs})
