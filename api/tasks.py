"""``/tasks``: runs are asked for, looked at, cancelled, answered, and tried again."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from redis.exceptions import RedisError
from starlette.responses import Response

from agents.catalog.panels import agents_of
from agents.net.outside import PrivateHosts
from api.access import Parts, forbidden, services_of
from api.bodies import TASKS, ChoiceBody, TaskBody, options_of
from api.headers import PARAMETERS, AskHeaders
from api.principals import ApprovesRuns, AsksForRun, CancelsRuns, ReadsRuns, WritesLetters
from api.problems import JsonResponse, Problem, ProblemError, not_found
from api.runs import RunId, find, of_meta, of_tree, queued
from api.sending import Posting, id_of_key
from api.services import Services
from api.views import AcceptedView, ListView, RunView
from app.access.permissions import Principal
from app.concurrency.cancelling import let_go
from celery_agents import names
from celery_agents.client.waiting import Meta
from celery_agents.contracts.ask import StepOptions
from celery_agents.contracts.base import Name, Tenant, mistakes
from celery_agents.contracts.compensation import Compensation
from celery_agents.contracts.flows.flow import Flow
from celery_agents.contracts.flows.workflow import WORKFLOW, Workflow
from celery_agents.contracts.mapping import Map
from celery_agents.contracts.outcome import State
from celery_agents.contracts.policies import Webhook
from celery_agents.contracts.verbs import REQUESTS
from celery_agents.contracts.watching import PAGE_MAX, Order, RunFilter, RunPage
from celery_agents.errors import AgentsError, InvalidPayloadError
from celery_agents.noted import noting
from celery_agents.traces import caller

log = logging.getLogger(__name__)
router = APIRouter(tags=["tasks"])
_PROBLEM: dict[str, Any] = {
    "description": "An error",
    "content": {"application/problem+json": {"schema": Problem.model_json_schema()}},
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Responses of a route beside its own, for its page."""
    return dict.fromkeys((401, 403, 422, 429, 503, *statuses), _PROBLEM)


_WAIT = re.compile(r"(?:^|[,;\s])wait=(\d{1,6})(?:$|[,;\s])")


def waits(prefer: str | None, most_s: float) -> float:
    """Seconds that a ``Prefer`` header (RFC 7240) asks to wait, at the most so many."""
    match = _WAIT.search(prefer or "")
    return 0.0 if match is None else min(float(match[1]), most_s)


def tenant_for(who: Principal, asked: str | None) -> str:
    """The tenant of a run that somebody asks for.

    Raises:
        ProblemError: it is not theirs.
    """
    if who.tenant is None:
        return asked or ""
    if asked is not None and asked != who.tenant:
        raise forbidden("A run is its key's own tenant's.")
    return who.tenant


def check_webhook(services: Services, webhook: Webhook) -> None:
    """Look now at what a worker would refuse when the run has ended.

    Raises:
        InvalidPayloadError: the service does not sign with that secret, or goes to no such address.
    """
    try:
        services.settings.webhook_secret(webhook.secret)
        PrivateHosts.of(services.settings.private_hosts).check_url(webhook.url)
    except AgentsError as error:
        raise InvalidPayloadError(f"webhook: {error.message}") from None


def told_also(body: Any, webhook: str | None) -> Any:
    """A body with the webhook of a header.

    Raises:
        InvalidPayloadError: it is no URL, or the body has one, too.
    """
    if webhook is None:
        return body
    if body.webhook is not None:
        raise InvalidPayloadError("webhook: it stands in the header and in the body.")
    try:
        return body.model_copy(update={"webhook": Webhook(url=webhook)})
    except ValidationError as error:
        raise InvalidPayloadError(f"Agents-Webhook: {mistakes(error)[0][1]}") from None


def check_asked(who: Principal, request: StepOptions) -> None:
    """Refuse a run that asks agents, or has tasks run, which are not for whoever asks for it.

    Raises:
        ProblemError: it does, or may ask anybody, as flows do (403).
        InvalidPayloadError: it is a workflow, and none.
    """
    if isinstance(request, Flow):
        if who.agents is not None:
            raise forbidden("A flow may ask any agent, and this key some alone.")
        if request.flow == WORKFLOW and request.fork is None:
            _check_workflow(_read_workflow(request.input))
    for agent in agents_of(request) if who.agents is not None else ():
        if not who.may_ask(agent):
            raise forbidden(f"This key may not ask {agent!r}.")


