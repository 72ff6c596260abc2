"""Webhooks in the journal: a run that ends gets a step that tells somebody.

Who is to be told stands in the row of the run's root, with what else follows it: no other row is
looked at, and no statement more is sent for a run without one. The step (task ``agents.webhook``)
belongs to the run but hangs below nothing, as the one that undoes it does; its row is written in
the transaction that ends the root, so of both there is neither or each. Its id is drawn, so that
nobody can take it beforehand, and is what receivers know the event by. A root that is requeued and
ends again has another one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, bindparam, select

from app.journal.schema.engine import read_clock
from app.journal.schema.models import Step, table
from app.journal.schema.new_steps import INHERITED, row_of
from app.journal.schema.rows import NewStep, Wake
from app.journal.schema.upsert import insertion
from celery_agents import names
from celery_agents.contracts.outcome import Outcome
from celery_agents.contracts.policies import DELIVERY, Webhook
from celery_agents.values import KNOWN
from celery_agents.wire.ids import new_id

_S = table(Step).c


@dataclass(frozen=True, slots=True)
class EndedRoot:
    """A root that has ended, with what follows it."""

    run_id: str
    outcome: Outcome
    envelope: Mapping[str, Any]


def follow_ends(
    connection: Connection, ended: Sequence[EndedRoot], wake_grace_s: float
) -> dict[str, Wake]:
    """Make the steps that tell of these ends; returns their messages by their runs."""
    told = {
        t.run_id: (webhook, t.outcome)
        for t in ended
        if (given := t.envelope.get("webhook")) is not None
        and t.outcome.state in (webhook := Webhook.model_validate(given, context=KNOWN)).on
    }
    if not told:
        return {}
    at = read_clock(connection)
    roots = connection.execute(_ROOTS, {"b_ids": sorted(told)})
    new = {root.id: _step(root, *told[root.id], at) for root in roots}
    rows = [row_of(step, at, wake_grace_s) for step in new.values()]
    connection.execute(insertion(connection.dialect.name, Step), rows)
    return {run_id: step.wake() for run_id, step in new.items()}


_ROOTS = select(_S.id, _S.task, _S.agent, *(_S[name] for name in INHERITED)).where(
    _S.id.in_(bindparam("b_ids", expanding=True))
)


def _step(root: Any, webhook: Webhook, outcome: Outcome, at: float) -> NewStep:
    error = outcome.error
    data = {
        "id": root.id,
        "state": outcome.state.value,
        "task": root.task,
        "agent": root.agent,
        "tenant": root.tenant,
        "usage": outcome.usage.compact(),
        "error": error and {"kind": error.kind, "message": error.message},
    }
    event = {
        "type": f"run.{outcome.state.value}",
        "timestamp": datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds"),
        "data": data,
    }
    return NewStep(
        id=new_id(),
        task=names.WEBHOOK,
        payload={"args": [], "kwargs": {"to": webhook.compact(), "event": event}},
        max_attempts=DELIVERY.max_attempts,
        **{name: getattr(root, name) for name in INHERITED},
    )
