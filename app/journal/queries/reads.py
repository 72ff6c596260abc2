"""Reading the journal, for people: one run as a tree, and the lists that the CLI prints."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Text, cast, func, select

from app.journal.queries.progress import progresses
from app.journal.queries.reasons import COLUMNS, joined, why
from app.journal.queries.sessions import waited_for
from app.journal.schema.heads import HEAD_OF_OUTCOME, OUTCOME_WITHOUT_VALUE
from app.journal.schema.heads import read as read_head
from app.journal.schema.models import Agent, Call, Event, Run, Step
from app.journal.schema.sealed import event_shown, sealed_by
from celery_agents import names
from celery_agents.contracts.ask import CAPS
from celery_agents.contracts.compensation import compensation_id
from celery_agents.contracts.outcome import State
from celery_agents.contracts.watching import MemberProgress
from celery_agents.sealing import shown_value

#: A tree of more steps than this is cut in what is shown, to so many.
TREE_LIMIT, SHOWN_OF_LARGE = 1_000, 200


_OUTCOME = cast(Step.outcome, Text)


def has_step(connection: Connection, step_id: str) -> bool:
    """Return whether the step has a row."""
    return connection.execute(select(Step.id).where(Step.id == step_id)).first() is not None


def run_tree(connection: Connection, run_id: str, *, values: bool = False) -> dict[str, Any] | None:
    """A run with its steps in order, and why those that are open wait; None when there is none.

    ``progress`` says how far steps with members are. With ``values``, of each step that has ended
    its answer too.
    """
    is_large = _is_large(connection, run_id)
    steps = _upper(connection, run_id) if is_large else _all(connection, run_id)
    if not steps:
        return None
    progress = progresses(connection, [s.id for s in steps])
    run = connection.execute(
        select(Run.state, Run.created_at, Run.finished_at, Run.usage).where(Run.id == run_id)
    ).first()
    root = next((s for s in steps if s.id == run_id), steps[0])
    told = [told_of(s) for s in steps]
    if values:
        found = answers(connection, [s.id for s in steps])
        told = [{**step, "value": found.get(step["id"])} for step in told]
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
        "steps_left_out": _count(connection, root, progress) - len(steps) if is_large else 0,
        "progress": [p.told() for p in progress],
    }


def _asked(connection: Connection, root_id: str) -> dict[str, Any]:
    """The session and the bounds that a run was asked for with."""
    payload = connection.execute(select(Step.payload).where(Step.id == root_id)).scalar_one()
    return asked_with(payload.get("kwargs", {}))


def asked_with(options: dict[str, Any]) -> dict[str, Any]:
    """The session and the bounds among the options of a run."""
    given = {name: options[name] for name in CAPS if options.get(name) is not None}
    return {"session": options.get("session"), "bounds": given}


def answers(
    connection: Connection, step_ids: Sequence[str], *, most: int | None = None
) -> dict[str, Any]:
    """The values of these steps; of those only whose outcome takes so many characters at most."""
    query = select(Step.id, _OUTCOME).where(Step.id.in_(step_ids))
    if most is not None:
        query = query.where(func.length(_OUTCOME) <= most)
    seals = sealed_by(connection)
    return {
        step_id: shown_value(seals, json.loads(outcome) if outcome else None, step_id)
        for step_id, outcome in connection.execute(query)
    }


#: What is told of a step, with why it does not go on.
SHOWN = joined(
    select(
        Step.id,
        Step.parent_id,
        Step.member,
        Step.task,
        Step.agent,
        Step.state,
        Step.attempts,
        Step.error,
        Step.created_at,
        Step.started_at,
        Step.finished_at,
        Step.tenant,
        Step.queue,
        OUTCOME_WITHOUT_VALUE.label("outcome"),
        HEAD_OF_OUTCOME.label("head"),
        *COLUMNS,
    )
)


def _is_large(connection: Connection, run_id: str) -> bool:
    """Return whether a run has more steps than are shown; no more of them are counted."""
    some = select(Step.id).where(Step.run_id == run_id).limit(TREE_LIMIT + 1).subquery()
    found: int = connection.execute(select(func.count()).select_from(some)).scalar_one()
    return found > TREE_LIMIT


def _all(connection: Connection, run_id: str) -> list[Any]:
    query = SHOWN.where(Step.run_id == run_id).order_by(Step.created_at, Step.position)
    return list(connection.execute(query.limit(TREE_LIMIT)))


def _upper(connection: Connection, run_id: str) -> list[Any]:
    """The steps of a large run from its root downwards, level by level: the others are not read."""
    most = min(SHOWN_OF_LARGE, TREE_LIMIT)
    level = list(connection.execute(SHOWN.where(Step.id == run_id)))
    found = [*level]
    while level and len(found) < most:
        # Chosen first, by an index: joined with what their reasons need, all would be sorted.
        below = select(Step.id).where(Step.parent_id.in_([row.id for row in level]))
        some = below.order_by(Step.parent_id, Step.position).limit(most - len(found))
        ids = list(connection.execute(some).scalars())
        query = SHOWN.where(Step.id.in_(ids)).order_by(Step.parent_id, Step.position)
        level = list(connection.execute(query))
        found += level
    return found or _all(connection, run_id)


def _count(connection: Connection, root: Any, progress: Sequence[MemberProgress]) -> int:
    """Count the steps of a large run; while it runs, those of a map by its join."""
    if root.finished_at is None and len(progress) == 1 and has_agents(connection, root.id):
        return progress[0].total + 1
    counted = select(func.count()).select_from(Step).where(Step.run_id == root.id)
    return int(connection.execute(counted).scalar_one())


def has_agents(connection: Connection, step_id: str) -> bool:
    """Return whether the members of a step are agents' steps, as those of a map mostly are."""
    first = select(Step.task).where(Step.parent_id == step_id).order_by(Step.position).limit(1)
    return connection.execute(first).scalar() == names.ASK


