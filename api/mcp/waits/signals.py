"""Signals that flows wait for, as what their tasks ask: by the history of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from agents.schema import problem
from api.mcp.callers import Caller, check_may
from api.mcp.waits.offered import OfferedSignal
from api.problems import ProblemError
from api.tasks import check_run
from app.access.permissions import Permission
from celery_agents import names
from celery_agents.contracts.flows.flow import Flow
from celery_agents.contracts.outcome import State
from celery_agents.values import mended

#: Signals that were sent and not told so far, at the most.
_SENT_MAX = 1_000


class AwaitedSignal(NamedTuple):
    """A signal that a flow waits for, and its form."""

    name: str
    offered: OfferedSignal

    @property
    def form(self) -> Any:
        """The request that asks for it."""
        return mended(self.offered.form(self.name))


async def signals_of(caller: Caller, tree: Mapping[str, Any]) -> dict[str, AwaitedSignal]:
    """The signals that a run waits for, of those that the configuration offers, by their keys.

    A key is of one wait alone, also where the flow has begun anew.
    """
    services = caller.services
    if tree.get("task") != names.FLOW or not services.models.signals:
        return {}
    if tree.get("state") != State.WAITING:  # else it has something to do, and may wait for less
        return {}
    told = (await services.read(services.desk.asked, [tree["id"]])).get(tree["id"])
    if not isinstance(told, tuple):  # it cannot be read
        return {}
    request = Flow.from_message(told[1]["args"], told[1]["kwargs"], known=True)
    if not (offered := services.models.signals.get(request.flow)):
        return {}
    # Of this begin alone: one that was erased may have been asked for anew under its id.
    begun = f"{tree['id']}@{tree.get('created_at')}"
    flow = services.followed.of(begun)
    flow.add(await services.read(services.flows.lines, tree["tenant"], tree["id"], flow.next))
    services.followed.keep(begun, flow)
    sent = await services.read(services.flows.sent, tree["id"], flow.heard + 1, _SENT_MAX)
    return {
        f"signal/{key}": AwaitedSignal(name, offered[name])
        for key, name in flow.open(sent).items()
        if name in offered
    }


async def give(
    caller: Caller, tree: Mapping[str, Any], key: str, one: AwaitedSignal, told: Any
) -> None:
    """Give a flow the signal of a form; one that was declined is none, and it waits on.

    Raises:
        ProblemError: it may not be given, or that answers no such form (422).
    """
    check_may(caller, Permission.RUNS_SIGNAL)
    services, run_id = caller.services, tree["id"]
    await check_run(services, caller.who, run_id)
    told = told if isinstance(told, Mapping) else {}
    if told.get("action") in ("decline", "cancel"):
        return
    content = told.get("content")
    schema = one.form["params"]["requestedSchema"]
    if told.get("action") != "accept" or problem(content, schema) is not None:
        raise ProblemError(422, "invalid_payload", "That answers no such form.")
    assert isinstance(content, Mapping)  # the schema says so
    work = services.client.start.handle(run_id).signal
    await services.ask(caller.who, work, one.name, content["value"], id=key)
