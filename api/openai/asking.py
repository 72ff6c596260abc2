"""AskingRequest for the run of a request, and waiting for its end."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Header, Request
from pydantic import TypeAdapter, ValidationError

from agents.catalog.panels import Panel
from api.access import Parts
from api.bodies import TASKS, TaskBody
from api.events import end_within, follow
from api.headers import IdempotencyKey
from api.openai.bodies import ChatBody, ResponseBody
from api.openai.conversing import ToldChat
from api.openai.errors import ended as failed
from api.openai.errors import unsupported, wrong
from api.openai.previous import going_on
from api.openai.retries import COUNT, Tried, forget, run_of
from api.openai.telling import Piece, Retelling
from api.principals import CreatesRuns
from api.problems import ProblemError
from api.sending import id_of_key
from api.services import Services
from api.tasks import order_of, tenant_for
from app.access.permissions import Principal
from celery_agents.contracts.base import mistakes
from celery_agents.contracts.outcome import Outcome

#: A request that is no stream is held for so long: as OpenAI's SDKs wait. Their next try attaches.
ANSWER_MAX_S = 600.0
_BODY: TypeAdapter[Any] = TypeAdapter(TaskBody)
#: Fields of ours as the request has them.
_PARAMS = {"answer_schema": "response_format", "session": "conversation"}


@dataclass(frozen=True, slots=True)
class AskingRequest:
    """A request that may ask: who sends it, and what is known of its run."""

    request: Request
    services: Services
    who: Principal
    key: str | None
    count: str | None


async def asking(
    request: Request,
    services: Parts,
    who: CreatesRuns,
    idempotency_key: IdempotencyKey = None,
    tries: Annotated[str | None, Header(alias=COUNT, max_length=10)] = None,
) -> AskingRequest:
    """The request of a route that asks for a run."""
    return AskingRequest(request, services, who, idempotency_key, tries)


Asks = Annotated[AskingRequest, Depends(asking)]


@dataclass(frozen=True, slots=True)
class AskedRun:
    """A run that was accepted, or had been."""

    id: str
    task: str
    model: str
    #: Its answer is told at once: it has a form that is checked first, or comes from a pattern.
    whole: bool
    replayed: bool
    headers: dict[str, str]
    created: int


async def ask(asking: AskingRequest, body: ChatBody | ResponseBody) -> AskedRun:
    """Ask for the run of a body.

    Raises:
        ProblemError: it asks for what there is not, or is no request.
    """
    ignored = body.ignored()
    services, who = asking.services, asking.who
    panel = await services.models.find(who, body.model)
    told = body.told()
    if isinstance(body, ResponseBody) and body.previous_response_id is not None:
        told = await going_on(services, who, body.previous_response_id, told)
    made = _read(body, panel, told)
    run_id, attached = await _known_as(asking)
    order = order_of(services, who, made, run_id)
    order.keyed = attached or asking.key is not None  # else nobody has asked under this id
    try:
        if not attached:
            await services.rates.take(who, "runs", who.runs_per_s)
        replayed = await services.sending.send(order)
    except ProblemError:  # nothing was accepted; of other errors nobody knows that
        if run_id is not None and asking.key is None and not attached:
            await forget(services.redis, await _tried(asking), run_id)
        raise
    headers = {"x-request-id": order.message.id}
    if ignored:
        headers["x-ignored-parameters"] = ", ".join(ignored)
    return AskedRun(
        id=order.message.id,
        task=TASKS[made.task],
        model=body.model,
        whole=panel is not None or made.answer_schema is not None,
        replayed=replayed,
        headers=headers,
        created=int(time.time()),
    )


async def _known_as(asking: AskingRequest) -> tuple[str | None, bool]:
    """The id that a request gives its run, and whether an earlier try of it has asked already."""
    if asking.key is not None:
        tenant = tenant_for(asking.who, None)
        return id_of_key(tenant, asking.key, f"POST {asking.request.url.path}"), False
    return await run_of(asking.services.redis, await _tried(asking), asking.count)


async def _tried(asking: AskingRequest) -> Tried:
    request, who = asking.request, asking.who
    about = tenant_for(who, None), request.url.path, await request.body()
    return Tried(*about, who, asking.services.client.celery.seals)


def _read(body: ChatBody | ResponseBody, panel: Panel | None, told: ToldChat) -> Any:
    """The body of the run that is asked for."""
    about: dict[str, Any] = {"input": told.input, "stream": bool(body.stream)}
    if told.instructions is not None:
        about["instructions"] = told.instructions
    if (schema := body.answer_schema()) is not None:
        about["answer_schema"] = schema
    session = body.session if isinstance(body, ResponseBody) else None
    if panel is None:
        about |= {"task": "ask", "agent": body.model, "messages": told.messages}
        about |= {} if session is None else {"session": session}
    else:
        about |= {"task": panel.task, **panel.options}
        _refuse(panel, told, about, session)
    try:
        return _BODY.validate_python(about)
    except ValidationError as error:
        place, why = mistakes(error)[0]
        field = place.removeprefix(about["task"]).removeprefix(".")
        whole = "messages" if isinstance(body, ChatBody) else "input"
        field = _PARAMS.get(field.partition(".")[0], field) or whole
        raise wrong(field, why.removeprefix("Value error, ")) from None


def _refuse(panel: Panel, told: ToldChat, about: dict[str, Any], session: str | None) -> None:
    """Refuse what a panel is not told."""
    if told.messages or told.input is None:
        text = f"{panel.name!r} is a panel: it is asked one text, without messages before it."
        raise unsupported("messages", text)
    if session is not None:
        raise unsupported("conversation", f"{panel.name!r} is a panel, which has no conversation.")
    if panel.task == "vote" and "answer_schema" in about:
        text = f"{panel.name!r} votes: its answer is an option, and of no other form."
        raise unsupported("response_format", text)


async def answer(asking: AskingRequest, run: AskedRun) -> Outcome:
    """How a run ended, with its answer. That its sender goes away changes nothing of it.

    Raises:
        ProblemError: it has none; or it did not end while one waits (504).
    """
    outcome = await _end(asking, run)
    if not outcome.ok:
        raise failed(run.id, outcome)
    return outcome


async def _end(asking: AskingRequest, run: AskedRun) -> Outcome:
    about = asking.services, asking.who, run.id
    outcome = await end_within(*about, ANSWER_MAX_S, look=run.replayed)
    if outcome is not None:
        return outcome
    text = f"The run {run.id} has not ended yet, and goes on. Ask again the same, or in background."
    raise ProblemError(504, "timeout", text, {"x-request-id": run.id})


async def pieces(
    services: Services, who: Principal, run_id: str, telling: Retelling
) -> AsyncIterator[Piece | None]:
    """The pieces of a run, to its end; None where it is silent for a while."""
    events = services.client.runs.handle(run_id).events()
    async for event in follow(services, who, run_id, events):
        if event is None:
            yield None
            continue
        for piece in telling.add(event):
            yield piece
