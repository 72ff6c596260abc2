"""Short tasks about schedules, for clients that do not see the journal."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from app.execution.publish import publish
from app.execution.runtime import runtime_of
from app.execution.submission import opened_args
from app.journal.schema.rows import derived_id
from app.journal.steps.schedules import ScheduleKey
from app.maintenance.acts import recorded
from app.maintenance.schedules import Dispatcher
from celery_agents import names
from celery_agents.contracts.base import tenant_of, whole_of
from celery_agents.contracts.flows.schedules import ScheduledRun, ScheduleRule, schedule_of
from celery_agents.errors import InvalidPayloadError
from celery_agents.sealing import CANVAS

#: Schedules of one answer: some hundred bytes each.
LISTED_MAX = 10_000
#: Steps that only the journal starts.
_OWN = (names.COMPENSATE, names.WEBHOOK)


@shared_task(name=names.SCHEDULES, bind=True)
def schedules(
    self: Any, name: str | None = None, tenant: str = "", limit: int = 1_000
) -> list[dict[str, Any]]:
    """Schedules of a tenant by their names, or the one of a name."""
    which = None if name is None else schedule_of(name)
    most = whole_of(limit, "limit", least=1, most=LISTED_MAX)
    store = runtime_of(self.app, self.request.hostname).journal.schedules
    return store.list(tenant_of(tenant), which, most)


@shared_task(name=names.PUT_SCHEDULE, bind=True, acks_late=True)
def put_schedule(
    self: Any, name: str, rule: dict[str, Any], run: dict[str, Any], tenant: str = ""
) -> dict[str, Any]:
    """Make a schedule or change it; how it stands then."""
    key, read = ScheduleKey(tenant_of(tenant), schedule_of(name)), ScheduleRule.read(rule)
    target = _target(self.app, run)
    runtime = runtime_of(self.app, self.request.hostname)
    Dispatcher(runtime).row(target, self.request.id, key.tenant)  # it can be made
    recorded(self, "schedule.put", key.name, key.tenant, rule=read.compact(), of=target.task)
    store = runtime.journal.schedules
    store.put(key, read, target)
    return store.list(*key, 1)[0]


@shared_task(name=names.PAUSE_SCHEDULE, bind=True, acks_late=True)
def pause_schedule(self: Any, name: str, tenant: str = "") -> None:
    """Let a schedule start nothing, until it is resumed."""
    key = ScheduleKey(tenant_of(tenant), schedule_of(name))
    recorded(self, "schedule.pause", key.name, key.tenant).journal.schedules.pause(key)


@shared_task(name=names.RESUME_SCHEDULE, bind=True, acks_late=True)
def resume_schedule(self: Any, name: str, tenant: str = "") -> None:
    """Let a schedule go on."""
    key = ScheduleKey(tenant_of(tenant), schedule_of(name))
    recorded(self, "schedule.resume", key.name, key.tenant).journal.schedules.resume(key)


@shared_task(name=names.TRIGGER, bind=True, acks_late=True)
def trigger(self: Any, name: str, tenant: str = "") -> str:
    """Start a run of a schedule now; its id. The message may come twice: it is one run."""
    key = ScheduleKey(tenant_of(tenant), schedule_of(name))
    runtime = recorded(self, "schedule.trigger", key.name, key.tenant)
    run_id = derived_id(self.request.id, f"trigger/{key.tenant}/{key.name}")
    wake = runtime.journal.schedules.trigger(key, run_id, Dispatcher(runtime).row)
    publish(self.app, [] if wake is None else [wake])
    return run_id


@shared_task(name=names.DELETE_SCHEDULE, bind=True, acks_late=True)
def delete_schedule(self: Any, name: str, tenant: str = "") -> bool:
    """Delete a schedule; its runs stay. Returns whether there was one."""
    key = ScheduleKey(tenant_of(tenant), schedule_of(name))
    return recorded(self, "schedule.delete", key.name, key.tenant).journal.schedules.delete(key)


def _target(app: Any, run: dict[str, Any]) -> ScheduledRun:
    target = ScheduledRun.read(run)
    if target.task in _OWN:
        raise InvalidPayloadError(f"schedule: {target.task} is started by the journal alone.")
    args, kwargs = opened_args(app, CANVAS, target.args, target.kwargs)
    return target.model_copy(update={"args": [*args], "kwargs": kwargs})
