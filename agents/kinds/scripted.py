"""A deterministic agent that says what its script says: for tests, without network or patching.

``{"replies": [{"error": "rate_limited", "retry_after_s": 1}, {"value": "yes"}]}`` fails on a
step's first try and answers "yes" on each later one.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from pydantic import AfterValidator, Field

import celery_agents.errors
from agents.base import Answer, StepContext, Turn
from agents.values import digest, text_of
from celery_agents.contracts.base import Contract, JsonValue
from celery_agents.contracts.outcome import Usage
from celery_agents.errors import AgentsError

_ERRORS: dict[str, type[AgentsError]] = {
    found.kind: found
    for found in vars(celery_agents.errors).values()
    if isinstance(found, type) and issubclass(found, AgentsError)
}


def _known(kind: str) -> str:
    if kind not in _ERRORS:
        message = f"must be one of {', '.join(sorted(_ERRORS))}"
        raise ValueError(message)
    return kind


class ScriptedReply(Contract):
    """The agent's behaviour in one try: wait, then fail or answer."""

    value: JsonValue = None
    #: The ``kind`` of an error, e.g. ``rate_limited``, ``unavailable``, ``agent_failed``.
    error: Annotated[str, AfterValidator(_known)] | None = None
    message: str = "scripted"
    retry_after_s: Annotated[float, Field(ge=0)] | None = None
    sleep_s: Annotated[float, Field(ge=0)] = 0.0
    usage: Usage = Usage(calls=1)


Replies = Annotated[tuple[ScriptedReply, ...], Field(min_length=1)]


class ScriptedConfig(Contract):
    """The script: the *n*-th reply is for a step's *n*-th try; the last one repeats."""

    replies: Replies = (ScriptedReply(),)
    #: Other replies for some inputs, by the input's text (a JSON value's JSON text).
    by_input: dict[str, Replies] = Field(default_factory=dict)


class ScriptedBackend:
    """Plays a script. ``asked`` keeps the turns that it really answered, for assertions."""

    def __init__(self, config: ScriptedConfig) -> None:
        self.config = config
        self.asked: list[Turn] = []

    async def answer(self, turn: Turn, step: StepContext) -> Answer:
        """Answer as the script says for this input and try; journaled as ``scripted``."""
        replies = self.config.by_input.get(text_of(turn.input), self.config.replies)
        reply = replies[min(step.tries, len(replies)) - 1]

        async def perform(_: str) -> Answer:
            self.asked.append(turn)
            await asyncio.sleep(reply.sleep_s)
            if reply.error is not None:
                raise _error(reply.error, reply)
            return Answer(value=reply.value, usage=reply.usage)

        return await step.call("scripted", perform, fingerprint=digest(turn))

    async def aclose(self) -> None:
        """Nothing to free."""


def _error(kind: str, reply: ScriptedReply) -> AgentsError:
    details: dict[str, Any] = {}
    if reply.retry_after_s is not None:
        details["retry_after_s"] = reply.retry_after_s
    return _ERRORS[kind](reply.message, details)
