"""Telling actors something: the row of one that nobody has told anything is made with it.

Messages stand in the stream of what a flow is sent, in their order, each of an id once. Lock order:
as that of signals (app/journal/steps/signals.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, select

from app.journal.schema import locks
from app.journal.schema.engine import read_clock
from app.journal.schema.models import Entry, Join, Step, table
from app.journal.schema.new_steps import row_of
from app.journal.schema.rows import Aftermath, NewEntry, NewStep
from app.journal.schema.sealed import opened_entry, sealed_by, sealed_step
from app.journal.steps import joins
from app.journal.steps.anyhow import MESSAGE
from app.journal.steps.entries import append, there
from app.journal.steps.inserts import insert_steps
from celery_agents import names
from celery_agents.contracts.flows.entries import SIGNALS
from celery_agents.contracts.outcome import State
from celery_agents.errors import ActorEndedError, IdInUseError

_S, _J, _E = table(Step).c, table(Join).c, table(Entry).c


class MailboxEntry(NamedTuple):
    """A message as a mailbox has it, under its id."""

    id: str
    data: dict[str, Any]


@dataclass(slots=True)
class Mail:
    """Messages for one actor, with the row that it gets if it is not there."""

    new: NewStep
    messages: list[MailboxEntry]


@dataclass(slots=True)
class Mailed:
    """The outcome of telling actors something: whom to wake; ``again``: one moved, look anew."""

    aftermath: Aftermath = field(default_factory=Aftermath)
    again: bool = False


def post(connection: Connection, mails: Sequence[Mail], rules: joins.Rules) -> Mailed:
    """Put messages into the mailboxes of actors; those that were there before are left.

    Raises:
        ActorEndedError: an actor has ended; nothing is told.
        IdInUseError: a message of that id was another one, or a run that is no actor has an
            actor's id; nothing is told.
    """
    mails = sorted(mails, key=lambda mail: mail.new.id)
    posted = Mailed()
    before = _states(connection, mails)
    if new := [mail.new for mail in mails if mail.new.id not in before]:
        _make(connection, new, rules, posted)
    held = locks.lock(connection, [(mail.new.id, mail.new.id) for mail in mails])
    locks.lock_steps(connection, [mail.new.id for mail in mails])
    states, entries = _states(connection, mails), list[NewEntry]()
    young = {one for one, state in states.items() if state == State.WAITING} - held
    if len(states) < len(mails) or (young and locks.lock_free(connection, young) != young):
        posted.again = True  # one is gone, or has begun to wait since and is held by somebody
        return posted
    told, waiting = _unknown(connection, mails), list[str]()
    for mail in mails:
        state = states[mail.new.id]
        new_ones = told[mail.new.id]
        if new_ones and State(state).final:
            raise ActorEndedError("The actor has ended: it takes no messages up any more.")
        entries += new_ones
        if new_ones and state == State.WAITING:
            waiting.append(mail.new.id)
    if waiting:
        _wake(connection, waiting, rules, posted)
    if entries:
        append(connection, entries, looked=True)
    return posted


def _unknown(connection: Connection, mails: Sequence[Mail]) -> dict[str, list[NewEntry]]:
    """Of each actor the entries of messages that its mailbox has not yet.

    Raises:
        IdInUseError: one of them was another message.
    """
    told = [
        NewEntry(mail.new.tenant, SIGNALS + mail.new.id, MESSAGE, m.data, m.id, mail.new.id)
        for mail in mails
        for m in mail.messages
    ]
    asked = {(one.tenant, one.stream, one.key): one.data for one in told}
    seals, known = sealed_by(connection), set[tuple[str, str, str | None]]()
    for row in there(connection, told):
        place = (row.tenant, row.stream, row.key)
        before = opened_entry(seals, place[:2], row.seq, row.data)
        if before["value"] != asked[place]["value"]:
            raise IdInUseError.of(row.key)
        known.add(place)
    found: dict[str, list[NewEntry]] = {mail.new.id: [] for mail in mails}
    for one in told:
        if (one.tenant, one.stream, one.key) not in known:
            found[str(one.run_id)].append(one)
    return found


def _states(connection: Connection, mails: Sequence[Mail]) -> dict[str, str]:
    """The states of actors that are there.

    Raises:
        IdInUseError: a run that is no actor has the id of one.
    """
    wanted = {mail.new.id: mail.new for mail in mails}
    query = select(_S.id, _S.state, _S.task, _S.agent, _S.tenant).where(_S.id.in_(wanted))
    found = dict[str, str]()
    for row in connection.execute(query):
        new = wanted[row.id]
        if (row.task, row.agent, row.tenant) != (new.task, new.agent, new.tenant):
            raise IdInUseError.of(row.id)
        found[row.id] = row.state
    return found


def _make(
    connection: Connection, new: Sequence[NewStep], rules: joins.Rules, posted: Mailed
) -> None:
    """Make the rows of actors that are not there."""
    at, seals = read_clock(connection), sealed_by(connection)
    sealed = [sealed_step(seals, one) for one in new]
    made = insert_steps(connection, [row_of(one, at, rules.wake_grace_s) for one in sealed])
    posted.aftermath.wakes += [one.wake() for one in sealed if one.id in made]


def _wake(
    connection: Connection, step_ids: Sequence[str], rules: joins.Rules, posted: Mailed
) -> None:
    """Let actors take messages up, but those that are amid one: these look when that is done."""
    busy = {*connection.execute(_BUSY, {"b_ids": step_ids}).scalars()}
    free = [one for one in step_ids if one not in busy]
    posted.aftermath.add(joins.fire_any(connection, free, rules))


_BUSY = select(_J.step_id).where(_J.step_id.in_(bindparam("b_ids", expanding=True)), _J.keep)


def wake_caller(connection: Connection, step_id: str, rules: joins.Rules) -> Mailed:
    """Let a step that waits for an answer look for it; no other step, whoever names it."""
    waits = select(_S.run_id).where(_S.id == step_id, _S.task == names.CALL)
    row = connection.execute(waits).first()
    if row is None:
        return Mailed()
    held = locks.lock(connection, [(step_id, row.run_id)])
    locks.lock_steps(connection, [step_id])
    state = connection.execute(select(_S.state).where(_S.id == step_id)).scalar()
    if state != State.WAITING:
        return Mailed()
    if step_id not in held and not locks.lock_free(connection, [step_id]):
        return Mailed(again=True)  # it has begun to wait since, and is held by somebody
    return Mailed(joins.fire(connection, step_id, rules))
