"""``/schedules``: runs that start by the calendar, at intervals, or at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path
from starlette.responses import Response

from api.access import Parts, forbidden
from api.bodies import TaskBody
from api.operations import Limit, OfTenant
from api.principals import ReadsSchedules, WritesSchedules
from api.problems import JsonResponse, ProblemError, not_found
from api.services import Services
from api.tasks import check_asked, order_of, problems, tenant_for
from api.views import AcceptedView, ListView
from app.access.permissions import Principal
from app.journal.steps.schedules import ScheduleKey
from celery_agents.contracts.base import PartName, Tenant
from celery_agents.contracts.flows.schedules import ScheduledRun, ScheduleInfo, ScheduleRule
from celery_agents.contracts.verbs import REQUESTS
from celery_agents.errors import InvalidPayloadError

router = APIRouter(tags=["schedules"])
ScheduleName = Annotated[PartName, Path(description="The name of a schedule.")]


@router.get("/schedules", response_model=ListView, responses=problems())
async def schedules(
    services: Parts, who: ReadsSchedules, tenant: OfTenant = None, limit: Limit = 100
) -> Response:
    """Schedules in the order of their names, without what their runs are asked."""
    whose = tenant_for(who, tenant)
    found = await services.read(services.schedules.list, whose, None, limit)
    return JsonResponse({"items": [*map(_shown, found)]})


@router.get("/schedules/{name}", response_model=ScheduleInfo, responses=problems(404))
async def schedule(
    name: ScheduleName, services: Parts, who: ReadsSchedules, tenant: OfTenant = None
) -> Response:
    """A schedule with its next slot and its last runs."""
    found = await services.read(services.schedules.list, tenant_for(who, tenant), name, 1)
    if not found:
        raise _none()
    return JsonResponse(_shown(found[0]))


class ScheduleBody(ScheduleRule):
    """A schedule that is to be made, or changed: when, and what is started."""

    name: PartName
    #: As the body of ``POST /tasks``.
    run: TaskBody
    #: Whose it is, and whose its runs are: for those who may see all tenants.
    tenant: Tenant | None = None


@router.post(
    "/schedules", status_code=201, response_model=ScheduleInfo, responses=problems(400, 413)
)
async def put(body: ScheduleBody, services: Parts, who: WritesSchedules) -> Response:
    """Make a schedule, or change the one of that name; a worker does it.

    While its times stay the same it goes on with its next slot, and a pause stays.
    """
    tenant = tenant_for(who, body.tenant)
    if body.run.tenant not in {None, tenant}:
        raise InvalidPayloadError("run.tenant: its runs are the schedule's tenant's.")
    run = body.run.model_copy(update={"tenant": tenant})
    message = order_of(services, who, run, None).message
    rule: Any = {field: getattr(body, field) for field in ScheduleRule.model_fields}
    found = await services.ask(
        who,
        services.client.schedules.put,
        body.name,
        message.signature(services.client.celery),
        **rule,
        tenant=tenant,
    )
    return JsonResponse(found.model_dump(mode="json"), 201)


@router.post("/schedules/{name}/pause", response_model=AcceptedView, responses=problems(404, 409))
async def pause(
    name: ScheduleName, services: Parts, who: WritesSchedules, tenant: OfTenant = None
) -> Response:
    """Let a schedule start nothing; runs of it that are under way go on."""
    await _told(services, who, services.client.schedules.pause, (name, tenant))
    return JsonResponse({"id": name})


@router.post("/schedules/{name}/resume", response_model=AcceptedView, responses=problems(404, 409))
async def resume(
    name: ScheduleName, services: Parts, who: WritesSchedules, tenant: OfTenant = None
) -> Response:
    """Let a schedule go on with its next slot; those of the pause are not made up for."""
    await _told(services, who, services.client.schedules.resume, (name, tenant))
    return JsonResponse({"id": name})


@router.post(
    "/schedules/{name}/trigger",
    status_code=202,
    response_model=AcceptedView,
    responses=problems(404, 409),
)
async def trigger(
    name: ScheduleName, services: Parts, who: WritesSchedules, tenant: OfTenant = None
) -> Response:
    """Start a run of a schedule now, whatever is under way; its slots stay as they are."""
    work = services.client.schedules.trigger
    run = await _told(services, who, work, (name, tenant), starts=True)
    return JsonResponse({"id": run.id}, 202, headers={"Location": f"/tasks/{run.id}"})


@router.delete("/schedules/{name}", status_code=204, responses=problems(404))
async def delete(
    name: ScheduleName, services: Parts, who: WritesSchedules, tenant: OfTenant = None
) -> Response:
    """Delete a schedule; its runs stay."""
    if not await _told(services, who, services.client.schedules.delete, (name, tenant)):
        raise _none()
    return Response(status_code=204)


async def _told(
    services: Services,
    who: Principal,
    work: Callable[..., Any],
    of: tuple[str, str | None],
    *,
    starts: bool = False,
) -> Any:
    """Have a worker do something with a schedule, of a name and a tenant.

    Raises:
        ProblemError: there is none (404), or it cannot be done (409).
    """
    name, tenant = of[0], tenant_for(who, of[1])
    if who.agents is not None:
        _check_asked(who, await services.read(services.schedules.target, ScheduleKey(tenant, name)))
    if starts:
        await services.rates.take(who, "runs", who.runs_per_s)
    try:
        return await services.ask(who, work, name, tenant=tenant)
    except InvalidPayloadError as error:
        if not await services.read(services.schedules.list, tenant, name, 1):
            raise _none() from None
        raise ProblemError(409, "conflict", error.message) from None


def _check_asked(who: Principal, run: ScheduledRun | None) -> None:
    """Refuse a schedule that asks agents which are not for whoever has to do with it.

    Raises:
        ProblemError: it does, or may ask anybody, as flows do (403); there is none (404).
    """
    if run is None:
        raise _none()
    if run.task not in REQUESTS:
        raise forbidden("This key may not ask the agents that are asked by that schedule.")
    check_asked(who, REQUESTS[run.task].from_message(run.args, run.kwargs))


def _shown(told: dict[str, Any]) -> dict[str, Any]:
    return ScheduleInfo.model_validate(told).model_dump(mode="json")


def _none() -> ProblemError:
    return not_found("such schedule")
