"""Workers and their leases. A worker's one lease covers every step that it has claimed.

One row a process, not one a step: two thousand waiting steps cost the same heartbeat as one.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, select, update

from app.concurrency.usage import ProcessUsage
from app.journal.schema.engine import now
from app.journal.schema.locks import lock_steps
from app.journal.schema.models import Duty, Step, Worker, table
from app.journal.schema.upsert import insert_new
from app.journal.tables.agents import MARK
from celery_agents.contracts.outcome import State


@dataclass(frozen=True, slots=True)
class Identity:
    """One process, for as long as it lives."""

    name: str
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    usage: ProcessUsage = field(default_factory=ProcessUsage, compare=False)


@dataclass(frozen=True, slots=True)
class Beat:
    """The journal's answer to a heartbeat: the steps that it counts as ours."""

    alive: bool  # False: the lease had run out and is new from now on
    running: dict[str, int]  # id → token
    cancelled: list[str]
    posted: tuple[int, int] = (0, 0)  # which agents were made over the API; see agents.MARK


def register(connection: Connection, me: Identity, lease_s: float) -> list[str]:
    """Take a lease. Former processes of our name that are gone lose theirs at once.

    Returns the ids of those processes.
    """
    others = connection.execute(
        select(Worker.id, Worker.host, Worker.pid).where(Worker.name == me.name)
    ).all()
    gone = [o.id for o in others if not _still_runs(o.host, o.pid, me)]
    if gone:
        connection.execute(update(Worker).where(Worker.id.in_(gone)).values(lease_until=0.0))
    connection.execute(
        insert_new(connection, Worker).values(
            id=me.id,
            name=me.name,
            host=me.host,
            pid=me.pid,
            started_at=now(),
            lease_until=now() + lease_s,
        )
    )
    # Its row is there already when an earlier try was committed unheard.
    mine = update(Worker).where(Worker.id == me.id)
    connection.execute(mine.values(lease_until=now() + lease_s))
    return gone


#: Of a heartbeat, which each worker has all the time: its statements are put together once.
_IS_MINE = Worker.id == bindparam("b_me")
_HELD = select((Worker.lease_until > now()).label("alive"), *MARK).where(_IS_MINE)
_EXTEND = (
    update(table(Worker))
    .where(_IS_MINE)
    .values(
        lease_until=now() + bindparam("b_lease", type_=Worker.lease_until.type),
        memory_bytes=bindparam("b_memory"),
        cores=bindparam("b_cores"),
    )
)
_RUNNING = select(Step.id, Step.token, Step.cancel_requested).where(
    Step.worker_id == bindparam("b_me"), Step.state == State.RUNNING
)


def _still_runs(host: str, pid: int, me: Identity) -> bool:
    """Return whether another process of our name is alive: two workers may share one by mistake."""
    if host != me.host or pid == me.pid:
        return False  # a name belongs to one host; a container's first process has one pid
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """Return whether a process has ended and only its parent has not noticed.

    Killed children of a dead worker stay so for seconds, and in a container whose first process
    does not reap, for ever.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:  # no Linux, or gone just now
        return False
    return stat.rpartition(")")[2].split()[:1] == ["Z"]


def beat(connection: Connection, me: Identity, lease_s: float) -> Beat:
    """Extend the lease, and say what the process uses; learn what is cancelled."""
    mine = {"b_me": me.id}
    held = connection.execute(_HELD, mine).first()
    if held is None:
        register(connection, me, lease_s)
    else:
        used = me.usage.take()
        about = {"b_lease": lease_s, "b_memory": used.memory_bytes, "b_cores": used.cores}
        connection.execute(_EXTEND, mine | about)
    rows = connection.execute(_RUNNING, mine).all()
    return Beat(
        alive=held is not None and bool(held.alive),
        running={r.id: r.token for r in rows},
        cancelled=[r.id for r in rows if r.cancel_requested],
        posted=(0, 0) if held is None else (held.entries, held.versions),
    )


def give_back(
    connection: Connection,
    me: Identity,
    step_ids: Collection[str],
    tokens: Mapping[str, int] | None = None,
) -> None:
    """Give back steps that are ours by the journal but not by our memory (a lost claim's answer).

    Nobody ran them, so that was no attempt. With ``tokens``, a step that was claimed once more
    since is left alone.
    """
    lock_steps(connection, step_ids)
    for step_id in sorted(step_ids):
        held = (Step.id == step_id) & (Step.worker_id == me.id) & (Step.state == State.RUNNING)
        if tokens is not None:
            held &= Step.token == tokens[step_id]
        connection.execute(update(Step).where(held).values(_RELEASED))


def leave(connection: Connection, me: Identity) -> None:
    """End the lease; steps that still run are ready for others at once."""
    running = (Step.worker_id == me.id) & (Step.state == State.RUNNING)
    lock_steps(connection, connection.execute(select(Step.id).where(running)).scalars())
    connection.execute(update(Step).where(running).values(_RELEASED))
    connection.execute(delete(Worker).where(Worker.id == me.id))


_RELEASED: dict[Any, Any] = {
    Step.state: State.READY,
    Step.worker_id: None,
    Step.attempts: Step.attempts - 1,  # a worker that stops is no fault of the step
    Step.ready_at: now(),
    Step.wake_at: now(),
}


def standing(connection: Connection, worker_id: str) -> tuple[int, int]:
    """The place of a process, from 0, among those that have a lease, and how many these are."""
    before = func.count().filter(Worker.id < worker_id)
    alive = select(before, func.count()).where(Worker.lease_until > now())
    place, living = connection.execute(alive).one()
    return place, living


def take_duty(connection: Connection, name: str, holder: str, lease_s: float) -> bool:
    """Try to take, or keep, the duty for the next ``lease_s`` seconds."""
    wanted = {"b_name": name, "b_holder": holder, "b_lease": lease_s}
    if connection.execute(_TAKE, wanted).rowcount:
        return True
    first = insert_new(connection, Duty).values(name=name, holder=holder, until=now() + lease_s)
    return bool(connection.execute(first).rowcount)


_TAKE = (
    update(table(Duty))
    .where(
        Duty.name == bindparam("b_name"),
        (Duty.until <= now()) | (Duty.holder == bindparam("b_holder")),
    )
    .values(holder=bindparam("b_holder"), until=now() + bindparam("b_lease", type_=Duty.until.type))
)


def duty_left(connection: Connection, name: str) -> float:
    """For how many seconds somebody has the duty still."""
    left = connection.execute(select(Duty.until - now()).where(Duty.name == name)).scalar()
    return max(float(left or 0.0), 0.0)
