"""Reading the journal, for people: one run as a tree, and the lists that the CLI prints."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, func, select

from app.journal.queries.sessions import waited_for
from app.journal.schema.models import Agent, Call, Event, Run, Step
from celery_agents.contracts.ask import CAPS
from celery_agents.contracts.compensation import compensation_id
from celery_agents.contracts.outcome import State

#: A tree of more steps than this is cut in what is shown.
TREE_LIMIT = 1_000


def has_step(connection: Connection, step_id: str) -> bool:
    """Return whether the step has a row."""
    return connection.execute(select(Step.id).where(Step.id == step_id)).first() is not None


def run_tree(connection: Connection, run_id: str, *, values: bool = False) -> dict[str, Any] | None:
    """A run with its steps in order, their calls counted; None when there is no such run.

    With ``values``, of each step that has ended its answer too.
    """
    steps = connection.execute(
        select(Step)
        .with_only_columns(
            Step.id,
            Step.parent_id,
            Step.member,
            Step.task,
            Step.agent,
            Step.state,
            Step.attempts,
            Step.outcome,
            Step.error,
            Step.created_at,
            Step.started_at,
            Step.finished_at,
            Step.tenant,
            Step.queue,
        )
        .where(Step.run_id == run_id)
        .order_by(Step.created_at, Step.position)
        .limit(TREE_LIMIT)
    ).all()
    if not steps:
        return None
    run = connection.execute(
        select(Run.state, Run.created_at, Run.finished_at, Run.usage).where(Run.id == run_id)
    ).first()
    root = next((s for s in steps if s.id == run_id), steps[0])
    told = [_step(s, values=values) for s in steps]
    if root.state == State.READY and (turn := waited_for(connection, run_id)) is not None:
        told[steps.index(root)]["waits_for"] = turn
    return {
        "id": run_id,
        "task": root.task,
        "tenant": root.tenant,
        **_asked(connection, root.id),
        "state": root.state,
        "created_at": run.created_at if run else root.created_at,
        "finished_at": run.finished_at if run else root.finished_at,
        "usage": run.usage if run else None,
        "compensation": _compensation(connection, run_id),
        "steps": told,
        "steps_left_out": _left_out(connection, run_id, len(steps)),
    }


def _asked(connection: Connection, root_id: str) -> dict[str, Any]:
    """The session and the bounds that a run was asked for with."""
    payload = connection.execute(select(Step.payload).where(Step.id == root_id)).scalar_one()
    options = payload.get("kwargs", {})
    given = {name: options[name] for name in CAPS if options.get(name) is not None}
    return {"session": options.get("session"), "bounds": given}


def _left_out(connection: Connection, run_id: str, shown: int) -> int:
    """How many steps are not shown; they are counted only where there may be some."""
    if shown < TREE_LIMIT:
        return 0
    counted = select(func.count()).select_from(Step).where(Step.run_id == run_id)
    return connection.execute(counted).scalar_one() - shown


def _compensation(connection: Connection, run_id: str) -> dict[str, Any] | None:
    """How far the undoing of a failed run is; None where nothing is undone."""
    step_id = compensation_id(run_id)
    row = connection.execute(select(Step.state, Step.outcome).where(Step.id == step_id)).first()
    if row is None:
        return None
    return {"id": step_id, "state": row.state, "report": (row.outcome or {}).get("value")}


def _step(row: Any, *, values: bool) -> dict[str, Any]:
    outcome = row.outcome or {}
    error = outcome.get("error") or row.error
    told = {"value": outcome.get("value")} if values else {}
    return {
        "id": row.id,
        "parent_id": row.parent_id,
        "member": row.member,
        "task": row.task,
        "agent": row.agent,
        "state": row.state,
        "queue": row.queue,
        "attempts": row.attempts or outcome.get("attempts", 0),
        "error": error and {"kind": error["kind"], "message": error["message"]},
        "usage": outcome.get("usage"),
        "left_out": outcome.get("left_out", 0),
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        **told,
    }


def events(connection: Connection, run_id: str) -> list[dict[str, Any]]:
    """Return the events of a run, oldest first, as many as a tree shows."""
    rows = connection.execute(
        select(Event.at, Event.step_id, Event.kind, Event.data)
        .where(Event.run_id == run_id)
        .order_by(Event.id)
        .limit(TREE_LIMIT)
    )
    return [dict(row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public name


def agents(connection: Connection) -> list[dict[str, Any]]:
    """Return the agents that workers have offered, by name."""
    rows = connection.execute(select(Agent.__table__).order_by(Agent.name))
    return [dict(row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public name


def step_states(connection: Connection) -> dict[str, int]:
    """How many steps stand in which state."""
    rows = connection.execute(select(Step.state, func.count().label("steps")).group_by(Step.state))
    return {row.state: row.steps for row in rows}


def calls_made_twice(connection: Connection) -> int:
    """Finished calls that were made again all the same: the number that has to be 0."""
    later = select(Call).subquery("later")
    return connection.execute(
        select(func.count())
        .select_from(Call)
        .join(
            later,
            (later.c.step_id == Call.step_id)
            & (later.c.fingerprint == Call.fingerprint)
            & (later.c.token > Call.token)
            & (later.c.started_at > Call.finished_at),  # one that thaws may finish its own late
        )
        .where(Call.finished_at.is_not(None), Call.error.is_(None))
    ).scalar_one()


def retries(connection: Connection) -> int:
    """How many failed attempts were followed by another one."""
    return connection.execute(
        select(func.count()).select_from(Event).where(Event.kind == "retry")
    ).scalar_one()
