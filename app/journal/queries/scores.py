"""Scores that people gave the answers of runs, as events of those."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from app.journal.schema.models import Event, Step
from app.journal.schema.sealed import sealed_by
from app.journal.steps.finishes import event
from app.journal.steps.shared import Wholes
from celery_agents import names
from celery_agents.contracts.outcome import State
from celery_agents.sealing import opened_outcome

SCORED, JUDGED = "scored", "judged"


def solved(connection: Connection, run_id: str) -> dict[str, Any] | None:
    """Read what a run of ``agents.solve`` was asked, if it has succeeded."""
    query = select(Step.payload).where(
        Step.id == run_id,
        Step.run_id == run_id,
        Step.task == names.SOLVE,
        Step.state == State.SUCCEEDED,
    )
    payload = connection.execute(query).scalar()
    return None if payload is None else Wholes(connection)(run_id, None, payload)


def last(connection: Connection, run_id: str) -> float | None:
    """Read the last score of a run; None where none was given."""
    query = select(Event.data).where(Event.run_id == run_id, Event.kind == SCORED)
    data = connection.execute(query.order_by(Event.id.desc()).limit(1)).scalar()
    return None if data is None else float(data["score"])


def add(connection: Connection, run_id: str, score: float) -> None:
    """Note a score."""
    connection.execute(event(run_id, run_id, SCORED, {"score": score}))


def voted(connection: Connection, run_id: str) -> tuple[dict[str, Any], Any, str] | None:
    """Read what a run of ``agents.vote`` was asked, how it decided, and whose it is."""
    query = select(Step.payload, Step.outcome, Step.tenant).where(
        Step.id == run_id,
        Step.run_id == run_id,
        Step.task == names.VOTE,
        Step.state == State.SUCCEEDED,
    )
    if (row := connection.execute(query).first()) is None:
        return None
    payload = Wholes(connection)(run_id, None, row.payload)
    outcome = opened_outcome(sealed_by(connection), row.outcome, run_id)
    return payload, outcome["value"], row.tenant


def verdict(connection: Connection, run_id: str) -> dict[str, Any] | None:
    """Read the last verdict on a run; None where there is none."""
    query = select(Event.data).where(Event.run_id == run_id, Event.kind == JUDGED)
    found: dict[str, Any] | None = connection.execute(
        query.order_by(Event.id.desc()).limit(1)
    ).scalar()
    return found


def judge(connection: Connection, run_id: str, said: dict[str, Any]) -> None:
    """Note a verdict."""
    connection.execute(event(run_id, run_id, JUDGED, said))
