"""``/v1/responses``: asked for, looked at, read on from any event, cancelled."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response, StreamingResponse

from api.access import Parts
from api.events import SSE_HEADERS, held
from api.openai.asking import Asks, answer, ask, pieces
from api.openai.bodies import ResponseBody
from api.openai.previous import Item, asked, items_of, messages_of, run_of
from api.openai.speaking import Event, Speaking, ToldRun, after, line, status_of
from api.openai.telling import Retelling, text_of
from api.openai.views import InputItemsView, ResponseView, openai_errors
from api.principals import CancelsRuns, ReadsRuns
from api.problems import JsonResponse, ProblemError, not_found
from api.runs import find, outcome_of_tree
from api.services import Services
from app.access.permissions import Principal
from celery_agents import names
from celery_agents.errors import AgentsError, UnreadableValueError
from celery_agents.noted import note, noting

log = logging.getLogger(__name__)
router = APIRouter(tags=["openai"])
ResponseId = Annotated[str, Path(max_length=200, description="The id of a response: resp_…")]
#: Seconds for which a cancellation is waited for.
_CANCEL_S = 5.0
_NUMBER_MAX = 2**53


class ItemsQuery(BaseModel):
    """A page of a list."""

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    order: Literal["asc", "desc"] = "desc"
    #: The id of an item: those behind it.
    after: Annotated[str, Field(max_length=200)] | None = None
    #: More of an item than there is; nothing is.
    include: list[str] | None = None

    def page(self, items: list[Item]) -> dict[str, Any]:
        """The items of this page; an id that is none of them has none behind it."""
        found = items if self.order == "asc" else items[::-1]
        if self.after is not None:
            places = [n for n, item in enumerate(found) if item["id"] == self.after]
            found = found[places[0] + 1 :] if places else []
        page = found[: self.limit]
        first, last = (page[0]["id"], page[-1]["id"]) if page else (None, None)
        about = {"first_id": first, "last_id": last, "has_more": len(found) > len(page)}
        return {"object": "list", "data": page, **about}


@router.post(
    "/v1/responses",
    response_model=ResponseView,
    responses=openai_errors(404, 409, 413, 500, 504),
)
async def create(body: ResponseBody, asking: Asks) -> Response:
    """Ask an agent, or a panel. ``background``: it is accepted, and will be done.

    With ``stream`` its events come while it works. That somebody goes away changes nothing of it.
    """
    run = await ask(asking, body)
    told = ToldRun(run.id, run.model, run.created, bool(body.background))
    if body.stream:
        telling = Retelling(run.id, run.task, whole=run.whole)
        return _streamed(asking.request, (asking.services, asking.who), told, telling, run.headers)
    if body.background and run.replayed:
        tree = await find(asking.services, asking.who, run.id)
        return JsonResponse(_shown(told, tree), headers=run.headers)
    if body.background:
        return JsonResponse(told.response("queued"), headers=run.headers)
    outcome = await answer(asking, run)
    text = text_of(run.task, outcome)
    return JsonResponse(told.ended(outcome, text), headers=run.headers)


@router.get(
    "/v1/responses/{response_id}", response_model=ResponseView, responses=openai_errors(404)
)
async def retrieve(
    *,
    response_id: ResponseId,
    services: Parts,
    who: ReadsRuns,
    request: Request,
    stream: Annotated[bool, Query()] = False,
    starting_after: Annotated[int, Query(ge=-1, le=_NUMBER_MAX)] = -1,
) -> Response:
    """A response. ``stream``: its events, also of one that has ended, behind ``starting_after``."""
    run_id = _run_of(response_id)
    tree = await find(services, who, run_id)
    task, options = await _asked(services, tree)
    told = ToldRun(run_id, services.models.named(task, options), _created(tree))
    if not stream:
        return JsonResponse(_shown(told, tree), headers={"x-request-id": run_id})
    whole = task != names.ASK or options.get("answer_schema") is not None
    telling = Retelling(run_id, task, whole=whole)
    return _streamed(request, (services, who), told, telling, last=starting_after)


@router.get(
    "/v1/responses/{response_id}/input_items",
    response_model=InputItemsView,
    responses=openai_errors(404),
)
async def input_items(
    response_id: ResponseId,
    services: Parts,
    who: ReadsRuns,
    place: Annotated[ItemsQuery, Query()],
) -> Response:
    """The items that a response was asked, with those before them; instructions are none."""
    run_id = _run_of(response_id)
    row = await asked(services, await find(services, who, run_id))
    items = [] if row is None else items_of(run_id, messages_of(row[1]))
    return JsonResponse(place.page(items), headers={"x-request-id": run_id})


@router.post(
    "/v1/responses/{response_id}/cancel",
    response_model=ResponseView,
    responses=openai_errors(404),
)
async def cancel(response_id: ResponseId, services: Parts, who: CancelsRuns) -> Response:
    """Cancel a run with all its steps. One that has ended stays as it is."""
    run_id = _run_of(response_id)
    tree = await find(services, who, run_id)
    await services.ask(who, services.client.runs.cancel, run_id, tenant=tree["tenant"])
    if tree.get("finished_at") is None:
        await services.endings.wait(run_id, _CANCEL_S)
        tree = await find(services, who, run_id)
    task, options = await _asked(services, tree)
    told = ToldRun(run_id, services.models.named(task, options), _created(tree))
    return JsonResponse(_shown(told, tree))


def _run_of(response_id: str) -> str:
    if (run_id := run_of(response_id)) is None:
        raise not_found("such response")
    return run_id


async def _asked(services: Services, tree: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The task and the options of a run; no options where they cannot be read."""
    lost = "What a run was asked cannot be decrypted: its model is not known"
    with noting(log, "api_unreadable", lost, UnreadableValueError):
        if (row := await asked(services, tree)) is not None:
            return row[0], row[1].get("kwargs", {})
    return str(tree.get("task") or ""), {}


def _created(tree: dict[str, Any]) -> int:
    return int(tree.get("created_at") or time.time())


def _shown(told: ToldRun, tree: dict[str, Any]) -> dict[str, Any]:
    """The response of a run of the journal."""
    outcome = outcome_of_tree(tree)
    if outcome is None:
        return told.response(status_of(tree["state"]))
    return told.ended(outcome, text_of(tree.get("task") or "", outcome))


def _streamed(
    request: Request,
    of: tuple[Services, Principal],
    told: ToldRun,
    telling: Retelling,
    headers: dict[str, str] | None = None,
    *,
    last: int = -1,
) -> Response:
    stream = held(request, *of, _lines(*of, told, telling, last), _refused, resumable=False)
    about = {**SSE_HEADERS, **(headers or {"x-request-id": told.run_id})}
    return StreamingResponse(stream, media_type="text/event-stream", headers=about)


async def _lines(
    services: Services, who: Principal, told: ToldRun, telling: Retelling, last: int
) -> AsyncGenerator[str, None]:
    speaking = Speaking(told)
    yield ": begins\n\n"
    for event in after(speaking.begin(), last):
        yield line(event)
    try:
        async for piece in pieces(services, who, told.run_id, telling):
            if piece is None:
                yield ": ping\n\n"
                continue
            for event in after(speaking.say(piece), last):
                yield line(event)
    except AgentsError as error:
        note(log, "api_stream", "A stream broke off: its run goes on", error=error)
        yield line(_broken(error.kind, error.message))


def _refused(error: ProblemError) -> str:
    return line(_broken(error.kind, error.detail))


def _broken(kind: str, message: str) -> Event:
    return {"type": "error", "code": kind, "message": message, "param": None}
