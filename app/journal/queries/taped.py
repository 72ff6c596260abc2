"""Calls that succeeded, with what they answered: for cassettes of the test kit."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, Row, Select, select

from agents.values import text_of
from app.journal.schema.engine import now, reading
from app.journal.schema.models import Call, Run, Step
from app.journal.schema.sealed import opened_answer, sealed_by
from app.journal.schema.transactions import in_transaction
from celery_agents.contracts.base import Contract, JsonValue
from celery_agents.redaction import MOST, redact
from celery_agents.redaction.cleaning import clean, hidden
from celery_agents.sealing import Seals, opened_payload

#: Characters of an input by which people, and the search for the nearest call, know it.
_SHOWN = 200


class TapedCall(NamedTuple):
    """A call of a step that succeeded."""

    agent: str
    step_id: str
    name: str
    identity: str
    input: Any
    answer: dict[str, Any]


class CassetteLine(Contract):
    """One call."""

    agent: str
    call: str
    identity: str
    #: The beginning of its step's input.
    asked: str
    answer: dict[str, JsonValue]

    @classmethod
    def of(cls, made: TapedCall) -> CassetteLine:
        """A call of a journal, without secrets."""
        told = {n: v if n == "usage" else _told(v) for n, v in made.answer.items()}
        return cls(
            agent=made.agent,
            call=made.name,
            identity=made.identity,
            asked=shown(made.input),
            answer=told,
        )

    def is_of(self, step_id: str, key: str) -> bool:
        """Return whether it is the call of a step that has this key: that is of its identity."""
        return key == str(uuid.uuid5(uuid.NAMESPACE_OID, f"{step_id}/{self.identity}"))


def _told(value: Any) -> Any:
    return clean(value, limit=MOST)


def shown(asked: Any) -> str:
    """The beginning of an input, without secrets."""
    return redact(text_of(hidden(asked)), limit=_SHOWN)


def written(calls: Iterable[TapedCall]) -> str:
    """The text of a cassette."""
    lines = (CassetteLine.of(call).model_dump(mode="json") for call in calls)
    return "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)


class CallTapes:
    """The calls of a journal, as they were made."""

    def __init__(self, engine: Engine) -> None:
        self._engine = reading(engine)

    def clock(self) -> float:
        """The journal's clock."""
        return in_transaction(self._engine, lambda c: float(c.scalar(select(now())) or 0.0))

    def of_run(self, run_id: str) -> list[TapedCall] | None:
        """The calls of a run; None: there is no such run."""
        about = Step.run_id == run_id

        def read(connection: Connection) -> list[TapedCall] | None:
            if connection.scalar(select(Run.id).where(Run.id == run_id)) is None:
                return None
            return _read(connection, _calls().where(about))

        return in_transaction(self._engine, read)

    def since(self, at: float) -> list[TapedCall]:
        """The calls that began since then."""
        query = _calls().where(Call.started_at >= at)
        return in_transaction(self._engine, lambda c: _read(c, query))


def _calls() -> Select[Any]:
    return (
        select(Step.agent, Step.payload, Call.step_id, Call.name, Call.fingerprint, Call.answer)
        .join(Step, Step.id == Call.step_id)
        .where(Call.answer.is_not(None), Call.error.is_(None), Call.finished_at.is_not(None))
        .order_by(Call.started_at, Call.step_id, Call.seq)
    )


def _read(connection: Connection, query: Select[Any]) -> list[TapedCall]:
    seals = sealed_by(connection)
    return [_taped(seals, row) for row in connection.execute(query)]


def _taped(seals: Seals | None, row: Row[Any]) -> TapedCall:
    payload = opened_payload(seals, row.payload, row.step_id)
    args, kwargs = payload.get("args") or [], payload.get("kwargs") or {}
    asked = args[0] if args else kwargs.get("input")
    answer = opened_answer(seals, row.answer, row.step_id, row.fingerprint)
    return TapedCall(row.agent or "", row.step_id, row.name, row.fingerprint, asked, answer)
