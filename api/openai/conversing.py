"""Conversations as OpenAI's APIs have them, in the form of ours."""

from __future__ import annotations

import json
import mimetypes
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from api.openai.errors import unsupported, wrong
from celery_agents.contracts.base import JsonValue, mistakes
from celery_agents.contracts.conversation import Attachment, ChatMessage, Part, Text

_DATA = re.compile(r"data:(?P<type>[a-z]+/[a-z0-9.+-]+);base64,(?P<data>.*)", re.DOTALL)
_SYSTEM = ("system", "developer")
_TEXTS = ("text", "input_text", "output_text")
#: Items of a response that go back with the next one, and tell an agent nothing.
_SILENT = ("reasoning", "mcp_call", "mcp_list_tools")


@dataclass(frozen=True, slots=True)
class ToldChat:
    """A conversation: the instructions before it, its messages, and the input that ends it."""

    instructions: str | None
    messages: tuple[ChatMessage, ...]
    #: The newest message, if it is a user's text; else None, and it is the last of the messages.
    input: JsonValue


def told(messages: Iterable[ChatMessage], instructions: str | None = None) -> ToldChat:
    """Part a conversation: the system messages that begin it are instructions."""
    rest = [*messages]
    first = [] if instructions is None else [instructions]
    while rest and rest[0].role == "system":
        first.append(rest.pop(0).text)
    text: JsonValue = None
    if rest and rest[-1].role == "user" and not rest[-1].attachments:
        text = rest.pop().text
    return ToldChat("\n\n".join(first) or None, tuple(rest), text)


def of_chat(messages: list[dict[str, Any]]) -> tuple[ChatMessage, ...]:
    """The messages of a chat completion.

    Raises:
        ProblemError: one is none, or holds what agents cannot be told.
    """
    return tuple(_message(m, f"messages[{n}]") for n, m in enumerate(messages))


def of_input(items: str | list[dict[str, Any]]) -> tuple[ChatMessage, ...]:
    """The input of a response; raises as ``of_chat``."""
    if isinstance(items, str):
        return (_made("input", role="user", content=items),)
    return tuple(_joined(_of_items(items)))


def _of_items(items: list[dict[str, Any]]) -> Iterator[ChatMessage]:
    for n, item in enumerate(items):
        place, kind = f"input[{n}]", item.get("type", "message")
        if kind == "message":
            yield _message(item, place)
        elif kind == "function_call":
            call = _call(item.get("call_id"), item.get("name"), item.get("arguments"))
            yield _made(place, role="assistant", tool_calls=[call])
        elif kind == "function_call_output":
            output = item.get("output")
            text = output if isinstance(output, str) else json.dumps(output)
            yield _made(place, role="tool", content=text, call_id=item.get("call_id"))
        elif kind not in _SILENT:
            raise unsupported(place, f"An input item of type {kind!r} cannot be told to an agent.")


def _joined(messages: Iterable[ChatMessage]) -> Iterator[ChatMessage]:
    """Calls that follow each other are of one message, as all else has them."""
    last: ChatMessage | None = None
    for message in messages:
        if last is not None and last.role == "assistant" == message.role and message.tool_calls:
            last = last.model_copy(update={"tool_calls": last.tool_calls + message.tool_calls})
            continue
        if last is not None:
            yield last
        last = message
    if last is not None:
        yield last


def _message(given: dict[str, Any], place: str) -> ChatMessage:
    role = given.get("role")
    role = "system" if role in _SYSTEM else role
    about: dict[str, Any] = {"role": role, "content": _content(given.get("content"), place)}
    if calls := given.get("tool_calls"):
        if not isinstance(calls, list):
            raise wrong(f"{place}.tool_calls", "it is a list.")
        about["tool_calls"] = [_called(call, f"{place}.tool_calls") for call in calls]
    if role == "tool":
        about["call_id"] = given.get("tool_call_id")
    return _made(place, **about)


def _made(place: str, **about: Any) -> ChatMessage:
    try:
        return ChatMessage.model_validate(about)
    except ValidationError as error:
        where, why = mistakes(error, ChatMessage)[0]
        raise wrong(place if where == "payload" else f"{place}.{where}", why) from None


def _called(given: Any, place: str) -> dict[str, Any]:
    """A call of a function as chat completions have it."""
    function = given.get("function") if isinstance(given, dict) else None
    if not isinstance(function, dict):
        raise wrong(place, "each is a call of a function.")
    return _call(given.get("id"), function.get("name"), function.get("arguments"))


def _call(call_id: Any, name: Any, arguments: Any) -> dict[str, Any]:
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):  # a model may have written anything
            arguments = {"arguments": arguments}
    return {"id": call_id, "name": name, "arguments": arguments}


def _content(given: Any, place: str) -> Any:
    if not isinstance(given, list):
        return "" if given is None else given
    parts = [_part(part, f"{place}.content[{n}]") for n, part in enumerate(given)]
    if all(isinstance(part, Text) for part in parts):  # as functions and logs read it best
        return "\n".join(part.text for part in parts if isinstance(part, Text))
    return [part.model_dump() for part in parts]


def _part(part: Any, place: str) -> Part:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in _TEXTS and isinstance(part.get("text"), str):
        return Text(kind="text", text=part["text"])
    if kind == "refusal" and isinstance(part.get("refusal"), str):
        return Text(kind="text", text=part["refusal"])
    if isinstance(kind, str) and kind in _ATTACHED:
        try:
            return _ATTACHED[kind](part)
        except (ValidationError, AttributeError, KeyError, TypeError):
            raise wrong(place, "it is no address, and no data: URL of base64.") from None
    raise unsupported(place, "Agents are told texts, images and files alone.")


def _attached(kind: str, url: Any, name: Any = None) -> Attachment:
    if (match := _DATA.fullmatch(url)) is not None:
        return Attachment.model_validate(
            {"kind": kind, "media_type": match["type"], "data": match["data"], "name": name}
        )
    guessed = mimetypes.guess_type(url.partition("?")[0])[0]
    fallback = "image/jpeg" if kind == "image" else "application/pdf"
    return Attachment.model_validate(
        {"kind": kind, "media_type": guessed or fallback, "url": url, "name": name}
    )


_ATTACHED: dict[str, Callable[[dict[str, Any]], Attachment]] = {
    "image_url": lambda part: _attached("image", part["image_url"].get("url")),
    "input_image": lambda part: _attached("image", part.get("image_url")),
    "file": lambda part: _attached(
        "file", part["file"].get("file_data"), part["file"].get("filename")
    ),
    "input_file": lambda part: _attached(
        "file", part.get("file_data") or part.get("file_url"), part.get("filename")
    ),
}