def _compensation(connection: Connection, run_id: str) -> dict[str, Any] | None:
    """How far the undoing of a failed run is; None where nothing is undone."""
    step_id = compensation_id(run_id)
    row = connection.execute(select(Step.state, Step.outcome).where(Step.id == step_id)).first()
    if row is None:
        return None
    report = shown_value(sealed_by(connection), row.outcome, step_id)
    return {"id": step_id, "state": row.state, "report": report}


def told_of(row: Any) -> dict[str, Any]:
    """Say what a row of ``SHOWN`` is; its answer aside, which is not read for it."""
    outcome = json.loads(row.outcome) if row.outcome else read_head(row.head or "")
    error = outcome.get("error") or row.error
    reason = why(row)
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
        "duration_s": outcome.get("duration_s"),
        "why": reason and reason.text,
        "left_out": outcome.get("left_out", 0),
        "started_at": row.started_at,
        "finished_at": row.finished_at,
    }


def events(connection: Connection, run_id: str) -> list[dict[str, Any]]:
    """Return the events of a run, oldest first, as many as a tree shows."""
    rows = connection.execute(
        select(Event.at, Event.step_id, Event.kind, Event.data)
        .where(Event.run_id == run_id)
        .order_by(Event.id)
        .limit(TREE_LIMIT)
    )
    seals = sealed_by(connection)
    return [event_shown(seals, row) for row in rows]


def agents(connection: Connection) -> list[dict[str, Any]]:
    """Return the agents that workers have offered, by name."""
    rows = connection.execute(select(Agent.__table__).order_by(Agent.name))
    return [dict(row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public name


def step_states(connection: Connection) -> dict[str, int]:
    """How many steps stand in which state."""
    rows = connection.execute(select(Step.state, func.count().label("steps")).group_by(Step.state))
    return {row.state: row.steps for row in rows}


#: Seconds for which an end that is written may be known to nobody: PostgreSQL's time of it is that
#: at which its statement came, and others see it when its commit is done.
COMMIT_S = 1.0


def calls_made_twice(
    connection: Connection, run_ids: Sequence[str] | None = None, *, commit_s: float = COMMIT_S
) -> int:
    """Finished calls that were made again all the same: the number that has to be 0.

    Of all runs, or of these. A call that began within ``commit_s`` of an earlier one's end may not
    have known it: that one was in flight when its claim was lost.
    """
    later = select(Call).subquery("later")
    query = (
        select(func.count())
        .select_from(Call)
        .join(
            later,
            (later.c.step_id == Call.step_id)
            & (later.c.fingerprint == Call.fingerprint)
            & (later.c.token > Call.token)
            # One that thaws may finish its own late.
            & (later.c.started_at > Call.finished_at + commit_s),
        )
        .where(Call.finished_at.is_not(None), Call.error.is_(None))
    )
    if run_ids is not None:
        query = query.join(Step, Step.id == Call.step_id).where(Step.run_id.in_(run_ids))
    return connection.execute(query).scalar_one()


def retries(connection: Connection) -> int:
    """How many failed attempts were followed by another one."""
    return connection.execute(
        select(func.count()).select_from(Event).where(Event.kind == "retry")
    ).scalar_one()
