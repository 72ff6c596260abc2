"""The answer of an agent of another library, as the turn wants it."""

from __future__ import annotations

from typing import Any

from agents.base import Turn
from agents.patterns.vote.options import match
from agents.plain import plain_json
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.vote import Normalisation
from celery_agents.errors import AgentFailedError


def value_of(output: Any, turn: Turn) -> JsonValue:
    """The value of an answer; of a ballot the option as it is written in the turn.

    Raises:
        AgentFailedError: it has no JSON form.
    """
    value = json_of(output)
    if turn.choices and isinstance(value, dict):
        option: Any = value.get("option")
        return {**value, "option": match(option, turn.choices, Normalisation()) or option}
    return value


def json_of(output: Any) -> JsonValue:
    """An answer as JSON.

    Raises:
        AgentFailedError: it has no such form.
    """
    try:
        return plain_json(output)
    except ValueError as error:
        raise AgentFailedError(f"It answered what has no JSON form: {error}") from None
