"""A fork of a flow begins: what it takes over is read from the journal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from agents.flows.fork import Fork, Origin, taken_over
from agents.flows.history import Line
from app.execution.context import Step
from app.execution.trust import goes_on_with
from app.journal.stores.flows import FlowStore, OpenFlow
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.flows.flow import Flow, Forked
from celery_agents.errors import InvalidPayloadError


class Begins(NamedTuple):
    """A fork that begins, with its code."""

    begins: Fork
    code: Callable[..., Any]
    version: int


def taken_of(
    store: FlowStore, fork: Forked, tenant: str | None = None
) -> tuple[OpenFlow, JsonValue, Origin]:
    """The run that is forked, its input, and what is taken over.

    Raises:
        InvalidPayloadError: there is no such flow, or no such command in its history.
    """
    found = store.one(fork.of)
    if found is None or tenant not in (None, found.tenant):
        raise InvalidPayloadError(f"There is no flow {fork.of} that could be forked.")
    args = found.payload["args"]
    told = args[0] if args else None
    history = [Line.of(line.kind, line.data) for line in store.history(found.tenant, found.id)]
    first = history[0].value if history else {}
    origin = taken_over((first or {}).get("of", found.id), told, history, fork.after)
    return found, told, origin


def begun_fork(step: Step, request: Flow) -> Begins:
    """A fork that has no history of its own yet.

    Raises:
        InvalidPayloadError: as above.
        UnknownFlowError: this worker has no such flow.
    """
    store, claim = step.runtime.journal.flows, step.claim
    assert request.fork is not None, "it is a fork"
    found, told, origin = taken_of(store, request.fork, claim.tenant)
    goes_on_with(step, found.id)
    first = (origin.before or origin.told)[0].value
    wanted = request.version or first["version"]
    version, code = step.runtime.agents.registry.flows.get(request.flow, wanted)
    first["version"] = version
    answers = store.answers(found.id, [*origin.commands])
    return Begins(Fork(origin, code, told, answers), code, version)
