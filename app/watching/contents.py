"""The content of agents' steps in their spans, where that is wanted: as guards let it pass."""

from __future__ import annotations

import json
from typing import Any

from agents.base import Turn
from agents.catalog.registry import Registry
from agents.guarding.screening import Screen
from app.watching import genai
from celery_agents import names
from celery_agents.contracts.base import JsonValue
from celery_agents.errors import BlockedError
from celery_agents.redaction.cleaning import clean

#: Characters of an input or an answer; collectors cut attributes, too, or refuse them.
CONTENT_MAX = 8_000


class Contents:
    """Reads inputs and answers from rows, and looks at them as the guards of their agent do.

    The rows have what was asked, and what guards masked stands in it; so it is masked here again,
    in answers as well, which have it put back. What a guard blocks is not told, nor is the content
    of an agent that this worker does not know.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def of(self, row: Any) -> dict[str, Any]:
        """Attributes of a step."""
        if row.task != names.ASK or row.agent is None or row.payload is None:
            return {}
        agent = self._registry.get(row.agent)
        asked = (json.loads(row.payload).get("args") or [None])[0]
        if agent is None or asked is None:
            return {}
        outcome = json.loads(row.outcome) if row.outcome else {}
        if (outcome.get("error") or {}).get("kind") == BlockedError.kind:
            return {}
        screen = Screen(self._registry.guards_of(agent), Turn(input=asked))
        told = _passed(screen, screen.asked().input)
        found = {} if told is None else genai.of_content(genai.INPUT, "user", _text(told))
        value = outcome.get("value")
        said = None if told is None or value is None else _passed(screen, screen.said(value))
        if said is None:
            return found
        # Beside what guards mask in answers, what they masked in the input, and was put back.
        masked = _text(screen.result(said))
        return found | genai.of_content(genai.OUTPUT, "assistant", masked)


def _passed(screen: Screen, value: JsonValue) -> JsonValue:
    """The value; None where a guard blocks it."""
    return None if screen.blocked else value


def _text(value: JsonValue) -> str:
    told = clean(value, limit=CONTENT_MAX)
    text = told if isinstance(told, str) else json.dumps(told, ensure_ascii=False)
    return text[:CONTENT_MAX]
