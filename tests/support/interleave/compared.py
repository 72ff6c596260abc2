"""One operation alone by shots and without them: both ways tell and write the same."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from pydantic import BaseModel
from sqlalchemy import Float

from app.journal.schema.models import Base
from tests.support.interleave.hands import wakes_told
from tests.support.interleave.invariants import Story

_TIMES = {
    (t.name, c.name)
    for t in Base.metadata.sorted_tables
    for c in t.columns
    if isinstance(c.type, Float)
} | {("workers", "memory_bytes")}  # and what a process happens to use
#: Of answers: what two runs of one operation may differ in.
_OWN = {"since", "remaining_s", "elapsed_s", "waited_s", "wakes"}


def told(story: Story) -> list[tuple[str, str, Any]]:
    """Return what was asked and answered, without what depends on the moment."""
    answers = [(t.what, t.step_id, _plain(t.answer)) for t in story.told]
    wakes = ", ".join(sorted(wakes_told(story.told)))  # any of a batch's writes may carry them
    return [*answers, ("wakes", wakes, None)]


#: Columns with numbers that go on, also over what was rolled back.
_NUMBERED = {"events": {"id"}, "entries": {"pos", "xid"}}


def written(story: Story) -> dict[str, list[dict[str, Any]]]:
    """The rows at the end, without their times."""
    found = {}
    for name, rows in story.rows.items():
        plain = [{k: _timeless(name, k, v) for k, v in row.items()} for row in rows]
        plain = [
            {c: v for c, v in row.items() if c not in _NUMBERED.get(name, ())} for row in plain
        ]
        found[name] = sorted(plain, key=repr)
    return found


def _timeless(table: str, column: str, value: Any) -> Any:
    if (table, column) == ("events", "data"):  # times that were counted from others
        return {k: round(v, 1) if isinstance(v, float) else v for k, v in (value or {}).items()}
    if (table, column) == ("steps", "outcome") and value is not None:
        return {k: v is not None if k == "duration_s" else v for k, v in value.items()}
    return value is not None if (table, column) in _TIMES else value


def _plain(value: Any) -> Any:
    if isinstance(value, Exception):
        return type(value).__name__, str(value)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude={"duration_s"})
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value):
        names = [f.name for f in fields(value) if f.name not in _OWN]
        return {name: _plain(getattr(value, name)) for name in names}
    if isinstance(value, list | tuple):
        return sorted((_plain(v) for v in value), key=repr)
    return value
