"""Answers of a type while they are written: objects that lack what has not been said yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.schema import ANSWER, form_of, is_object
from celery_agents.values import problem

_FENCE = "```"
#: Characters of numbers: of one at the end of a text nobody knows whether it goes on.
_NUMBER = "0123456789+-.eE"
#: Characters of a text that is read again with each piece; a longer one is once it has grown by
#: this part, or a text of a megabyte would be read thousands of times.
_SMALL, _GROWS = 16_384, 64


def partial_json(text: str) -> JsonValue:
    """The object or list that a text of JSON has begun; None where there is none yet, or no JSON.

    It lacks what has not come, and says nothing that the whole will not: of a text that was begun
    there is what has come of it, of a number nothing before it ends. The text may stand in a code
    fence of Markdown.
    """
    text = text.lstrip()
    if text.startswith(_FENCE):  # no text in JSON holds the line that ends it
        text = text.partition("\n")[2].partition(f"\n{_FENCE}")[0].lstrip()
    if not text.startswith(("{", "[")):
        return None
    try:
        found: JsonValue = from_json(
            text.rstrip(_NUMBER), allow_partial="trailing-strings", allow_inf_nan=False
        )
    except ValueError:
        return None
    return found if problem(found) is None else None


@dataclass(slots=True)
class _Said:
    """The text of a step since it last began to answer."""

    token: int
    n: int  # of its last event that was heard
    text: str = ""
    partial: JsonValue = None
    read: int = 0  # characters of the text when that was read


class PartialAnswers:
    """The answers that steps of a run have begun, in the form that the run was asked for.

    What other steps of it say, and texts of which a piece was missed, is left out.
    """

    def __init__(self, schema: dict[str, Any]) -> None:
        self._form = form_of(schema)
        self._inside = not is_object(schema)
        self._said: dict[str, _Said] = {}

    def add(self, told: dict[str, Any]) -> JsonValue:
        """Hear an event as it stands in the stream; of a text, return the answer so far."""
        step_id, kind, token, n = told["step_id"], told["type"], told["token"], told["n"]
        if kind in _BEGINS and told.get("data", {}).get("form") == self._form:
            self._said[step_id] = _Said(token, n)
            return None
        said = self._said.get(step_id)
        if said is None or (token, n) <= (said.token, said.n):
            return None
        if (token, n) != (said.token, said.n + 1):  # something is missing
            del self._said[step_id]
            return None
        said.n = n
        if kind == "text":
            return self._read(said, told["text"])
        if kind in _VOID:
            said.text, said.partial, said.read = "", None, 0
        return None

    def _read(self, said: _Said, piece: str) -> JsonValue:
        said.text += piece
        length = len(said.text)
        if length > _SMALL and length - said.read < length // _GROWS:
            return said.partial
        said.read = length
        found = partial_json(said.text)
        if self._inside and isinstance(found, dict) and found.keys() <= {ANSWER}:
            found = found.get(ANSWER)
        if found is not None:  # what hides a secret may leave no JSON behind
            said.partial = found
        return said.partial


#: Events with which a step begins, and those after which it answers anew.
_BEGINS = {"state", "restart"}
_VOID = {"restart", "tool", "tool_result"}
