"""The actors of a journal: telling them something, and what they have answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, bindparam, func, select

from app.concurrency.fibers import blocking, sleep
from app.journal.actors import mailboxes
from app.journal.actors.mailboxes import Mail, Mailed
from app.journal.schema.models import Entry, Step, table
from app.journal.schema.rows import Aftermath
from app.journal.schema.sealed import opened_entry, sealed_by
from app.journal.schema.transactions import in_transaction
from app.journal.steps.anyhow import MESSAGE
from app.journal.stores.flows import told_last
from celery_agents import names
from celery_agents.contracts.flows.actors import ACTOR, CALL_KEY, DEAD, REPLY, actor_run_id
from celery_agents.contracts.flows.entries import ANSWERS, SIGNALS
from celery_agents.contracts.outcome import State
from celery_agents.errors import ActorCycleError, ActorEndedError, RetryableError
from celery_agents.sealing import opened_payload, readable

if TYPE_CHECKING:
    from app.journal.journal import Journal

_S, _E = table(Step).c, table(Entry).c
#: Looks at actors that move meanwhile, and those of a chain of calls.
_LOOKS, _CHAIN = 20, 100
#: Seconds between looks at a circle.
_LOOK_S = 0.05


class _MovingError(RetryableError):
    """Actors moved at each look; the message comes again."""


@dataclass(frozen=True, slots=True)
class ActorStore:
    """Actors are flows; what they are told, and have answered, stands in streams of theirs."""

    journal: Journal

    def post(self, mails: Sequence[Mail]) -> Aftermath:
        """Put messages into mailboxes; see :func:`mailboxes.post`."""
        return self._told(partial(mailboxes.post, mails=mails, rules=self.journal.rules))

    def wake(self, step_id: str) -> Aftermath:
        """Let a step that waits for an answer look for it."""
        rules = self.journal.rules
        return self._told(partial(mailboxes.wake_caller, step_id=step_id, rules=rules))

    def _told(self, give: Callable[[Connection], Mailed]) -> Aftermath:
        after = Aftermath()
        for _ in range(_LOOKS):
            posted = in_transaction(self.journal.engine, give)
            after.add(posted.aftermath)
            if not posted.again:
                return after
        raise _MovingError("They moved at each look.")

    def answer(self, tenant: str, run_id: str, message_id: str) -> dict[str, Any] | None:
        """The answer of an actor to a message, as ``value`` or ``error``; None: none yet.

        Raises:
            ActorEndedError: it will not answer: it has ended, or does not know the message.
        """
        return self.journal.read(lambda c: _answer(c, tenant, run_id, message_id))

    def refuse_circle(self, step_id: str, waiting: str, target: str) -> None:
        """See that an actor does not wait for one that waits for it; ``step_id`` is its call.

        All of a circle have written that they call before one of them looks, so the last one that
        looks sees it. Of several that look at once the one of the greatest id gives way; another
        one looks again, since that one may have looked before there was a circle.

        Raises:
            ActorCycleError: it does, through others or at once.
            RetryableError: it is not known yet; the message comes again.
        """
        look = partial(_refuse_circle, step_id=step_id, waiting=waiting, target=target)
        for _ in range(_LOOKS):
            if blocking(self.journal.read, look):
                return
            sleep(_LOOK_S)  # a fiber holds no thread meanwhile
        raise _MovingError("One of a circle of actors is still looking.")

    def knows(self, tenant: str, run_id: str, message_id: str) -> bool:
        """Return whether a message stands in an actor's mailbox."""
        return self.journal.read(lambda c: _knows(c, tenant, run_id, message_id))

    def listed(self, tenant: str, actor: str | None, limit: int) -> list[dict[str, Any]]:
        """Actors of a tenant, those of a name or all, the newest first."""
        named = _S.agent.startswith(ACTOR) if actor is None else _S.agent == f"{ACTOR}{actor}"
        query = (
            select(_S.id, _S.state, _S.tenant, _S.payload, _S.created_at, _S.agent)
            .where(_S.tenant == tenant, _S.task == names.FLOW, _S.parent_id.is_(None), named)
            .order_by(_S.created_at.desc(), _S.id)
            .limit(limit)
        )
        return self.journal.read(lambda c: [_shown(c, row) for row in c.execute(query).all()])

    def state(self, tenant: str, actor: str, key: str) -> dict[str, Any] | None:
        """An actor with what it keeps, as it was committed last; None: there is none.

        Raises:
            UnreadableValueError: it cannot be decrypted.
        """
        run_id = actor_run_id(tenant, actor, key)
        query = select(_S.id, _S.state, _S.tenant, _S.payload, _S.created_at, _S.agent).where(
            _S.id == run_id
        )

        def read(connection: Connection) -> dict[str, Any] | None:
            row = connection.execute(query).first()
            return None if row is None else _shown(connection, row)

        if (found := self.journal.read(read)) is None:
            return None
        history = self.journal.flows.history(tenant, run_id)
        kept = (history[0].data.get("value") or {}).get("input") if history else None
        kept = kept or {}
        dues = {key: one[0] for key, one in (kept.get("reminders") or {}).items()}
        return {**found, "value": kept.get("state"), "reminders": dues}

    def dead(self, tenant: str, run_id: str, after: int, limit: int) -> list[dict[str, Any]]:
        """Messages that an actor refused, and why, behind a place."""
        where = (tenant, ANSWERS + run_id)
        query = (
            select(_E.seq, _E.key, _E.data, _E.at)
            .where(_E.tenant == where[0], _E.stream == where[1], _E.kind == DEAD, _E.seq > after)
            .order_by(_E.seq)
            .limit(limit)
        )

        def read(connection: Connection) -> list[dict[str, Any]]:
            seals = sealed_by(connection)
            return [
                {"seq": r.seq, "id": r.key, "at": r.at, **opened_entry(seals, where, r.seq, r.data)}
                for r in connection.execute(query)
            ]

        return self.journal.read(read)


