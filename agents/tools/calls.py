"""Tools as a model is told of them, its calls of them, and what came of a call."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator

from celery_agents.contracts.base import Contract, TrustedJson
from celery_agents.values import mended

#: What was said and goes back with the next request. A stream may cut a character in two, and a
#: tool may find half of one: none of it could be sent.
WholeText = Annotated[str, BeforeValidator(mended)]
WholeJson = Annotated[TrustedJson, BeforeValidator(mended)]


class ToolSpec(Contract):
    """A tool as it is offered to a model."""

    name: str
    description: str
    parameters: dict[str, TrustedJson]  # the JSON schema of its arguments


class ToolCall(Contract):
    """A model's wish to have a tool called. Its arguments are as it wrote them, unchecked."""

    id: WholeText
    name: WholeText
    arguments: WholeJson


class ToolResult(Contract):
    """What came of a tool call: a value, or the text of an error."""

    call: ToolCall
    value: WholeJson
    failed: bool = False
