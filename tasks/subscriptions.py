"""Short tasks about subscriptions, for clients that do not see the journal."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from app.execution.runtime import runtime_of
from app.execution.submission import opened_args
from app.journal.following.store import SubscriptionStore
from app.journal.following.subscribed import Subscribed, SubscriptionKey
from app.maintenance.acts import recorded
from app.maintenance.projecting import reducing
from app.maintenance.starting import row_of_run
from celery_agents import names
from celery_agents.contracts.base import name_of, tenant_of, whole_of
from celery_agents.contracts.flows.entries import stream_of
from celery_agents.contracts.flows.schedules import ScheduledRun
from celery_agents.contracts.flows.subscriptions import (
    StreamLimits,
    StreamSet,
    SubscriptionRule,
    kind_of,
)
from celery_agents.contracts.flows.topics import TOPIC
from celery_agents.contracts.teams.swarm import STREAM as SWARMS
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
    store = runtime_of(self.app, self.request.hostname).journal.streams.subscriptions
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
    runtime.journal.streams.subscriptions.put(key, wanted)
    return runtime.journal.streams.subscriptions.listed(*key, 1)[0]


@shared_task(name=names.OFF, bind=True, acks_late=True)
def off(self: Any, name: str, tenant: str = "") -> bool:
    """Delete a subscription; its runs stay. Returns whether there was one."""
    store, key = _act(self, "delete", name, tenant)
    return store.delete(key)


@shared_task(name=names.PAUSE_SUBSCRIPTION, bind=True, acks_late=True)
def pause_subscription(self: Any, name: str, tenant: str = "") -> None:
    """Let a subscription serve nothing, until it is resumed."""
    store, key = _act(self, "pause", name, tenant)
    store.pause(key)


@shared_task(name=names.RESUME_SUBSCRIPTION, bind=True, acks_late=True)
def resume_subscription(self: Any, name: str, tenant: str = "") -> None:
    """Let a subscription go on where it stands."""
    store, key = _act(self, "resume", name, tenant)
    store.resume(key)


@shared_task(name=names.REBUILD, bind=True, acks_late=True)
def rebuild(self: Any, name: str, tenant: str = "") -> None:
    """Have a projection begin anew."""
    store, key = _act(self, "rebuild", name, tenant)
    store.rebuild(key)


@shared_task(name=names.KEEP, bind=True, acks_late=True)
def keep(self: Any, of: str, limits: dict[str, Any] | None = None, tenant: str = "") -> None:
    """Keep the entries of streams so long from now on; without limits, for ever."""
    streams, whose = StreamSet.of(of), tenant_of(tenant)
    read = None if limits is None else StreamLimits.read(limits)
    told = {} if read is None else read.compact()
    journal = recorded(self, "streams.keep", streams.text, whose, **told).journal
    journal.streams.keep(whose, streams, read)


@shared_task(name=names.KEPT, bind=True)
def kept(self: Any, tenant: str = "") -> list[dict[str, Any]]:
    """The streams of a tenant that are trimmed."""
    return runtime_of(self.app, self.request.hostname).journal.streams.kept(tenant_of(tenant))


@shared_task(name=names.STATE, bind=True)
def state(self: Any, stream: str, reducer: str, tenant: str = "") -> dict[str, Any]:
    """The state that a reducer makes of a stream."""
    runtime = runtime_of(self.app, self.request.hostname)
    how = reducing(runtime.agents.registry.folds.reducer(name_of(reducer, "reducer")))
    where = stream_of(stream)
    found = runtime.journal.streams.state(tenant_of(tenant), where, how)
    about = {"stream": where, "reducer": how.name, "version": how.version}
    return {**about, "state": found.state, "seq": found.seq}


@shared_task(name=names.TOPICS, bind=True)
def topics(self: Any, tenant: str = "", limit: int = 100) -> list[dict[str, Any]]:
    """Topics of a tenant by their names, and how many messages each has."""
    most = whole_of(limit, "limit", least=1, most=LISTED_MAX)
    streams = runtime_of(self.app, self.request.hostname).journal.streams
    return streams.named(tenant_of(tenant), TOPIC, most)


@shared_task(name=names.SWARMS, bind=True)
def swarms(self: Any, tenant: str = "", limit: int = 100) -> list[dict[str, Any]]:
    """Swarms of a tenant by their names, and how many entries the stream of each has."""
    most = whole_of(limit, "limit", least=1, most=LISTED_MAX)
    streams = runtime_of(self.app, self.request.hostname).journal.streams
    return streams.named(tenant_of(tenant), SWARMS, most)


def _act(task: Any, verb: str, name: str, tenant: str) -> tuple[SubscriptionStore, SubscriptionKey]:
    key = SubscriptionKey(tenant_of(tenant), name_of(name))
    runtime = recorded(task, f"subscription.{verb}", key.name, key.tenant)
    return runtime.journal.streams.subscriptions, key


def _target(app: Any, run: dict[str, Any]) -> ScheduledRun:
    target = ScheduledRun.read(run)
    if target.task in _OWN:
        raise InvalidPayloadError(f"subscription: {target.task} is started by the journal alone.")
    args, kwargs = opened_args(app, CANVAS, target.args, target.kwargs)
    if args:
        raise InvalidPayloadError("run: its input is the event; give the signature none.")
    return target.model_copy(update={"kwargs": kwargs})