def _answer(
    connection: Connection, tenant: str, run_id: str, message_id: str
) -> dict[str, Any] | None:
    where = (tenant, ANSWERS + run_id)
    query = select(_E.seq, _E.data).where(
        _E.tenant == where[0], _E.stream == where[1], _E.kind == REPLY, _E.key == message_id
    )
    if (row := connection.execute(query).first()) is not None:
        found: dict[str, Any] = opened_entry(sealed_by(connection), where, row.seq, row.data)
        return found
    state = connection.execute(select(_S.state).where(_S.id == run_id)).scalar()
    if state is None or State(state).final:
        raise ActorEndedError("The actor has ended, or nobody has told it anything.")
    if not _knows(connection, tenant, run_id, message_id):
        raise ActorEndedError("The actor does not know the message, or not any more.")
    return None


def _refuse_circle(connection: Connection, step_id: str, waiting: str, target: str) -> bool:
    """Follow who waits for whom, from the target on; False: another one is to decide first."""
    paths, seen, decided = [([target], step_id)], {target}, True
    while paths and len(seen) < _CHAIN:
        path, last = paths.pop()
        for call in connection.execute(_OPEN_CALLS, {"b_parent": path[-1]}):
            to = (call.member or "").removeprefix(CALL_KEY).split("/")[0]
            # One that waits, or did, has looked; of those that look the greatest id gives way.
            looked = call.state == State.WAITING or call.token > 1
            still = last if looked else max(last, call.id)
            if to == waiting and still == step_id:
                raise ActorCycleError.of(_named(connection, [waiting, *path, waiting]))
            decided = decided and to != waiting
            if to and to != waiting and to not in seen:
                seen.add(to)
                paths.append(([*path, to], still))
    return decided


_OPEN_CALLS = select(_S.id, _S.state, _S.token, _S.member).where(
    _S.parent_id == bindparam("b_parent"),
    _S.task == names.CALL,
    _S.member.startswith(CALL_KEY),
    _S.state.in_([State.READY, State.RUNNING, State.WAITING]),
)


def _knows(connection: Connection, tenant: str, run_id: str, message_id: str) -> bool:
    told = select(_E.seq).where(
        _E.tenant == tenant,
        _E.stream == SIGNALS + run_id,
        _E.kind == MESSAGE,
        _E.key == message_id,
    )
    return connection.execute(told).first() is not None


def _named(connection: Connection, chain: Sequence[str]) -> list[str]:
    """The actors of these runs as people call them."""
    query = select(_S.id, _S.payload).where(_S.id.in_(chain))
    rows = {row.id: _who(connection, row) for row in connection.execute(query).all()}
    return ["/".join(rows[one]) if one in rows else one for one in chain]


def _who(connection: Connection, row: Any) -> tuple[str, str]:
    """The name and the key of an actor; of one that cannot be decrypted, why."""
    told = readable(lambda: opened_payload(sealed_by(connection), row.payload, row.id))
    if not isinstance(told, dict):
        return str(told), ""
    return told["args"][0]["actor"], told["args"][0]["key"]


def _shown(connection: Connection, row: Any) -> dict[str, Any]:
    actor, key = _who(connection, row)
    heard, _ = told_last(connection, row.tenant, row.id)
    later = select(func.count()).where(
        _E.tenant == row.tenant,
        _E.stream == SIGNALS + row.id,
        _E.kind == MESSAGE,
        _E.seq > heard,
    )
    return {
        "actor": actor,
        "key": key,
        "run_id": row.id,
        "state": row.state,
        "unread": connection.execute(later).scalar(),
        "created_at": row.created_at,
    }
