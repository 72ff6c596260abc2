"""The rows of a step's members: one statement makes a thousand of them.

With a parameter for each column of each row, SQLAlchemy and the driver took most of the time of a
large expansion. Here a statement gets what members differ in as arrays (PostgreSQL) or as JSON
(SQLite), and what they have in common once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, TextClause, bindparam, select, text, update

from agents.asking import is_handoff
from agents.plan import Member
from agents.repeats import AskedTurn, about_of, same_turn
from app.journal.schema import parking
from app.journal.schema.engine import as_json, now, read_clock
from app.journal.schema.models import Step, table
from app.journal.schema.new_steps import INHERITED, OF_MEMBERS, insert_into_steps, words
from app.journal.schema.rows import Claimed, derived_id
from app.journal.steps.shared import Lender, Wholes
from celery_agents import names
from celery_agents.contracts.outcome import State
from celery_agents.errors import PayloadTooLargeError
from celery_agents.light import light
from celery_agents.sealing import Seals, sealed_outcome

_S = table(Step).c
#: Rows of one statement: with payloads at their limit it is 256 MiB, as a rule 100 kB.
_AT_ONCE = 1_000


@light(frozen=True, slots=True)
class NewMember:
    """A member under its id, and the text of its payload, without what its parent's has."""

    id: str
    member: Member
    text: str
    #: The payload of the member as a message would have it.
    payload: dict[str, Any]

    def columns(self, position: int) -> tuple[Any, ...]:
        """The values of :data:`app.journal.schema.new_steps.OF_MEMBERS`."""
        m = self.member
        state = (State.WAITING if m.waits else State.READY).value
        told = (m.key, position, m.task, m.agent, self.text, m.max_attempts)
        return (self.id, *told, m.deadline_s, state)


def new_members(
    parent: Claimed, members: Sequence[Member], limit: int | None, seals: Seals | None = None
) -> list[NewMember]:
    """Give members their ids, each once: a join that expected one twice would never complete.

    Raises:
        PayloadTooLargeError: their rows would hold more than ``limit`` bytes together.
    """
    lender = Lender(parent.payload, len(members))
    made = [
        _made(lender, id_, m, seals)
        for id_, m in {derived_id(parent.id, m.key): m for m in members}.items()
    ]
    if limit is not None and (size := sum(len(m.text.encode()) for m in made)) > limit:
        raise PayloadTooLargeError(
            f"The rows of {len(made):,} members would take {size:,} bytes, the limit is {limit:,} "
            "(spread_limit_bytes). Shorten what they are told, or ask fewer at a time."
        )
    return made


def _made(lender: Lender, step_id: str, member: Member, seals: Seals | None) -> NewMember:
    payload = _payload(lender, member)
    if seals is None:
        shown = {"args": [member.input], "kwargs": member.options}
    else:
        payload = shown = seals.seal_payload(payload, step_id)
    return NewMember(step_id, member, as_json(payload), shown)


def _payload(lender: Lender, member: Member) -> dict[str, Any]:
    if member.waits:  # whoever is asked is shown what stands in the row
        return {"args": [member.input], "kwargs": member.options}
    return lender.member(member.input, member.options)


def answered_once(
    connection: Connection, parent: Claimed, wanted: Sequence[NewMember], seals: Seals | None
) -> Sequence[NewMember]:
    """Return the members of a team's step, each with the turn of its run that is asked the same.

    The join of the run's root is held, so two that ask the same at once see each other.
    """
    if parent.payload["kwargs"].get("repeats") is None:
        return wanted
    whole = Wholes(connection)
    rows = connection.execute(_TURNS, {"b_run": parent.run_id}).all()
    turns = [_turn(row, whole(row.id, row.parent_id, row.payload)) for row in rows]
    there = {turn.id for turn in turns}
    made = []
    for new in wanted:
        if not new.member.waits and new.id not in there:
            new = _with_answer(parent, new, turns, seals)  # noqa: PLW2901 - itself, told more
        made.append(new)
    return made


def _turn(row: Any, payload: Mapping[str, Any]) -> AskedTurn:
    same_as = (payload["kwargs"].get("repeats") or {}).get("same_as")
    return AskedTurn(row.id, row.parent_id, about_of(payload), State(row.state), same_as)


