"""Answering steps that wait for a person."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.orm import aliased

from app.journal.schema.engine import now
from app.journal.schema.models import Step
from app.journal.schema.rows import Aftermath
from app.journal.schema.transactions import is_again
from app.journal.schema.wake_columns import wake_columns, wake_of
from app.journal.steps import joins
from app.journal.steps.finishes import event
from app.journal.steps.outcomes import Conclusion, conclude
from celery_agents import names
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.outcome import Outcome, State
from celery_agents.errors import InvalidPayloadError


def approve(
    connection: Connection, run_id: str, choice: JsonValue, rules: joins.Rules
) -> Aftermath:
    """Give a waiting run its answer. The first answer counts; a second one changes nothing.

    Raises:
        InvalidPayloadError: nothing in the run waits for a person, or the choice is not one.
    """
    row = waiting(connection, run_id)
    if row is None and is_again(connection) and (told := _told(connection, run_id, choice)):
        return told
    if row is None:
        raise InvalidPayloadError(f"Nothing in run {run_id} waits for a person.")
    choices = row.payload["args"][0].get("choices")
    option = choice.get("option") if isinstance(choice, dict) else choice
    if choices and option not in choices:
        raise InvalidPayloadError(f"{option!r} is not one of {', '.join(choices)}.")
    outcome = Outcome(
        state=State.SUCCEEDED, value=choice, member=row.member, duration_s=row.elapsed_s
    )
    ending = Conclusion(row.id, None, outcome, row.parent_id, run_id)
    after = conclude(connection, [ending], rules)[0]
    if after.applied:
        connection.execute(event(run_id, row.id, "approved", {"option": option}))
    return after


def _told(connection: Connection, run_id: str, choice: JsonValue) -> Aftermath | None:
    """Return the effects of this very answer if an earlier try gave it; None when none did."""
    parent = aliased(Step)
    row = connection.execute(
        select(Step.outcome, parent.state, *wake_columns(parent))
        .join(parent, parent.id == Step.parent_id)
        .where(Step.run_id == run_id, Step.task == names.APPROVAL, Step.state == State.SUCCEEDED)
        .order_by(Step.finished_at.desc())
    ).first()
    if row is None or row.outcome.get("value") != choice:
        return None
    return Aftermath(wakes=[wake_of(row[2:])] if row.state == State.READY else [])


def waiting(connection: Connection, run_id: str) -> Any:
    """The oldest step of a run that waits for a person; None when there is none."""
    return connection.execute(
        select(
            Step.id,
            Step.parent_id,
            Step.member,
            Step.payload,
            (now() - Step.created_at).label("elapsed_s"),  # since the person was asked
        )
        .where(Step.run_id == run_id, Step.task == names.APPROVAL, Step.state == State.WAITING)
        .order_by(Step.created_at)
    ).first()
