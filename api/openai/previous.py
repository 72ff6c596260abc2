"""Earlier responses: what they were asked, for one that goes on with them, and as items.

A run has the whole conversation that it was told, so one that goes on with it needs no other one:
its own messages are those of the earlier run, with its answer, before what is asked now.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from api.access import forbidden
from api.openai.conversing import ToldChat
from api.openai.errors import unsupported
from api.openai.telling import text_of
from api.problems import ProblemError
from api.runs import find, outcome_of_tree
from api.services import Services
from app.access.permissions import Permission, Principal
from celery_agents import names
from celery_agents.contracts.base import id_of
from celery_agents.contracts.conversation import Attachment, ChatMessage, Part
from celery_agents.errors import InvalidPayloadError, UnreadableValueError
from celery_agents.sealing import opened_payload

#: Before a run's id, in the id of its response.
PREFIX = "resp_"
#: The parameter that names an earlier response.
_PARAM = "previous_response_id"
Item = dict[str, Any]


def run_of(response_id: str) -> str | None:
    """The run of a response; None: it is no id of one."""
    try:
        named = response_id.removeprefix(PREFIX)
        return id_of(named) if response_id.startswith(PREFIX) else None
    except InvalidPayloadError:
        return None


async def asked(services: Services, tree: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """The task and the payload of a run, wherever it is; None: no worker took it.

    Raises:
        UnreadableValueError: they cannot be decrypted.
    """
    run_id = tree["id"]
    rows = await services.read(services.desk.asked, [run_id])
    row = rows.get(run_id)
    if isinstance(row, UnreadableValueError):
        raise row
    if row is not None:
        return row
    record = await services.redis.hget(names.INTAKE_RECORDS, run_id)
    if record is None:
        return None
    args, options, _ = json.loads(json.loads(record)["body"])
    told = {"args": args, "kwargs": options}
    return str(tree["task"]), opened_payload(services.client.celery.seals, told, run_id)


async def going_on(
    services: Services, who: Principal, response_id: str, chat: ToldChat
) -> ToldChat:
    """A conversation behind that of an earlier response, and its answer; its instructions end.

    Raises:
        ProblemError: there is no such response, it has no answer, or it stands in a conversation.
    """
    if not who.may(Permission.RUNS_READ):
        raise forbidden(f"To go on with a response needs the permission {Permission.RUNS_READ}.")
    run_id = run_of(response_id)
    tree = None if run_id is None else await _tree(services, who, run_id)
    if tree is None:
        text = "There is no response of this id; it may have been cleaned up."
        raise ProblemError(400, "previous_response_not_found", text, param=_PARAM)
    outcome, row = outcome_of_tree(tree), await asked(services, tree)
    if outcome is None or not outcome.ok or row is None:
        text = f"That response has no answer to go on with: it is {tree['state']}."
        raise ProblemError(400, "previous_response_not_completed", text, param=_PARAM)
    task, payload = row
    if payload["kwargs"].get("session") is not None:
        text = "That response stands in a conversation: go on with it by its name, as conversation."
        raise unsupported(_PARAM, text)
    said = text_of(task, outcome)
    answer = (ChatMessage(role="assistant", content=said),) if said else ()
    return replace(chat, messages=(*messages_of(payload), *answer, *chat.messages))


async def _tree(services: Services, who: Principal, run_id: str) -> dict[str, Any] | None:
    try:
        return await find(services, who, run_id)
    except ProblemError:
        return None


def messages_of(payload: Mapping[str, Any]) -> tuple[ChatMessage, ...]:
    """The messages that a run was told, its input the last of them."""
    args, options = payload.get("args") or [], payload.get("kwargs") or {}
    found = [ChatMessage.model_validate(told) for told in options.get("messages") or ()]
    if args and (told := args[0]) is not None:
        text = told if isinstance(told, str) else json.dumps(told, ensure_ascii=False)
        found.append(ChatMessage(role="user", content=text))
    return tuple(found)


def items_of(run_id: str, messages: tuple[ChatMessage, ...]) -> list[Item]:
    """Messages as items of OpenAI's, each with an id that stays the same."""
    made = [item for message in messages for item in _items(message)]
    return [{"id": f"item_{run_id}_{n}", **item} for n, item in enumerate(made)]


def _items(message: ChatMessage) -> Iterator[Item]:
    if message.role == "tool":
        about = {"call_id": message.call_id, "output": message.text}
        yield {"type": "function_call_output", **about, "status": "completed"}
        return
    if content := [_part(message.role, part) for part in message.parts]:
        item = {"type": "message", "status": "completed"}
        yield {**item, "role": message.role, "content": content}
    for call in message.tool_calls:
        told = json.dumps(call.arguments, ensure_ascii=False)
        about = {"call_id": call.id, "name": call.name, "arguments": told}
        yield {"type": "function_call", **about, "status": "completed"}


def _part(role: str, part: Part) -> Item:
    if isinstance(part, Attachment):
        return _attached(part)
    if role == "assistant":
        return {"type": "output_text", "text": part.text, "annotations": []}
    return {"type": "input_text", "text": part.text}


def _attached(part: Attachment) -> Item:
    data = None if part.data is None else f"data:{part.media_type};base64,{part.data}"
    if part.kind == "image":
        return {"type": "input_image", "image_url": part.url or data, "detail": "auto"}
    return {"type": "input_file", "filename": part.name, "file_url": part.url, "file_data": data}