async def check_run(services: Services, who: Principal, step_id: str) -> None:
    """Refuse to let a run go on that asks agents which are not for whoever wants it to.

    Raises:
        ProblemError: it does, or may ask anybody, as what nobody can read may (403).
    """
    if who.agents is None:
        return
    told = (await services.read(services.desk.asked, [step_id])).get(step_id)
    if told is None or isinstance(told, AgentsError) or told[0] not in REQUESTS:
        raise forbidden("This key may ask some agents alone, and that may be for others.")
    args, kwargs = told[1].get("args", ()), told[1].get("kwargs", {})
    check_asked(who, REQUESTS[told[0]].from_message(args, kwargs))


async def check_resumed(services: Services, who: Principal, body: StepOptions) -> None:
    """Refuse a map that takes over from an earlier one who undoes its steps, and is for others.

    Raises:
        ProblemError: it does (403).
    """
    if who.agents is None or not isinstance(body, Map) or body.compensation is not None:
        return
    before = body.resumes
    while before is not None:
        told = (await services.read(services.desk.asked, [before])).get(before)
        if told is None or isinstance(told, AgentsError) or told[0] != names.MAP:
            return  # it is no map that can be resumed, and the worker says why
        about = Map.from_message(told[1].get("args", ()), told[1].get("kwargs", {}), known=True)
        if isinstance(about.compensation, Compensation) and not who.may_ask(
            about.compensation.agent
        ):
            raise forbidden("Who undoes the earlier map is not for this key: give a compensation.")
        before = about.resumes


def _read_workflow(told: Any) -> Workflow:
    try:
        return Workflow.model_validate(told)
    except ValidationError as error:
        place, why = mistakes(error, Workflow)[0]
        raise InvalidPayloadError(f"input: {place}: {why}") from None


def _check_workflow(workflow: Workflow) -> None:
    """Refuse steps that are tasks of other apps: whoever has a key is no producer of theirs."""
    for step in workflow.steps:
        if step.task not in REQUESTS or step.queue is not None:
            raise forbidden(f"The step {step.key!r} is another app's task: for the client alone.")
        if step.task == names.FLOW and step.kwargs.get("flow") == WORKFLOW:
            raise forbidden(f"The step {step.key!r} is a workflow: put its steps here.")


def order_of(
    services: Services, who: Principal, body: Any, run_id: str | None, trace: str | None = None
) -> Posting:
    """The run that a body asks for, under an id of its own or one that others may have, too.

    ``trace`` is the span of whoever asks, as their header has it.

    Raises:
        ProblemError: an agent, or the tenant, is not for whoever asks.
        InvalidPayloadError: it asks for too much.
    """
    if body.webhook is not None:
        check_webhook(services, body.webhook)
    check_asked(who, body)
    tenant = tenant_for(who, body.tenant)
    body.within(services.settings.ballots_max)
    draft = services.client.draft(
        TASKS[body.task],
        options_of(body),
        tenant=tenant,
        priority=body.priority,
        trace=caller(trace),
    )
    return Posting(draft.message([body.input], run_id), body, run_id is not None)


@router.post(
    "/tasks",
    status_code=202,
    response_model=AcceptedView,
    responses={200: {"model": RunView}, **problems(400, 413)},
    openapi_extra={"parameters": PARAMETERS},
)
async def create(*, body: TaskBody, request: Request, who: AsksForRun) -> Response:
    """Ask for a run. 202: it is accepted, and will be done.

    With ``Idempotency-Key`` the same key is the same run. With ``Prefer: wait=20`` the answer
    comes with the response (200) if it is there within so many seconds. With ``Agents-Webhook``
    that URL is told of its end.
    """
    services = await services_of(request)
    said, tenant = AskHeaders.of(request.headers), tenant_for(who, body.tenant)
    run_id = None if said.idempotency_key is None else id_of_key(tenant, said.idempotency_key)
    asked = told_also(body, said.agents_webhook)
    order = order_of(services, who, asked, run_id, said.traceparent)
    await check_resumed(services, who, asked)
    await services.rates.check(request.state.run_counted, "runs", who.runs_per_s)
    run_id = order.message.id
    headers = {"Location": f"/tasks/{run_id}"}
    seconds = waits(said.prefer, services.settings.api_wait_max_s)
    meta: Meta | None = None
    if seconds:
        replayed, meta = await _sent_and_ended(services, order, seconds)
        headers["Preference-Applied"] = f"wait={seconds:.0f}"
    else:
        replayed = await services.sending.send(order)
    if replayed:
        headers["Idempotency-Replayed"] = "true"
    if replayed and not seconds:
        with noting(log, "api_look", "A run is answered as under way", RedisError, OSError):
            meta = await services.endings.look(run_id)
    if meta is not None:
        return JsonResponse(of_meta(order.message, meta), headers=headers)
    return JsonResponse(queued(order.message), 202, headers=headers)


