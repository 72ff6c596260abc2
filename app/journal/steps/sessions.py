"""Runs that talk in one session, one after the other.

A session's row names the run that holds it. Whoever comes meanwhile gives its step back, to be
woken when the holder ends, and is written down as waiting in the same transaction; so the holder's
end, which locks the session's row first, either sees who waits or comes before. It hands the
session to whoever is next, which nobody can overtake. A message that is lost costs a delay: each
waiting step is looked at now and then, and a holder that has ended holds nothing.

What a holder is told is fixed as it takes the session: an attempt after a crash asks the same.

Lock order: the row of a session comes last, after those of runs (see locks.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from sqlalchemy import Connection, bindparam, delete, insert, or_, select, tuple_, update

from agents.sessions import fitting
from app.journal.schema.engine import now, read_clock
from app.journal.schema.models import Entry, Session, Step, Wait, table
from app.journal.schema.positions import transaction_number
from app.journal.schema.rows import FINAL, Claimed, HeldSession, NewExchange, Unheld, Wake
from app.journal.schema.upsert import insertion
from app.journal.schema.wake_columns import WAKE_COLUMNS, wake_of
from app.journal.writing.operation import Operation
from celery_agents.contracts.flows.entries import SESSION
from celery_agents.contracts.outcome import State

#: The kind of a session's entries.
EXCHANGE = "exchange"
#: Seconds after which a waiting step looks at its session by itself; doubled each time, so often.
LOOK_S, _DOUBLINGS_MAX = 60.0, 5
#: Exchanges that are looked at together.
_PAGE = 500
_S = table(Step).c
_T = table(Session).c
_E = table(Entry).c
_W = table(Wait).c


def stream_of(name: str) -> str:
    """The stream that has the exchanges of a session."""
    return f"{SESSION}{name}"


def name_of(stream: str) -> str:
    """The name of the session whose stream that is."""
    return stream.removeprefix(SESSION)


class HoldSession(Operation[HeldSession | Unheld]):
    """Take a session for a claimed step, or give the step back until it is its turn."""

    order: ClassVar[int] = 40

    def __init__(self, claim: Claimed, name: str, budget: int) -> None:
        super().__init__()
        self.claim = claim
        self.name = name
        self.budget = budget

    @property
    def has_lite(self) -> bool:
        return False

    @property
    def alone(self) -> bool:
        return True

    @classmethod
    def apply(
        cls, connection: Connection, operations: Sequence[HoldSession]
    ) -> list[HeldSession | Unheld]:
        return [o._hold(connection) for o in operations]  # noqa: SLF001

    def _hold(self, connection: Connection) -> HeldSession | Unheld:
        step = connection.execute(_STEP, {"b_id": self.claim.id}).first()
        if step is None or step.state != State.RUNNING or step.token != self.claim.token:
            return Unheld.LOST
        if step.cancel_requested:
            return Unheld.CANCELLED
        about = {"b_tenant": step.tenant, "b_name": self.name}
        session = _locked(connection, about)
        if session.holder != step.id and is_held(connection, session.holder):
            self._wait(connection, step)
            return Unheld.WAITS
        begins = session.begins if session.holder == step.id else None
        if begins is None:
            sizes = _newest_first(connection, step.tenant, self.name)
            begins = session.exchanges - fitting(sizes, self.budget)
            connection.execute(_TAKE, {**about, "b_holder": step.id, "b_begins": begins})
        connection.execute(_LEAVE, {"b_ids": [step.id]})
        return HeldSession(step.tenant, self.name, begins, session.exchanges)

    def _wait(self, connection: Connection, step: Any) -> None:
        """Give the step back: it may be claimed at once, but nobody is told to."""
        at = read_clock(connection)
        look_at = at + LOOK_S * 2 ** min(step.token - 1, _DOUBLINGS_MAX)
        if step.deadline_at is not None:
            look_at = min(look_at, max(step.deadline_at, at))
        values = {
            _S.state: State.READY,
            _S.worker_id: None,
            _S.attempts: _S.attempts - 1,
            _S.ready_at: at,
            _S.wake_at: look_at,
            _S.wakes: 0,
        }
        connection.execute(update(table(Step)).where(_S.id == step.id).values(values))
        waiting = {
            "step_id": step.id,
            "tenant": step.tenant,
            "stream": stream_of(self.name),
            "since": step.created_at,
        }
        connection.execute(insertion(connection.dialect.name, Wait), [waiting])


# Not FOR UPDATE: a call that begins refers to its step, which that would hold up.
_STEP = (
    select(
        *(_S.id, _S.state, _S.token, _S.tenant, _S.cancel_requested, _S.created_at),
        _S.deadline_at,
    )
    .where(_S.id == bindparam("b_id"))
    .with_for_update(key_share=True)
)
_THIS = (_T.tenant == bindparam("b_tenant")) & (_T.name == bindparam("b_name"))
_SESSION = select(_T.holder, _T.begins, _T.exchanges).where(_THIS).with_for_update()
_TAKE = (
    update(table(Session))
    .where(_THIS)
    .values(holder=bindparam("b_holder"), begins=bindparam("b_begins"))
)
_LEAVE = (
    delete(table(Wait))
    .where(_W.step_id.in_(bindparam("b_ids", expanding=True)))
    .returning(_W.tenant, _W.stream)
)
_OPEN = select(_S.id).where(_S.id == bindparam("b_id"), _S.state.not_in(FINAL))


def _locked(connection: Connection, about: Mapping[str, str]) -> Any:
    """Lock the row of a session, made on the way if there is none."""
    found = connection.execute(_SESSION, about).first()
    if found is None:
        at = read_clock(connection)
        row = {
            "tenant": about["b_tenant"],
            "name": about["b_name"],
            "exchanges": 0,
            "created_at": at,
            "changed_at": at,
        }
        connection.execute(insertion(connection.dialect.name, Session), [row])
        found = connection.execute(_SESSION, about).one()
    return found


def is_held(connection: Connection, holder: str | None) -> bool:
    """Return whether a session's holder is under way; read after the lock, its end comes later."""
    return holder is not None and connection.execute(_OPEN, {"b_id": holder}).first() is not None


