"""Behind a run's tree: its calls, the ballots of its votes, the answers of its steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Text, cast, func, select

from app.journal.queries import reads
from app.journal.schema.models import Call, Step
from app.journal.schema.sealed import sealed_by
from celery_agents import names
from celery_agents.contracts.outcome import State
from celery_agents.redaction.cleaning import clean
from celery_agents.sealing import shown_value

#: Calls, votes and answers that are shown of a run at the most, and characters of each text.
CALLS_MAX, VOTES_MAX, ANSWERS_MAX, TEXT_MAX = 1_000, 20, 100, 2_000
#: An answer whose outcome takes more characters is not read.
ANSWER_CHARACTERS = 200_000

_OUTCOME = cast(Step.outcome, Text)
#: Of a decision; its ballots come beside these.
_DECIDED = (
    *("option", "decided_by", "rule", "stopped_by", "deadlock", "consensus", "tally"),
    *("samples_used", "samples_saved", "saved_cost_usd", "reason", "ballots"),
)


def run_details(
    connection: Connection, run_id: str, *, answers: bool = False
) -> dict[str, Any] | None:
    """A run's tree with all that is told of it; None when there is none.

    Texts of models are redacted; ``answers`` are read only where they are asked for.
    """
    tree = reads.run_tree(connection, run_id)
    if tree is None:
        return None
    steps = tree["steps"]
    votes = [s["id"] for s in steps if s["task"] == names.VOTE and s["state"] == State.SUCCEEDED]
    told = {
        **tree,
        "events": reads.events(connection, run_id),
        "calls": _calls(connection, [s["id"] for s in steps]),
        "votes": _votes(connection, votes[:VOTES_MAX]),
    }
    if answers:
        ended = [s["id"] for s in steps if s["state"] == State.SUCCEEDED]
        told["answers"] = _values(connection, ended[:ANSWERS_MAX])
    return told


def _calls(connection: Connection, step_ids: Sequence[str]) -> list[dict[str, Any]]:
    rows = connection.execute(
        select(
            *(Call.step_id, Call.seq, Call.token, Call.name, Call.started_at, Call.finished_at),
            *(Call.cost_usd, Call.error),
        )
        .where(Call.step_id.in_(step_ids))
        .order_by(Call.started_at)
        .limit(CALLS_MAX)
    )
    return [
        {
            "step_id": row.step_id,
            "attempt": row.token,
            "name": row.name,
            "started_at": row.started_at,
            "finished_at": row.finished_at,
            "cost_usd": row.cost_usd,
            "error": row.error and {"kind": row.error["kind"], "message": row.error["message"]},
        }
        for row in rows
    ]


def _votes(connection: Connection, step_ids: Sequence[str]) -> dict[str, Any]:
    return {
        step_id: {name: value[name] for name in _DECIDED if name in value}
        for step_id, value in _values(connection, step_ids).items()
        if isinstance(value, dict)
    }


def _values(connection: Connection, step_ids: Sequence[str]) -> dict[str, Any]:
    if not step_ids:
        return {}
    rows = connection.execute(
        select(Step.id, _OUTCOME).where(
            Step.id.in_(step_ids), func.length(_OUTCOME) <= ANSWER_CHARACTERS
        )
    )
    seals = sealed_by(connection)
    return {
        step_id: clean(shown_value(seals, json.loads(outcome), step_id), limit=TEXT_MAX)
        for step_id, outcome in rows
    }
