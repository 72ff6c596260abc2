"""Signals: what somebody tells a flow that is under way, and that it is to end.

A signal that is taken stands in the flow's stream of them, and is told in its turn. One that comes
when the flow has ended is refused, so that none is lost without a word: the row of the flow is held
while that is decided, and its end needs the row too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, select

from app.journal.schema import locks
from app.journal.schema.models import Step, table
from app.journal.schema.rows import Aftermath, NewEntry
from app.journal.schema.transactions import in_transaction
from app.journal.steps import joins
from app.journal.steps.anyhow import CANCEL, SIGNAL
from app.journal.steps.entries import append, knows
from app.journal.steps.finishes import event
from celery_agents import names
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.flows.entries import SIGNALS
from celery_agents.contracts.flows.history import SignalReply
from celery_agents.contracts.outcome import State

_S = table(Step).c
#: A flow that moves at each look is under way; what it is told comes again.
_LOOKS = 20


@dataclass(slots=True)
class Signalled:
    """The answer to a signal, and whom to wake; ``again``: the flow moved, look anew."""

    reply: SignalReply
    aftermath: Aftermath
    again: bool = False
    run_id: str = ""


def told(engine: Engine, give: Callable[[Connection], Signalled]) -> Signalled:
    """Tell a flow something, looking anew where it has moved meanwhile."""
    for _ in range(_LOOKS):
        found = in_transaction(engine, give)
        if not found.again:
            break
    return found


def signal(
    connection: Connection,
    step_id: str,
    what: tuple[str, JsonValue],
    key: str,
    rules: joins.Rules,
    *,
    tenant: str | None = None,
) -> Signalled:
    """Give a flow a signal, if it is of this tenant; one of the same id is the same, said again."""
    owner = select(_S.tenant).where(_S.id == step_id)
    if tenant is not None and connection.execute(owner).scalar() != tenant:
        return Signalled("unknown", Aftermath())
    said = _Said(SIGNAL, {"name": what[0], "value": what[1]}, key)
    return _give(connection, step_id, said, rules)


def ask_to_end(connection: Connection, step_id: str, rules: joins.Rules) -> Signalled:
    """Tell a flow that it is cancelled: it ends itself, after what its code does then.

    One that nobody has begun with is ``unknown``: it has nothing to clean up.
    """
    begun = connection.execute(select(_S.token).where(_S.id == step_id)).scalar()
    if not begun:
        return Signalled("unknown", Aftermath())
    found = _give(connection, step_id, _Said(CANCEL, {}, CANCEL), rules)
    if found.reply == "taken":
        connection.execute(event(found.run_id, step_id, "cancel", {}))
    return found


class _Said(NamedTuple):
    """An entry for a flow's stream of signals."""

    kind: str
    data: dict[str, Any]
    key: str


def _give(connection: Connection, step_id: str, said: _Said, rules: joins.Rules) -> Signalled:
    found = select(_S.state, _S.run_id, _S.tenant, _S.task).where(_S.id == step_id)
    row = connection.execute(found).first()
    if row is None:
        return Signalled("unknown", Aftermath())
    if row.task != names.FLOW:  # one that was cancelled before anybody had its row is of no task
        return Signalled("too_late" if State(row.state).final else "unknown", Aftermath())
    held = locks.lock(connection, [(step_id, row.run_id)])
    row = connection.execute(found.with_for_update(key_share=True)).first()
    if row is None:
        return Signalled("unknown", Aftermath())
    is_young = row.state == State.WAITING and step_id not in held  # its join, than our locks
    if is_young and not locks.lock_free(connection, [step_id]):
        return Signalled("unknown", Aftermath(), again=True)
    entry = NewEntry(row.tenant, SIGNALS + step_id, *said, row.run_id)
    if State(row.state).final:
        return Signalled(_late(connection, entry), Aftermath())
    after = Aftermath()
    if row.state == State.WAITING:
        after = joins.fire(connection, step_id, rules)
    (placed,) = append(connection, [entry])
    return Signalled("known" if placed.known else "taken", after, run_id=row.run_id)


def _late(connection: Connection, entry: NewEntry) -> SignalReply:
    """Say of a signal to a flow that has ended whether it was taken before."""
    return "known" if knows(connection, entry) else "too_late"