def _newest_first(connection: Connection, tenant: str, name: str) -> Iterator[int]:
    """Give the tokens of each exchange, read as far as they are asked for."""
    about = {"b_tenant": tenant, "b_stream": stream_of(name), "b_before": None}
    query = _LAST_SIZES
    while rows := connection.execute(query, about).all():
        yield from (row.tokens for row in rows)
        about["b_before"] = rows[-1].seq
        query = _SIZES


_STREAM = (_E.tenant == bindparam("b_tenant")) & (_E.stream == bindparam("b_stream"))
_LAST_SIZES = select(_E.seq, _E.tokens).where(_STREAM).order_by(_E.seq.desc()).limit(_PAGE)
_SIZES = _LAST_SIZES.where(_E.seq < bindparam("b_before"))


def follow_ends(
    connection: Connection, ended: Mapping[str, NewExchange | None], wake_grace_s: float
) -> dict[str, Wake]:
    """Let go of the sessions of roots that ended, each with its exchange if it has one.

    Returns, by the root that held the session, the message for the run that has it now.

    Raises:
        RuntimeError: a run that has an exchange does not hold its session.
    """
    ids = {"b_ids": sorted(ended)}
    if waited := connection.execute(_LEAVE, ids).all():
        # Its turn may just be coming: whoever hands the session on has not seen this end.
        wanted = [(tenant, name_of(stream)) for tenant, stream in waited]
        connection.execute(_LOCK, {**ids, "b_wanted": wanted})
    held = connection.execute(_HELD_BY, ids).all()
    holders = {row.holder for row in held}
    if any(exchange and run_id not in holders for run_id, exchange in ended.items()):
        raise RuntimeError("A run has lost its session.")
    wakes: dict[str, Wake] = {}
    for row in held:
        exchange = ended[row.holder]
        if exchange is not None:
            connection.execute(insert(table(Entry)).values(_entry(row, exchange)))
        heir = connection.execute(
            _NEXT, {"b_tenant": row.tenant, "b_stream": stream_of(row.name)}
        ).scalar()
        connection.execute(
            _HAND_ON if exchange is None else _ADD,
            {"b_tenant": row.tenant, "b_name": row.name, "b_holder": heir},
        )
        if heir is not None:
            wakes[row.holder] = _wake(connection, heir, wake_grace_s)
    return wakes


_SESSIONS = (
    select(_T.tenant, _T.name, _T.exchanges, _T.holder)
    .order_by(_T.tenant, _T.name)
    .with_for_update()
)
_HELD = _T.holder.in_(bindparam("b_ids", expanding=True))
_HELD_BY = _SESSIONS.where(_HELD)
_WANTED = tuple_(_T.tenant, _T.name).in_(bindparam("b_wanted", expanding=True))
_LOCK = _SESSIONS.where(or_(_HELD, _WANTED))
_NEXT = (
    select(_W.step_id)
    .join(table(Step), _S.id == _W.step_id)
    .where(
        _W.tenant == bindparam("b_tenant"),
        _W.stream == bindparam("b_stream"),
        _S.state.not_in(FINAL),
    )
    .order_by(_W.since, _W.step_id)
    .limit(1)
)
_HAND_ON = update(table(Session)).where(_THIS).values(holder=bindparam("b_holder"), begins=None)
_ADD = _HAND_ON.values(exchanges=_T.exchanges + 1, changed_at=now())


def _entry(session: Any, exchange: NewExchange) -> dict[Any, Any]:
    return {
        _E.tenant: session.tenant,
        _E.stream: stream_of(session.name),
        _E.seq: session.exchanges,
        _E.kind: EXCHANGE,
        _E.data: exchange.data,
        _E.tokens: exchange.tokens,
        _E.at: now(),
        _E.run_id: session.holder,
        _E.xid: transaction_number(),
    }


def _wake(connection: Connection, step_id: str, wake_grace_s: float) -> Wake:
    """Return the message of a step whose turn it is; see that a lost one is soon noticed.

    A row that somebody has is not waited for: steps are locked before sessions.
    """
    free = select(_S.id).where(_S.id == step_id, _S.state == State.READY)
    soon = now() + wake_grace_s
    connection.execute(
        update(table(Step))
        .where(_S.id.in_(free.with_for_update(skip_locked=True, key_share=True)))
        .values(wake_at=soon)
    )
    return wake_of(connection.execute(select(*WAKE_COLUMNS).where(_S.id == step_id)).one())