async def _sent_and_ended(
    services: Services, order: Posting, seconds: float
) -> tuple[bool, Meta | None]:
    """Send a run, and wait for its end; its end is listened for while it is sent."""
    ending = asyncio.ensure_future(services.endings.wait(order.message.id, seconds))
    try:
        return await services.sending.send(order), await ending
    finally:
        await let_go(ending)


class RunsQuery(BaseModel):
    """The conditions of :class:`RunFilter`, as an address has them."""

    model_config = ConfigDict(extra="forbid")

    state: State | None = None
    agent: Name | None = None
    #: For those who may see all tenants.
    tenant: Tenant | None = None
    since_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    failed: bool = False
    waiting: bool = False
    stuck: bool = False
    order: Order = "time"
    #: ``more`` of the page before.
    after: Annotated[str, Field(max_length=400)] | None = None
    limit: Annotated[int, Field(ge=1, le=PAGE_MAX)] = 50


async def page_of(services: Services, who: Principal, query: RunsQuery) -> RunPage:
    """The runs that are looked for, of those that a principal may see.

    Raises:
        InvalidPayloadError: two conditions exclude each other, or the place is none.
        ProblemError: the tenant is another one's.
    """
    tenant = query.tenant if who.tenant is None else tenant_for(who, query.tenant)
    wanted = RunFilter.of(query.model_dump() | {"tenant": tenant})
    return await services.read(services.desk.runs, wanted)


@router.get("/tasks", response_model=RunPage, responses=problems())
async def listed(services: Parts, who: ReadsRuns, query: Annotated[RunsQuery, Query()]) -> Response:
    """Runs that a worker has begun; never what was asked or answered.

    ``since_s``: begun at most so many seconds ago. ``failed``, ``waiting`` (for a person) and
    ``stuck`` (something should have gone on for a minute) are conditions; ``order=cost`` lists
    the dearest of those that ended. ``more`` is the next page's ``after``.
    """
    return JsonResponse((await page_of(services, who, query)).model_dump(mode="json"))


@router.get("/tasks/{run_id}", response_model=RunView, responses=problems(404))
async def show(
    run_id: RunId,
    services: Parts,
    who: ReadsRuns,
    include: Annotated[str | None, Query(pattern="^values$")] = None,
) -> Response:
    """A run with its steps, and its answer once it has ended.

    ``include=values``: what each of its steps answered, too.
    """
    return JsonResponse(of_tree(await find(services, who, run_id), values=include is not None))


@router.post(
    "/tasks/{run_id}/cancel",
    status_code=202,
    response_model=AcceptedView,
    responses=problems(404),
)
async def cancel(run_id: RunId, services: Parts, who: CancelsRuns) -> Response:
    """Ask for a run to be cancelled, with all its steps. One that has ended stays as it is."""
    found = await find(services, who, run_id)
    await services.ask(who, services.client.runs.cancel, run_id, tenant=found["tenant"])
    return JsonResponse({"id": run_id}, 202)


@router.delete(
    "/tasks/{run_id}", status_code=202, response_model=AcceptedView, responses=problems(404)
)
async def delete(run_id: RunId, services: Parts, who: CancelsRuns) -> Response:
    """Ask for a run to be cancelled; it is kept for as long as others."""
    return await cancel(run_id, services, who)


@router.post(
    "/tasks/{run_id}/approve", response_model=AcceptedView, responses=problems(400, 404, 409)
)
async def approve(run_id: RunId, body: ChoiceBody, services: Parts, who: ApprovesRuns) -> Response:
    """Answer something in a run that waits for a person; a worker writes it down."""
    await find(services, who, run_id)
    await check_run(services, who, run_id)
    try:
        await services.ask(who, services.client.runs.approve, run_id, body.choice, key=body.key)
    except InvalidPayloadError as error:
        raise ProblemError(409, "not_waiting", error.message) from None
    return JsonResponse({"id": run_id})


@router.post("/tasks/{step_id}/requeue", response_model=AcceptedView, responses=problems(404, 409))
async def requeue(step_id: RunId, services: Parts, who: WritesLetters) -> Response:
    """Let a dead run, or a dead step of one, be tried again with all its attempts."""
    owner = await services.read(services.desk.owner, step_id)
    if owner is None and who.tenant is not None:  # a run that nobody has begun is there, too
        await find(services, who, step_id)
    elif not who.sees(owner):
        raise not_found("such step")
    await check_run(services, who, step_id)
    try:
        await services.ask(who, services.client.dead_letters.requeue, step_id)
    except InvalidPayloadError as error:
        raise ProblemError(409, "not_dead", error.message) from None
    return JsonResponse({"id": step_id})


@router.get("/waiting", response_model=ListView, responses=problems())
async def waiting(
    services: Parts, who: ReadsRuns, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> Response:
    """All that waits for a person, oldest first."""
    return JsonResponse({"items": await services.read(services.desk.wishes, who.tenant, limit)})
