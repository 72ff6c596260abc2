"""Ends of runs as the results of tools, bounded in size."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from mcp import types
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from api.openai.errors import failure
from api.openai.telling import text_of
from celery_agents.contracts.outcome import Outcome, State
from celery_agents.values import mended

#: Characters of an answer: what is more stands in the run.
TEXT_MAX = 200_000
#: Of structured content, which is left out where it is more: a part of it would be another value.
_STRUCTURE_MAX = 100_000
#: Characters of an answer that is a result as the protocol has it, with pictures and the like.
RESULT_MAX = 4_000_000
_RESULT = frozenset({"content", "structuredContent", "isError"})
#: Names of ours in ``_meta``.
RUN, KEY = "celery-agents/run", "celery-agents/idempotency-key"
#: Of a result that belongs to a task, by the specification.
RELATED = "io.modelcontextprotocol/related-task"


def run_uri(run_id: str) -> str:
    """The address of a run as a resource."""
    return f"run://{quote(run_id, safe='')}"


def result_of(run_id: str, task: str, outcome: Outcome) -> types.CallToolResult:
    """The result of a call whose run has ended."""
    if not outcome.ok:
        kind, message = failure(outcome)
        return mistaken(f"{kind}: {message}", run_id)
    value: Any = outcome.value
    if (told := _told_as(value, run_id)) is not None:
        return told
    text = _bounded(text_of(task, outcome), run_id)
    fits = isinstance(value, dict) and len(json.dumps(value)) <= _STRUCTURE_MAX
    return types.CallToolResult(
        content=[types.TextContent(text=text)],
        structured_content=mended(value) if fits else None,
        _meta={RUN: run_id},
    )


def _told_as(value: Any, run_id: str) -> types.CallToolResult | None:
    """An answer that is a result of the protocol, as pictures are told; None: it is a value."""
    if not isinstance(value, dict) or not value.get("content") or value.keys() - _RESULT:
        return None
    if len(json.dumps(value)) > RESULT_MAX:
        return None
    try:
        told = types.CallToolResult.model_validate(mended(value), by_name=False)
    except ValidationError:
        return None
    return told.model_copy(update={"meta": {RUN: run_id}})


def value_of(outcome: Outcome) -> Any:
    """The answer of a run that had to succeed.

    Raises:
        MCPError: it did not.
    """
    if not outcome.ok:
        kind, message = failure(outcome)
        raise MCPError(types.INTERNAL_ERROR, f"{kind}: {message}"[:TEXT_MAX])
    return mended(outcome.value)


def service_error(outcome: Outcome) -> dict[str, Any] | None:
    """The error of a call that nobody could make; None: it was made, whatever came of it."""
    if outcome.ok or outcome.state is State.CANCELLED:
        return None
    kind, message = failure(outcome)
    if outcome.state is not State.DEAD and kind not in _UNMADE:
        return None
    code = types.INVALID_PARAMS if kind in _UNMADE[:2] else types.INTERNAL_ERROR
    return {"code": code, "message": f"{kind}: {message}"[:TEXT_MAX]}


#: Errors of calls that reached no tool: the first two are those of whoever asked.
_UNMADE = ("invalid_payload", "unknown_agent", "configuration")


def mistaken(text: str, run_id: str | None = None) -> types.CallToolResult:
    """The result of a call that failed: a model reads it, and may do it better."""
    about = None if run_id is None else {RUN: run_id}
    content = [types.TextContent(text=_bounded(text, run_id))]
    return types.CallToolResult(content=content, is_error=True, _meta=about)


def unfinished(run_id: str) -> types.CallToolResult:
    """The result of a call that was held as long as calls are: its run goes on."""
    text = f"The run {run_id} has not ended yet, and goes on. Read {run_uri(run_id)} later."
    return mistaken(text, run_id)


def _bounded(text: str, run_id: str | None) -> str:
    text = text.encode("utf-8", "replace").decode()  # halves of surrogate pairs are no text
    if len(text) <= TEXT_MAX:
        return text
    rest = "" if run_id is None else f" The whole answer: {run_uri(run_id)}"
    return f"{text[:TEXT_MAX]}\n[cut: {len(text) - TEXT_MAX:,} characters more.{rest}]"
