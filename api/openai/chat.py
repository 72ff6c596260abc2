"""``/v1/chat/completions``."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response, StreamingResponse

from api.events import SSE_HEADERS, held
from api.openai import errors
from api.openai.asking import AskedRun, AskingRequest, Asks, answer, ask, pieces
from api.openai.bodies import ChatBody
from api.openai.telling import (
    NextMessage,
    Piece,
    Retelling,
    RunEnded,
    Said,
    VoidMessage,
    text_of,
)
from api.openai.views import CompletionView, openai_errors
from api.problems import JsonResponse, ProblemError
from celery_agents.contracts.outcome import Usage
from celery_agents.errors import AgentsError
from celery_agents.noted import note

log = logging.getLogger(__name__)
router = APIRouter(tags=["openai"])
_DONE = "data: [DONE]\n\n"
#: Between what is said on the way and the answer.
_GAP = "\n\n"


@router.post(
    "/v1/chat/completions",
    response_model=CompletionView,
    responses=openai_errors(404, 409, 413, 500, 504),
)
async def complete(body: ChatBody, asking: Asks) -> Response:
    """Ask an agent, or a panel. With ``stream`` the answer comes piece by piece.

    That somebody goes away changes nothing of the run.
    """
    run = await ask(asking, body)
    if body.stream:
        usage = body.stream_options is not None and body.stream_options.include_usage
        lines = _stream(asking, run, usage=usage)
        stream = held(asking.request, asking.services, asking.who, lines, _refused, resumable=False)
        headers = {**SSE_HEADERS, **run.headers}
        return StreamingResponse(stream, media_type="text/event-stream", headers=headers)
    outcome = await answer(asking, run)
    message = {"role": "assistant", "content": text_of(run.task, outcome), "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    told = {**_about(run), "object": "chat.completion", "choices": [choice]}
    return JsonResponse({**told, "usage": usage_of(outcome.usage)}, headers=run.headers)


def _about(run: AskedRun) -> dict[str, Any]:
    return {"id": f"chatcmpl-{run.id}", "created": run.created, "model": run.model}


def usage_of(usage: Usage) -> dict[str, Any]:
    """The cost of a run in tokens."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


def _line(told: dict[str, Any]) -> str:
    return f"data: {json.dumps(told, separators=(',', ':'))}\n\n"


def _refused(error: ProblemError) -> str:
    return _line({"error": errors.told(error.status, error.kind, error.detail)})


async def _stream(
    asking: AskingRequest, run: AskedRun, *, usage: bool
) -> AsyncGenerator[str, None]:
    """The chunks of a completion; one that is void ends with an error, since none can be unsaid."""
    yield _chunk(run, {"role": "assistant", "content": ""})
    telling = Retelling(run.id, run.task, whole=run.whole)
    try:
        async for piece in pieces(asking.services, asking.who, run.id, telling):
            if piece is None:
                yield ": ping\n\n"
            elif isinstance(piece, RunEnded) and piece.outcome.ok:
                yield _chunk(run, {}, finish="stop")
                if usage:
                    yield _line(_usage_chunk(run, piece.outcome.usage))
                yield _DONE
            elif (error := _error(run, piece)) is not None:
                yield _line({"error": error})
                return
            elif (text := _text(piece)) is not None:
                yield _chunk(run, {"content": text})
    except AgentsError as error:
        note(log, "api_stream", "A stream broke off: its run goes on", error=error)
        yield _line({"error": errors.told(503, error.kind, error.message)})


def _text(piece: Piece) -> str | None:
    if isinstance(piece, NextMessage):
        return _GAP
    return piece.text if isinstance(piece, Said) else None


def _error(run: AskedRun, piece: Piece) -> dict[str, Any] | None:
    """The error with which a stream ends at this piece."""
    if isinstance(piece, RunEnded):
        problem = errors.ended(run.id, piece.outcome)
        return errors.told(problem.status, problem.kind, problem.detail)
    if isinstance(piece, VoidMessage):
        text = (
            "The agent began again, and answers otherwise: what was said is void. The run goes on: "
            f"its answer will be GET /v1/responses/resp_{run.id}."
        )
        return errors.told(500, "began_again", text)
    return None


def _chunk(run: AskedRun, delta: dict[str, Any], *, finish: str | None = None) -> str:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return _line({**_about(run), "object": "chat.completion.chunk", "choices": [choice]})


def _usage_chunk(run: AskedRun, usage: Usage) -> dict[str, Any]:
    told = {**_about(run), "object": "chat.completion.chunk", "choices": []}
    return {**told, "usage": usage_of(usage)}
