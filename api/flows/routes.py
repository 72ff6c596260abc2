"""``/tasks/{id}/…`` of flows: what they are told, what they were told, and another run of them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from api.access import Parts
from api.bodies import FlowBody
from api.headers import IdempotencyKey
from api.principals import CreatesRuns, ReadsRuns, SignalsRuns
from api.problems import JsonResponse, ProblemError
from api.runs import RunId, find, queued
from api.sending import id_of_key
from api.services import Services
from api.tasks import check_run, order_of, problems
from api.views import AcceptedView, ListView
from app.access.permissions import Principal
from celery_agents import names
from celery_agents.contracts.base import (
    PLACES_MAX,
    Contract,
    Id,
    JsonValue,
    Name,
    Version,
    Whole,
)
from celery_agents.contracts.flows.flow import Forked
from celery_agents.errors import InvalidPayloadError
from celery_agents.wire.messages import PRIORITY

router = APIRouter(tags=["flows"])
Since = Annotated[int, Query(ge=0, le=PLACES_MAX)]
Limit = Annotated[int, Query(ge=1, le=1000)]
#: Why a signal was not taken, for people.
_REFUSED = {
    "too_late": "The flow has ended: nobody takes that signal any more.",
    "unknown": "No worker has begun with the flow: say it again in a moment.",
}


async def flow_of(services: Services, who: Principal, run_id: str) -> dict[str, Any]:
    """The run of a flow.

    Raises:
        ProblemError: there is none (404), or it is of another verb (409).
    """
    found = await find(services, who, run_id)
    if found.get("task") != names.FLOW:
        raise ProblemError(409, "no_flow", f"The run {run_id} is no flow.")
    return found


class SignalBody(Contract):
    """Something that a flow waits for, or will."""

    name: Name
    value: JsonValue = None
    #: Of one id a signal is taken once, however often it is sent.
    id: Id | None = None


@router.post("/tasks/{run_id}/signals", responses=problems(400, 404, 409))
async def signal(run_id: RunId, body: SignalBody, services: Parts, who: SignalsRuns) -> Response:
    """Tell a flow something that its code waits for, or will; a worker writes it down.

    ``taken``: it stands in the journal, and is told in its turn. ``known``: one of that ``id`` was
    taken before.
    """
    await flow_of(services, who, run_id)
    await check_run(services, who, run_id)
    work = services.client.start.handle(run_id).signal
    reply = await services.ask(who, work, body.name, body.value, id=body.id)
    if reply in _REFUSED:
        raise ProblemError(409, "not_begun" if reply == "unknown" else reply, _REFUSED[reply])
    return JsonResponse({"id": run_id, "signal": reply})


@router.get("/tasks/{run_id}/signals", response_model=ListView, responses=problems(404, 409))
async def signals(
    run_id: RunId, services: Parts, who: ReadsRuns, since: Since = 0, limit: Limit = 100
) -> Response:
    """Signals that a flow was sent, from a place on; ``told`` says whether its code was, too."""
    await flow_of(services, who, run_id)
    return JsonResponse({"items": await services.read(services.flows.sent, run_id, since, limit)})


@router.get("/tasks/{run_id}/history", response_model=ListView, responses=problems(404, 409))
async def history(
    run_id: RunId, services: Parts, who: ReadsRuns, since: Since = 0, limit: Limit = 100
) -> Response:
    """Lines of what a flow was told and its code asked for upon that, from a number on.

    The last line of one that has ended may be ``unread``: signals that its code did not take.
    """
    await flow_of(services, who, run_id)
    return JsonResponse({"items": await services.read(services.flows.page, run_id, since, limit)})


class ForkRunBody(Contract):
    """Another run of a flow, with the history of the first one up to a command."""

    #: The key of a command. None: up to the first failure, with all that succeeded.
    after: Name | None = None
    version: Version | None = None
    priority: Annotated[int, Field(ge=0, le=9), Whole] = PRIORITY


@router.post(
    "/tasks/{run_id}/fork",
    status_code=202,
    response_model=AcceptedView,
    responses=problems(400, 404, 409),
)
async def fork(
    run_id: RunId,
    body: ForkRunBody,
    services: Parts,
    who: CreatesRuns,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Begin another run of a flow where this one failed, or behind the command of a key.

    What was asked before that point is not asked again.
    """
    found = await flow_of(services, who, run_id)
    origin = Forked(of=run_id, after=body.after)
    try:
        known = await services.ask(who, services.client.start.origin, run_id, body.after)
    except InvalidPayloadError as error:
        raise ProblemError(409, "conflict", error.message) from None
    about: Any = {"version": body.version, "priority": body.priority, "tenant": found["tenant"]}
    asked = FlowBody(task="start", flow=known["flow"], fork=origin, **about)
    key = None
    if idempotency_key is not None:
        key = id_of_key(found["tenant"], idempotency_key, f"POST /tasks/{run_id}/fork")
    order = order_of(services, who, asked, key)
    await services.rates.take(who, "runs", who.runs_per_s)
    replayed = await services.sending.send(order)
    headers = {"Location": f"/tasks/{order.message.id}"}
    if replayed:
        headers["Idempotency-Replayed"] = "true"
    return JsonResponse(queued(order.message), 202, headers=headers)
