"""The rows of runs that have ended, as traces are made of them.

Values are read where content is to be told, and no longer ones than are told anyway. Encrypted ones
are opened with the keys that there are; one that cannot be is left out, and counted.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Text,
    case,
    cast,
    func,
    literal,
    literal_column,
    null,
    select,
)

from app.journal.schema.engine import as_json
from app.journal.schema.heads import HEAD_OF_OUTCOME, OUTCOME_WITHOUT_VALUE
from app.journal.schema.models import Call, Event, Step
from app.journal.schema.sealed import opened_answer, sealed_by
from celery_agents.errors import UnreadableValueError
from celery_agents.names import ASK, TRACE
from celery_agents.noted import note
from celery_agents.sealing import MARK, Seals, opened_outcome, opened_payload
from celery_agents.traces import TraceParent

log = logging.getLogger(__name__)

#: Characters of a payload in which the caller's span stands, where there is one.
_HEAD = 200
_CALLER = re.compile(rf'\{{\s*"{TRACE}"\s*:\s*"([^"]+)"')
#: Longer answers of models, and longer contents, are not read.
ANSWER_CHARACTERS, CONTENT_CHARACTERS = 100_000, 200_000
#: Events that are told of a run.
_EVENTS_MAX = 1_000

_PAYLOAD, _OUTCOME, _ANSWER = (
    cast(column, Text) for column in (Step.payload, Step.outcome, Call.answer)
)


@dataclass(slots=True)
class TracedRun:
    """A run's rows."""

    id: str
    caller: TraceParent | None = None
    steps: list[Any] = field(default_factory=list)
    calls: dict[str, list[Any]] = field(default_factory=dict)
    events: dict[str, list[Any]] = field(default_factory=dict)


def sizes(connection: Connection, run_ids: Sequence[str]) -> dict[str, int]:
    """The number of steps of each of these runs, in their order."""
    counted = select(Step.run_id, func.count().label("steps")).where(Step.run_id.in_(run_ids))
    rows = connection.execute(counted.group_by(Step.run_id))
    found = {row.run_id: row.steps for row in rows}
    return {run_id: found[run_id] for run_id in run_ids if run_id in found}


def traced(connection: Connection, run_ids: Sequence[str], *, content: bool) -> list[TracedRun]:
    """The rows of these runs; with ``content``, what was asked and answered too."""
    runs = {run_id: TracedRun(run_id) for run_id in run_ids}
    seals = sealed_by(connection)
    for row in connection.execute(_steps(content=content).where(Step.run_id.in_(run_ids))):
        run = runs[row.run_id]
        run.steps.append(_opened_step(seals, row))
        if row.id == run.id:
            run.caller = caller_in(row.begin)
    of_calls = select(*_CALL, Step.run_id).join(Step, Step.id == Call.step_id)
    for row in connection.execute(of_calls.where(Step.run_id.in_(run_ids)).order_by(*_ORDER)):
        runs[row.run_id].calls.setdefault(row.step_id, []).append(_opened_call(seals, row))
    of_events = select(Event.run_id, Event.step_id, Event.at, Event.kind)
    for row in connection.execute(of_events.where(Event.run_id.in_(run_ids)).order_by(Event.id)):
        told = runs[row.run_id].events.setdefault(row.step_id, [])
        if len(told) < _EVENTS_MAX:
            told.append(row)
    return [run for run in runs.values() if run.steps]


def _opened_step(seals: Seals | None, row: Any) -> Any:
    asked = _opened(row.payload, lambda told: opened_payload(seals, told, row.id))
    ended = _opened(row.outcome, lambda told: opened_outcome(seals, told, row.id))
    return _with(row, payload=asked, outcome=ended)


def _opened_call(seals: Seals | None, row: Any) -> Any:
    def read(told: dict[str, Any]) -> Any:
        return opened_answer(seals, told, row.step_id, row.fingerprint)

    return _with(row, answer=_opened(row.answer, read))


def _opened(text: str | None, read: Callable[[dict[str, Any]], Any]) -> str | None:
    """The text of a column, what is encrypted in it opened; None: it cannot be."""
    if text is None or f'"{MARK}"' not in text:
        return text
    try:
        return as_json(read(json.loads(text)))
    except UnreadableValueError as error:
        lost = "A trace does not tell a value that cannot be decrypted"
        note(log, "traces_unreadable", lost, error=error)
        return None


def _with(row: Any, **texts: str | None) -> Any:
    """A row with these texts in place of its own."""
    if all(getattr(row, name) == text for name, text in texts.items()):
        return row
    return SimpleNamespace(**{**row._mapping, **texts})  # noqa: SLF001 - SQLAlchemy's public name


def caller_of(connection: Connection, run_id: str) -> TraceParent | None:
    """The span of whoever asked for a run."""
    begin = select(_BEGIN).where(Step.id == run_id)
    return caller_in(connection.execute(begin).scalar())


def caller_in(begin: str | None) -> TraceParent | None:
    """Read the caller's span at the beginning of a payload's text."""
    found = _CALLER.match(begin or "")
    return None if found is None else TraceParent.read(found[1])


def session_in(asked: str | None) -> str | None:
    """Read the session in a payload's text: no database looks into JSON (schema/heads.py)."""
    options = json.loads(asked).get("kwargs") if asked else None
    session = options.get("session") if isinstance(options, dict) else None
    return session if isinstance(session, str) else None


def error_of(row: Any) -> dict[str, Any] | None:
    """The error with which a step ended."""
    return json.loads(row.failure).get("error") if row.failure else None


_BEGIN = func.substr(_PAYLOAD, 1, _HEAD, type_=Text)
#: Where a payload may name the session that its run is a part of; it is short enough to be read.
_HAS_SESSION = (
    Step.parent_id.is_(None)
    & (Step.task == literal_column(f"'{ASK}'"))
    & (func.length(_PAYLOAD) <= CONTENT_CHARACTERS)
    & _PAYLOAD.like('%"session"%')
)
_ORDER = (Call.step_id, Call.token, Call.seq)
_CALL = (
    *(Call.step_id, Call.seq, Call.token, Call.name, Call.started_at, Call.finished_at),
    *(Call.cost_usd, Call.error, Call.fingerprint),
    case(
        (Call.name.like("model:%") & (func.length(_ANSWER) <= ANSWER_CHARACTERS), _ANSWER),
        else_=null(),
    ).label("answer"),
)


def _steps(*, content: bool) -> Any:
    def whole(column: ColumnElement[str]) -> ColumnElement[Any]:
        if not content:
            return literal(None)
        return case((func.length(column) <= CONTENT_CHARACTERS, column), else_=null())

    return select(
        *(Step.id, Step.run_id, Step.parent_id, Step.member, Step.task, Step.agent, Step.state),
        *(Step.attempts, Step.tenant, Step.created_at, Step.started_at, Step.finished_at),
        case((Step.parent_id.is_(None), _BEGIN), else_=null()).label("begin"),
        case((_HAS_SESSION, _PAYLOAD), else_=null()).label("asked"),
        HEAD_OF_OUTCOME.label("head"),
        OUTCOME_WITHOUT_VALUE.label("failure"),
        whole(_PAYLOAD).label("payload"),
        whole(_OUTCOME).label("outcome"),
    ).order_by(Step.created_at, Step.position, Step.id)
