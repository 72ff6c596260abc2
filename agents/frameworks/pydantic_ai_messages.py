"""pydantic-ai's values as fingerprints are made of them, and conversations in its form."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic_ai import RunContext, ToolsetTool
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    SystemPromptPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_core import to_jsonable_python

from agents.values import text_of
from celery_agents.contracts.conversation import ChatMessage

#: Fields of pydantic-ai's own values that are others in each attempt.
_VOLATILE = frozenset({"timestamp", "run_id", "conversation_id"})
#: How ids begin that pydantic-ai made up where a provider gave none.
_MADE_UP = "pyd_ai_"


def told(value: Any) -> Any:
    """A JSON value of all that is the same in each attempt."""
    if isinstance(value, RunContext):  # of a tool's call: its id tells two of the same apart
        return [_id(value.tool_call_id), value.retry, value.tool_call_approved]
    if isinstance(value, ToolsetTool):
        return value.tool_def.name
    if is_dataclass(value) and not isinstance(value, type):
        return _fields(value)
    if isinstance(value, dict):
        return {str(key): told(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [told(one) for one in (value if isinstance(value, list | tuple) else sorted(value))]
    return to_jsonable_python(value, bytes_mode="base64", fallback=lambda o: type(o).__qualname__)


def _fields(value: Any) -> dict[str, Any]:
    own = type(value).__module__.partition(".")[0] == "pydantic_ai"
    found = {f.name: getattr(value, f.name) for f in fields(value)}
    if own:
        found = {name: one for name, one in found.items() if name not in _VOLATILE}
        if "tool_call_id" in found:
            found["tool_call_id"] = _id(found["tool_call_id"])
    return {name: told(one) for name, one in found.items()}


def _id(of_call: Any) -> str:
    made_up = isinstance(of_call, str) and of_call.startswith(_MADE_UP)
    return "" if made_up or of_call is None else str(of_call)


def history_of(messages: Iterable[ChatMessage]) -> list[ModelMessage]:
    """A conversation as pydantic-ai has it."""
    found: list[ModelMessage] = []
    names: dict[str, str] = {}  # of tools, by the ids of their calls
    for message in messages:
        if message.role == "assistant":
            calls = [
                ToolCallPart(call.name, text_of(call.arguments or {}), tool_call_id=call.id)
                for call in message.tool_calls
            ]
            names |= {call.id: call.name for call in message.tool_calls}
            text = [TextPart(message.text)] if message.text else []
            found.append(ModelResponse(parts=[*text, *calls]))
        else:
            found.append(ModelRequest(parts=[_part(message, names)]))
    return found


def _part(message: ChatMessage, names: dict[str, str]) -> ModelRequestPart:
    if message.role == "system":
        return SystemPromptPart(message.text)
    if message.role == "tool":
        id_ = message.call_id or ""
        return ToolReturnPart(names.get(id_, ""), message.text, tool_call_id=id_)
    return UserPromptPart(message.text)
