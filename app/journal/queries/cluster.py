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
    running = dict(
        connection.execute(
            select(Step.worker_id, func.count()).where(_in(State.RUNNING)).group_by(Step.worker_id)
        ).all()
    )
    oldest = select(now() - func.min(Step.ready_at)).where(_OPEN["ready"])
    asked = asking_steps().subquery()
    asking = select(func.count(), now() - func.min(asked.c.created_at))
    letters = select(func.count()).select_from(DeadLetter)
    dead = select(func.count()).select_from(Step).where(_in(State.DEAD))
    waiting, waits_s = connection.execute(asking).one()
    workers = tuple(_workers(connection, running))
    return Cluster(
        workers=workers,
        slots=sum(worker.slots or 0 for worker in workers if worker.lease_left_s > 0),
        **{name: _count(connection, _OPEN[name]) for name in ("ready", "later", "unsettled")},
        asking=waiting,
        oldest_asking_s=waits_s,
        running=sum(running.values()),
        oldest_ready_s=connection.execute(oldest).scalar(),
        dead_letters=connection.execute(letters).scalar_one()
        + connection.execute(dead).scalar_one(),
    )


def _in(state: State) -> ColumnElement[bool]:
    return Step.state == literal_column(f"'{state}'")


#: Steps that there are few of, by what they wait for: each has a partial index.
_OPEN = {
    "ready": _in(State.READY) & (Step.ready_at <= now()),
    "later": _in(State.READY) & (Step.ready_at > now()),
    "running": _in(State.RUNNING),
    "unsettled": ~Step.settled & Step.finished_at.is_not(None),
}


def live(connection: Connection, tenant: str | None) -> dict[str, int]:
    """How many steps are ready and running, of a tenant or of all."""
    whose = [] if tenant is None else [Step.tenant == tenant]
    return {name: _count(connection, _OPEN[name], *whose) for name in ("ready", "running")}


def _count(connection: Connection, *which: ColumnElement[bool]) -> int:
    query = select(func.count()).select_from(Step).where(*which)
    return int(connection.execute(query).scalar_one())


def _workers(connection: Connection, running: dict[Any, int]) -> list[ServingWorker]:
    rows = connection.execute(
        select(
            *(Worker.id, Worker.name, Worker.host, Worker.pid, Worker.started_at),
            *(Worker.offers, Worker.memory_bytes, Worker.cores),
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
            slots=(row.offers or {}).get("slots"),
            memory_bytes=row.memory_bytes,
            cores=row.cores,
        )
        for row in rows
    ]
