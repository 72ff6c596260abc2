"""Results of tools as a model is told of them: not too long, and marked where others wrote them."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from agents.guarding.untrusted import as_data
from agents.tools.calls import ToolCall, ToolResult, ToolSpec
from agents.tools.policy import ToolPolicy
from agents.values import text_of, within
from celery_agents.contracts.base import Contract, JsonValue

#: Bytes of one result that are kept to be read on in; as ``answer_limit_bytes`` by default.
KEPT_MAX = 1024 * 1024
#: Bytes that a character has at the most; in JSON, where some are escaped.
_CHARACTER_BYTES, _JSON_BYTES = 4, 6
#: Bytes of UTF-8 that begin no character.
_GOES_ON = range(0x80, 0xC0)


#: How a result is read on in; within a text that is JSON, and in one of that, quotes are escaped.
_READS_ON = re.compile(
    r"""; read_result with \{\\*"result\\*": \d+, \\*"offset\\*": \d+\} reads on(?= …\])"""
)


class _Read(Contract):
    result: Annotated[int, Field(ge=1, strict=True)]
    offset: Annotated[int, Field(ge=0, strict=True)] = 0


_READ: TypeAdapter[_Read] = TypeAdapter(_Read)


class LongResults:
    """Results of one answer that were too long to be told at once."""

    spec = ToolSpec(
        name="read_result",
        description="Reads on in a result that was too long to be shown whole.",
        parameters=_READ.json_schema(),
    )

    def __init__(self) -> None:
        self._texts: list[tuple[str, bytes, ToolPolicy]] = []  # with the tool that each is of

    def __bool__(self) -> bool:
        return bool(self._texts)

    def told(self, tool: str, value: JsonValue, policy: ToolPolicy) -> JsonValue:
        """Return what a tool gave as it is told: of what is too long, its beginning and its end."""
        return _as_data(tool, self._bounded(tool, value, policy), policy)

    def _bounded(self, tool: str, value: JsonValue, policy: ToolPolicy) -> JsonValue:
        limit = policy.max_result_bytes
        if type(value) in {int, float, bool} or value is None:
            return value
        if within(value, limit // _JSON_BYTES):  # as most are
            return value
        text = text_of(value)
        if len(text) * _CHARACTER_BYTES <= limit:
            return value
        whole = text.encode(errors="replace")
        if len(whole) <= limit:
            return value
        if len(whole) > KEPT_MAX:
            return f"The result has {len(whole):,} bytes, too many to be shown. Ask for less."
        self._texts.append((tool, whole, policy))
        head, tail = _between(whole, limit * 2 // 3), _between(whole, len(whole) - limit // 3)
        how = f'{self.spec.name} with {{"result": {len(self._texts)}, "offset": {head}}}'
        return (
            f"{_text(whole[:head])}\n[… {tail - head:,} of {len(whole):,} bytes are left out; "
            f"{how} reads on …]\n{_text(whole[tail:])}"
        )

    @staticmethod
    def closed(told: str) -> str:
        """Return a result as it is told once its answer is over: nothing reads on in it any more.

        The next answer numbers results of its own.
        """
        return _READS_ON.sub("", told)

    def read(self, call: ToolCall) -> ToolResult:
        """Answer a call of ``read_result``."""
        try:
            asked = _READ.validate_python(call.arguments)
            tool, whole, policy = self._texts[asked.result - 1]
        except (ValidationError, IndexError):
            told = f"There are results 1 to {len(self._texts)}, and offsets in bytes from 0."
            return ToolResult(call=call, value=told, failed=True)
        end = _between(whole, asked.offset + policy.max_result_bytes)
        text = _text(whole[asked.offset : end])
        if end < len(whole):
            text += f"\n[… {len(whole) - end:,} bytes follow, from offset {end} …]"
        return ToolResult(call=call, value=_as_data(tool, text, policy))


def _as_data(tool: str, value: JsonValue, policy: ToolPolicy) -> JsonValue:
    """Mark what others may have written, so that a model does not take it for instructions."""
    if not policy.untrusted:
        return value
    return as_data(f"that {tool} found", value)


def _between(whole: bytes, place: int) -> int:
    """The place, or the one before it where it is within a character: no page lacks a half."""
    while place < len(whole) and whole[place] in _GOES_ON:
        place -= 1
    return place


def _text(part: bytes) -> str:
    return part.decode(errors="ignore")