def _with_answer(
    parent: Claimed, new: NewMember, turns: list[AskedTurn], seals: Seals | None
) -> NewMember:
    member = new.member
    about = about_of({"args": [member.input], "kwargs": member.options})
    same = None if is_handoff(member.key) else same_turn(about, parent.id, turns)
    turns.append(AskedTurn(new.id, parent.id, about, State.READY, same))
    options = member.options | {"repeats": {} if same is None else {"same_as": same}}
    (made,) = new_members(parent, [member.model_copy(update={"options": options})], None, seals)
    return replace(made, id=new.id)


_TURNS = (
    select(_S.id, _S.parent_id, _S.state, _S.payload)
    .where(_S.run_id == bindparam("b_run"), _S.task == names.ASK)
    .order_by(_S.created_at, _S.id)
)


def insert_members(
    connection: Connection,
    parent: Claimed,
    members: Sequence[NewMember],
    *,
    start: int,
    number: int,
    wake_grace_s: float,
    parked: int = parking.NOBODY,
) -> set[str]:
    """Insert members that are not there yet, at places from ``start`` on, in round ``number``.

    Those at places from ``parked`` on are to wait for their turn. Returns the ids of the new ones.
    """
    dialect = connection.dialect.name
    common = {
        "parent_id": parent.id,
        "round": number,
        "at": read_clock(connection),
        "grace": wake_grace_s,
        "parked": parked,
    }
    made: set[str] = set()
    for first in range(0, len(members), _AT_ONCE):
        some = members[first : first + _AT_ONCE]
        rows = [m.columns(start + first + place) for place, m in enumerate(some)]
        values = {**common, **_GIVEN[dialect](rows)}
        made.update(connection.execute(_INSERTIONS[dialect], values).scalars())
    return made


def end_members(connection: Connection, made: Sequence[NewMember], seals: Seals | None) -> None:
    """End those new members that have ended in an earlier run: no round counts them."""
    ended = [
        {
            "b_id": new.id,
            "b_state": end.state,
            "b_outcome": sealed_outcome(seals, end, new.id).compact(),
        }
        for new in made
        if (end := new.member.ended) is not None
    ]
    if ended:
        connection.execute(_END, ended)


_END = (
    update(table(Step))
    .where(_S.id == bindparam("b_id"))
    .values(
        state=bindparam("b_state"),
        outcome=bindparam("b_outcome", type_=_S.outcome.type),
        finished_at=now(),
        settled=True,
        round=0,
    )
)


def _insertion(own: dict[str, str], source: str, *, cast: bool) -> TextClause:
    """The statement, with a database's words for what members differ in."""
    row = words(
        own | {name: f"p.{name}" for name in INHERITED},
        at=parking.parked(":at", own["position"]),
        wake_grace_s=":grace",
        cast=cast,
        fixed={"parent_id": "p.id", "round": ":round", "created_at": ":at"},
    )
    return text(
        f"{insert_into_steps(row)} FROM steps AS p, {source} WHERE p.id = :parent_id "
        "ON CONFLICT DO NOTHING RETURNING id"
    )


_ARRAYS = ", ".join(f"CAST(:{name}s AS {kind}[])" for name, kind in OF_MEMBERS.items())
_INSERTIONS = {
    "postgresql": _insertion(
        {name: f"v.{name}" for name in OF_MEMBERS},
        f"unnest({_ARRAYS}) AS v({', '.join(OF_MEMBERS)})",
        cast=True,
    ),
    "sqlite": _insertion(
        {name: f"json_extract(v.value, '$[{n}]')" for n, name in enumerate(OF_MEMBERS)},
        "json_each(:rows) AS v",
        cast=False,
    ),
}


def _as_arrays(rows: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    columns = zip(*rows, strict=True)
    return {f"{name}s": list(column) for name, column in zip(OF_MEMBERS, columns, strict=True)}


def _as_text(rows: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    return {"rows": json.dumps(rows)}


_GIVEN = {"postgresql": _as_arrays, "sqlite": _as_text}
