"""Short tasks about replicated values, for clients that do not see the journal."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from agents.replicated.values import Replicated
from app.execution.runtime import Runtime, runtime_of
from app.journal.replicated.store import ReplicatedStore
from celery_agents import names
from celery_agents.contracts.base import id_of, tenant_of, whole_of
from celery_agents.contracts.flows.replicated import (
    CHANGE_ID_MAX,
    DataType,
    ReplicatedState,
    changes_of,
    path_of,
    type_of,
)
from celery_agents.errors import InvalidPayloadError

#: Values of one answer.
LISTED_MAX = 1_000


@shared_task(name=names.REPLICATED, bind=True, acks_late=True)
def replicated(
    self: Any, data_type: str, name: str, changes: list[Any] | None = None, **about: Any
) -> dict[str, Any]:
    """A replicated value, changed first where that is said; it is done once."""
    kind, path = type_of(data_type), path_of(about.get("path", []), type_of(data_type))
    tenant, runtime = tenant_of(about.get("tenant", "")), _runtime(self)
    store = ReplicatedStore(runtime.journal.engine)
    if changes is None:
        return _shown((kind, name), store.read(tenant, kind, name), path)
    change_id = _change_id(about.get("change_id") or self.request.id)
    found = store.change(tenant, (kind, name), changes_of(changes, kind), change_id)
    runtime.intake.forget([self.request.id])
    return _shown((kind, name), found, path)


def _runtime(task: Any) -> Runtime:
    return runtime_of(task.app, task.request.hostname)


def _shown(where: tuple[DataType, str], found: Replicated, path: list[str]) -> dict[str, Any]:
    part, told = found.at(path), {"type": where[0], "name": where[1]}
    about = {"value": part.value, "version": found.context.counts(), "conflicts": part.conflicts}
    return ReplicatedState.model_validate(told | about).model_dump(mode="json")


def _change_id(told: Any) -> str:
    found = id_of(told)
    if len(found) > CHANGE_ID_MAX:
        raise InvalidPayloadError(f"id: of at most {CHANGE_ID_MAX} characters.")
    return found


@shared_task(name=names.REPLICATED_VALUES, bind=True)
def replicated_values(
    self: Any, data_type: str | None = None, tenant: str = "", limit: int = 100
) -> list[dict[str, Any]]:
    """Replicated values of a tenant by their types and names."""
    prefix = "" if data_type is None else f"{type_of(data_type)}/"
    most = whole_of(limit, "limit", least=1, most=LISTED_MAX)
    store = ReplicatedStore(_runtime(self).journal.engine)
    return store.listed(tenant_of(tenant), prefix, most)
