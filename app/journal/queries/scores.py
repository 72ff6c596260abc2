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


def said(connection: Connection, run_id: str, kind: str) -> list[dict[str, Any]]:
    """Read what people have said of a run, the first one first."""
    query = select(Event.data).where(Event.run_id == run_id, Event.kind == kind)
    return [data for data in connection.execute(query.order_by(Event.id)).scalars() if data]


def add(connection: Connection, run_id: str, kind: str, data: dict[str, Any]) -> None:
    """Note what somebody says of a run."""
    connection.execute(event(run_id, run_id, kind, data))


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
