"""Tools as a model is told of them, its calls of them, and what came of a call."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator

from agents.checking import TooMuchError
from agents.plain import plain_json
from agents.schema import problem
from agents.tools.policy import ToolPolicy
from agents.values import digest_of_json
from celery_agents.contracts.base import Contract, JsonValue, TrustedJson
from celery_agents.errors import (
    AgentsError,
    ClientLacksError,
    RetryableError,
    StepCancelledError,
    redact,
)
from celery_agents.noted import note
from celery_agents.values import mended

log = logging.getLogger(__name__)

#: Hexadecimal digits of the digest in a call's identity.
_DIGITS = 32

#: What was said and goes back with the next request. A stream may cut a character in two, and a
#: tool may find half of one: none of it could be sent.
WholeText = Annotated[str, BeforeValidator(mended)]
WholeJson = Annotated[TrustedJson, BeforeValidator(mended)]


class ToolSpec(Contract):
    """A tool as it is offered to a model, and how it is called."""

    name: str
    description: str
    parameters: dict[str, TrustedJson]  # the JSON schema of its arguments
    policy: ToolPolicy | None = None  # None: by the effects of its toolset


class ToolCall(Contract):
    """A model's wish to have a tool called. Its arguments are as it wrote them, unchecked."""

    id: WholeText
    name: WholeText
    arguments: WholeJson


def asked_for(call: ToolCall, within: str = "") -> str:
    """The digest of what a call asks for; of one ``within`` a program another than of all others.

    A program is known by its own identity, so that two of the same text share no call.
    """
    about = (call.name, call.arguments)
    return digest_of_json([within, *about] if within else [*about])


@dataclass(frozen=True, slots=True)
class AskedCall:
    """The wish of a call, made out once: it is known by that in many places."""

    name: str
    digest: str
    #: The how-manieth call of its answer that asks for this.
    times: int

    @property
    def identity(self) -> str:
        """The same in each attempt."""
        return f"{self.name}/{self.digest[:_DIGITS]}.{self.times}"


def identity_of(call: ToolCall, times: int) -> str:
    """The same in each attempt: the ``times``-th call of its tool with its arguments."""
    return AskedCall(call.name, asked_for(call), times).identity


def wrong_arguments(call: ToolCall, spec: ToolSpec) -> str | None:
    """Say what is wrong with a call's arguments by its tool's schema, if anything is.

    Raises:
        InvalidPayloadError: the schema itself is malformed.
    """
    of = f"The schema of the tool {spec.name}"
    try:
        return problem(call.arguments, spec.parameters, what="the arguments", of=of)
    except TooMuchError as error:  # the model's to mend
        return error.message


class ToolResult(Contract):
    """The result of a tool call: a value, or the text of an error."""

    call: ToolCall
    value: WholeJson
    failed: bool = False


def brief(result: ToolResult) -> JsonValue:
    """A result as it is journaled: without the arguments, which whoever reads it has.

    Large ones would make it too large to be kept, though its call was made.
    """
    call = result.call.model_copy(update={"arguments": None})
    told: JsonValue = result.model_copy(update={"call": call}).model_dump(mode="json")
    return told


class ToolError(Exception):
    """A tool could not be called, or failed. The model is told its text; the step goes on."""


class ToolFailedError(ToolError):
    """A tool failed by an error of its code, or took too long: another try may work."""


class WaitsUntilError(ToolError):
    """A tool's call goes on at a time: its step waits until then, and holds no worker.

    ``told`` is its result once that time has come; the tool gives the same when it is called then.
    """

    def __init__(self, until: float, told: JsonValue) -> None:
        super().__init__("Only the step of an agent can wait for a time.")
        self.until, self.told = until, told


#: What a tool raises that is not the model's to hear.
_PASSED_ON = (RetryableError, StepCancelledError, ClientLacksError, WaitsUntilError)


async def heard(act: Awaitable[Any]) -> JsonValue:
    """Give what a tool's act gives, in a form that a model may be told.

    Raises:
        ToolFailedError: the act failed.
        ToolError: it raised that, or its result has no JSON form.
        WaitsUntilError: the act raised it; the step is to wait.
        RetryableError: the act raised it; the step is to be tried again.
        ClientLacksError: the tool asks its client for what that cannot do.
    """
    try:
        result = await act
    except _PASSED_ON:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a user's tool raises, the model hears
        raise _for_model(error) from None
    return _plain(result)


def _for_model(error: Exception) -> ToolError:
    """An error of a tool as its model is told of it."""
    if isinstance(error, ToolError):
        kind = ToolFailedError if isinstance(error, ToolFailedError) else ToolError
        return kind(redact(str(error)))
    if not isinstance(error, AgentsError):
        note(log, "tool", "A tool failed, and its model is told so", error=error, trace=True)
    return ToolFailedError(redact(f"{type(error).__name__}: {error}"))


def _plain(result: Any) -> JsonValue:
    try:
        return plain_json(result)
    except ValueError as error:
        raise ToolError(redact(f"The result is no JSON value: {error}")) from None


def too_late(name: str, limit_s: float | None) -> str:
    """Say that a call of the tool of that name was given up after its time."""
    return f"{name} did not end within {limit_s or 0:g} s; what it did is not known."
