"""The fields of an outcome that stand before its value, read without the value.

A database that looks into JSON parses all of it, and PostgreSQL then refuses a zero byte or half of
a surrogate pair in a text: one such answer would fail whatever is asked of all. So an outcome is
read as text. Its turns, error and value are written last (``Outcome.compact``), and what stands
before them is short.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import ColumnElement, Text, case, cast, func, null

from app.journal.schema.models import Step, table
from celery_agents.contracts.outcome import State

#: Characters that hold all that comes before these: two names and a compensation, each character of
#: them escaped.
HEAD = 8_000

#: Those of a step's outcome.
HEAD_OF_OUTCOME: ColumnElement[str] = func.substr(
    cast(table(Step).c.outcome, Text), 1, HEAD, type_=Text
)

#: The whole outcome of a step that did not succeed: one that has a value is not read.
OUTCOME_WITHOUT_VALUE = case(
    (Step.state == State.SUCCEEDED, null()), else_=cast(Step.outcome, Text)
)

_LAST = ("turns", "error", "value")
_DECODER = json.JSONDecoder()


def has(name: str) -> ColumnElement[bool]:
    """Return the condition that an outcome may have a field of this name before its value."""
    return HEAD_OF_OUTCOME.like(f'%"{name}":%')


def read(head: str) -> dict[str, Any]:
    """Read the fields at the beginning of an outcome, up to its turns, its error or its value."""
    found: dict[str, Any] = {}
    place = 1  # after the brace
    while place < len(head) and head[place] == '"':
        try:
            name, place = _DECODER.raw_decode(head, place)
            if name in _LAST:
                break
            found[name], place = _DECODER.raw_decode(head, place + 1)
        except ValueError:  # cut off
            break
        place += 1
    return found
