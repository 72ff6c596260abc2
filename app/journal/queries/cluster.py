"""The service as a whole: its workers, and how many steps wait for what, by partial indexes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, func, literal_column, select

from app.journal.queries.reasons import asking_steps
from app.journal.schema.engine import now
from app.journal.schema.models import DeadLetter, Step, Worker
from celery_agents.contracts.outcome import State
from celery_agents.contracts.watching import Cluster, ServingWorker


def cluster(connection: Connection) -> Cluster:
    """All of it that the journal knows; what queues hold is known to Redis."""
    ready = _in(State.READY)
    running = dict(
        connection.execute(
            select(Step.worker_id, func.count()).where(_in(State.RUNNING)).group_by(Step.worker_id)
        ).all()
    )
    counted = {
        "ready": ready & (Step.ready_at <= now()),
        "later": ready & (Step.ready_at > now()),
        "unsettled": ~Step.settled & Step.finished_at.is_not(None),
    }
    oldest = select(now() - func.min(Step.ready_at)).where(counted["ready"])
    asked = asking_steps().subquery()
    asking = select(func.count(), now() - func.min(asked.c.created_at))
    letters = select(func.count()).select_from(DeadLetter)
    dead = select(func.count()).select_from(Step).where(_in(State.DEAD))
    waiting, waits_s = connection.execute(asking).one()
    return Cluster(
        workers=tuple(_workers(connection, running)),
        **{name: _count(connection, which) for name, which in counted.items()},
        asking=waiting,
        oldest_asking_s=waits_s,
        running=sum(running.values()),
        oldest_ready_s=connection.execute(oldest).scalar(),
        dead_letters=connection.execute(letters).scalar_one()
        + connection.execute(dead).scalar_one(),
    )


def _in(state: State) -> ColumnElement[bool]:
    return Step.state == literal_column(f"'{state}'")


def _count(connection: Connection, which: ColumnElement[bool]) -> int:
    query = select(func.count()).select_from(Step).where(which)
    return int(connection.execute(query).scalar_one())


def _workers(connection: Connection, running: dict[Any, int]) -> list[ServingWorker]:
    rows = connection.execute(
        select(
            *(Worker.id, Worker.name, Worker.host, Worker.pid, Worker.started_at),
            (Worker.lease_until - now()).label("left_s"),
        ).order_by(Worker.name, Worker.started_at)
    )
    return [
        ServingWorker(
            name=row.name,
            host=row.host,
            pid=row.pid,
            started_at=row.started_at,
            lease_left_s=row.left_s,
            running=running.get(row.id, 0),
        )
        for row in rows
    ]
