"""The short way of a flow that asks one agent after the other: one transaction for each.

The end of the one whom it waits for, the flow's line of that, and the row of the next one, claimed
as it is made, are one commit; the flow's own row waits throughout, and no message is sent. Whoever
writes this has run the flow's code on an end that nobody else has seen yet. So it is written only
while the journal is as that code takes it to be: the flow still waits since the claim that asked,
for nothing but this end, its history has the length that it had, and no signal has come. Else
nothing is written, and the end is told in the ordinary way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

from sqlalchemy import Connection, text

from agents.plan import Member
from app.concurrency.future import Future
from app.journal.schema.engine import as_json
from app.journal.schema.new_steps import GIVEN, INHERITED, claimed, insert_into_steps, words
from app.journal.schema.rows import Claimed, NewEntry, Unwritten
from app.journal.schema.sealed import sealed_entry
from app.journal.steps import joins
from app.journal.steps.members import NewMember, new_members
from app.journal.writing.operation import Operation
from app.journal.writing.prepared import Prepared, Shot
from app.journal.writing.writer import Writer
from celery_agents.contracts.flows.entries import SIGNALS
from celery_agents.contracts.outcome import Outcome


@dataclass(frozen=True, slots=True)
class FlowSeen:
    """A flow as its code was told last: what has to be so still."""

    claim: Claimed
    #: The place of the last signal that it was told.
    heard: int
    #: How many lines its history has.
    lines: int


@dataclass(frozen=True, slots=True)
class GoingOn:
    """The end of a flow's member, when it was, and what the flow's code says to that."""

    outcome: Outcome
    at: float
    flow: FlowSeen
    line: NewEntry
    asks: Member
    #: Whether it has to survive a power cut, and a crash of the database, by itself. What only
    #: decides and costs nothing has not: a commit that comes after it takes it along, or it is
    #: done again.
    final: bool = True


class SequelOperation(Operation[Claimed | None]):
    """Ends of claimed members of a flow, and the next one's begin; None: nothing was written."""

    order: ClassVar[int] = 12

    @property
    def variety(self) -> int:
        return id(self)  # each is a statement of its own

    @property
    def alone(self) -> bool:
        return True

    @property
    def has_lite(self) -> bool:
        return False


class GoOn(SequelOperation):
    """End a claimed member of a flow, and begin the next one; None: nothing was written."""

    def __init__(self, claim: Claimed, going: GoingOn, worker_id: str, rules: joins.Rules) -> None:
        super().__init__()
        seals, flow, line, outcome = rules.seals, going.flow, going.line, going.outcome
        (self.new,) = new_members(flow.claim, [going.asks], rules.spread_limit_bytes, seals)
        self.claim, self.root, self.final = claim, flow.claim, going.final
        told = outcome if seals is None else seals.seal_outcome(outcome, claim.id)
        self.values = {
            **common_values(claim, going, worker_id, rules),
            "outcome": as_json(told.compact()),
            "data": as_json(sealed_entry(seals, line, flow.lines)),
            **dict(zip(OWN, columns_of(self.new), strict=True)),
        }

    @classmethod
    def shot(cls, operations: Sequence[GoOn]) -> Shot | None:
        (one,) = operations
        values = tuple(one.values[name] for name in ("flow", *LOCKED, *_GIVEN))
        return Shot(_go_on(), values, [one.new.id], lambda _place, _row: one.begun)

    @property
    def begun(self) -> Claimed:
        """The next member, as this worker has it."""
        return begun_by(self.root, self.new)

    @classmethod
    def apply(cls, connection: Connection, operations: Sequence[GoOn]) -> list[Claimed | None]:
        return [o.begun if o.written(connection) else None for o in operations]

    def written(self, connection: Connection) -> bool:
        """Write it; True too where an earlier try was committed, and its answer lost."""
        if _gone_on(connection, self.values):
            return True
        return self.again and connection.execute(_MADE, self.values).first() is not None


@dataclass(frozen=True, slots=True)
class Sequels:
    """Goes on with flows."""

    writer: Writer
    rules: joins.Rules

    def go_on(self, claim: Claimed, going: GoingOn, worker_id: str) -> Future[Claimed | None]:
        """End a member of a flow and begin the next one, for this worker; see :class:`GoOn`."""
        return self.writer.submit(GoOn(claim, going, worker_id, self.rules))


def common_values(
    claim: Claimed, going: GoingOn, worker_id: str, rules: joins.Rules
) -> dict[str, Any]:
    """The values of :data:`COMMON`: of the member that ends first, its flow and the flow's line."""
    flow, line = going.flow, going.line
    root = flow.claim
    return {
        "member": claim.id,
        "token": claim.token,
        "worker": worker_id,
        "at": going.at,
        "grace": rules.wake_grace_s,
        "flow": root.id,
        "flow_token": root.token,
        "tenant": root.tenant,
        "signals": SIGNALS + root.id,
        "heard": flow.heard,
        "stream": line.stream,
        "seq": flow.lines,
        "kind": line.kind,
        "run": line.run_id,
    }


def begun_by(root: Claimed, new: NewMember, ahead: Unwritten | None = None) -> Claimed:
    """A member of a flow, as this worker has it."""
    member = new.member
    return Claimed(
        id=new.id,
        token=1,
        attempt=1,
        run_id=root.run_id,
        parent_id=root.id,
        member=member.key,
        task=member.task,
        agent=member.agent,
        queue=root.queue,
        priority=root.priority,
        payload={"args": [member.input], "kwargs": member.options},
        max_attempts=member.max_attempts,
        remaining_s=member.deadline_s,
        policy="any",
        tenant=root.tenant,
        waited_s=0.0,
        untrusted=root.untrusted,
        ahead=ahead,
    )


def columns_of(new: NewMember) -> tuple[Any, ...]:
    """The values of :data:`OWN`."""
    m = new.member
    return (new.id, m.key, m.task, m.agent, new.text, m.max_attempts, m.deadline_s)


def _gone_on(connection: Connection, values: dict[str, Any]) -> bool:
    """Write all of it, or nothing: then it is not as its code took it to be."""
    if connection.dialect.name == "sqlite":  # its driver knows such parameters itself: a third
        written = [connection.exec_driver_sql(s, values).rowcount for s in _statements()]
        if len(set(written)) > 1:
            raise RuntimeError(f"Of a flow's way on only a part was written: {written}")
        return bool(written[0])
    for lock in LOCKS:  # they come first, in the order of all (locks.py)
        connection.execute(text(lock.format(":flow", ":member")), values)
    return connection.execute(text(_at_once()), values).first() is not None


#: The row of the next member as this has made it, at that very time: another way has its own.
_MADE = text(
    "SELECT id FROM steps WHERE id = :id AND token = 1 AND state = 'running' "
    "AND worker_id = :worker AND created_at = :at AND NOT cancel_requested"
)
#: What is locked: the flow and its member.
LOCKED = ("flow", "member")
LOCKS = (
    "SELECT step_id FROM joins WHERE step_id = {0} FOR UPDATE",
    "SELECT id FROM steps WHERE id IN ({0}, {1}) ORDER BY id FOR NO KEY UPDATE",
)
#: What the next member has of its own, in the order of its values.
OWN = ("id", "key", "task", "agent", "payload", "max_attempts", "timeout_s")
OWN_NAMES = {"key": "member"}
KINDS = {given.name: given.kind for given in GIVEN}
#: Values that one end and a row of them have, with their types in PostgreSQL.
COMMON = {
    **dict.fromkeys(("member", "worker", "flow", "tenant", "signals", "stream"), "text"),
    **dict.fromkeys(("kind", "run"), "text"),
    **dict.fromkeys(("token", "flow_token"), "integer"),
    **dict.fromkeys(("heard", "seq"), "bigint"),
    **dict.fromkeys(("at", "grace"), "double precision"),
}
#: All of its values with their types, as they are sent to PostgreSQL.
_GIVEN = {
    **COMMON,
    **dict.fromkeys(("outcome", "data"), "json"),
    **{name: KINDS[OWN_NAMES.get(name, name)] for name in OWN},
}
#: Whoever would change one of these conditions holds the flow's join, as this does. State,
#: worker and parent are compared in such a way that only the primary key will do: the index of
#: running steps has a dead entry of each that a worker did, and a flow's has all of its members.
_END = """
UPDATE steps SET state = 'succeeded', outcome = {outcome}, finished_at = {at},
    wake_at = {at} + {grace}, worker_id = NULL, wakes = 0, settled = true
WHERE id = {member} AND token = {token} AND coalesce(state, '') = 'running'
    AND coalesce(worker_id, '') = {worker}
    AND NOT cancel_requested
    AND EXISTS (
        SELECT 1 FROM steps AS f JOIN joins AS j ON j.step_id = f.id
        WHERE f.id = {flow} AND f.token = {flow_token} AND f.state = 'waiting'
            AND NOT f.cancel_requested AND coalesce(steps.parent_id, '') = f.id
            AND steps.round = j.round
            AND j.state = 'open' AND j.policy = 'any' AND j.deadline_at IS NULL
    )
    AND EXISTS (SELECT 1 FROM workers WHERE id = {worker} AND lease_until > {until})
    AND NOT EXISTS (SELECT 1 FROM steps AS s WHERE {taken})
    AND NOT EXISTS (
        SELECT 1 FROM entries
        WHERE tenant = {tenant} AND stream = {signals} AND seq > {heard}
    )
    AND {last} = {seq} - 1
"""
#: The place of the last line of the flow's history.
_LAST = "(SELECT max(seq) FROM entries WHERE tenant = {tenant} AND stream = {stream})"
TELL = """
INSERT INTO entries (tenant, stream, seq, kind, data, run_id, tokens, at, xid)
SELECT {tenant}, {stream}, {seq}, {kind}, {data}, {run}, 0, {at}, {xid}
"""
XID = "CAST(CAST(pg_current_xact_id() AS text) AS bigint)"


def end_of(value: Mapping[str, str], *, taken: str) -> str:
    """The end of a flow's member, where nobody has ``taken`` a row that is to be made."""
    more = {"until": value["at"], **value, "last": _LAST.format_map(value), "taken": taken}
    return _END.format_map(more)


def _row(value: Mapping[str, str], *, server: bool) -> str:
    """The row of the next member, of the flow ``f`` and the member ``m`` before it."""
    of_own = {OWN_NAMES.get(n, n): f"CAST({value[n]} AS {_GIVEN[n]})" for n in OWN}
    row = words(
        of_own | {name: f"f.{name}" for name in INHERITED},
        at=value["at"],
        wake_grace_s=value["grace"],
        cast=server,
        fixed={
            **claimed(value["at"]),
            "worker_id": value["worker"],
            "parent_id": "f.id",
            "round": "m.round",
            "position": "m.position + 1",
        },
    )
    return insert_into_steps(row)


@cache
def _statements() -> tuple[str, ...]:
    """SQLite's, each of which does its part where the one before has."""
    value = {name: f":{name}" for name in _GIVEN}
    # Of what the statement before has written, by its time: an end of another way has its own.
    ended = "m.id = :member AND m.finished_at = :at AND m.token = :token"
    made = f"s.id = :id AND s.created_at = :at AND {_LAST.format_map(value)} = :seq - 1"
    there = "EXISTS (SELECT 1 FROM steps AS s WHERE s.id = :id)"
    sources = f"FROM steps AS f, steps AS m WHERE f.id = :flow AND {ended}"
    return (
        end_of(value, taken="s.id = :id"),
        f"{_row(value, server=False)} {sources} AND NOT {there}",
        f"{TELL.format_map(value | {'xid': '0'})} FROM steps AS s WHERE {made}",
    )


def _whole(value: Mapping[str, str]) -> str:
    """PostgreSQL's, one statement: all of it is written, or nothing."""
    return f"""
    WITH ended AS (
        {end_of(value, taken=f"s.id = {value['id']}")}
        RETURNING steps.round, steps.position
    ), made AS (
        {_row(value, server=True)} FROM steps AS f, ended AS m WHERE f.id = {value["flow"]}
        RETURNING id
    ), told AS (
        {TELL.format_map(dict(value) | {"xid": XID})} FROM made
    )
    SELECT id FROM made
    """  # noqa: S608 - of our own constants


@cache
def _at_once() -> str:
    return _whole({name: f"CAST(:{name} AS {kind})" for name, kind in _GIVEN.items()})


def prepared(
    name: str, given: Mapping[str, str], whole: Callable[[Mapping[str, str]], str]
) -> Prepared:
    """A statement of PostgreSQL of these values and types, behind its locks."""
    locks = tuple(
        Prepared(f"{name}_locks_{n}", ("text",) * (n + 1), lock.format("$1", "$2"))
        for n, lock in enumerate(LOCKS)
    )
    value = {value: f"${n + 1}" for n, value in enumerate(given)}
    types = tuple(given.values())
    return Prepared(name, types, whole(value), answers=True, before=locks)


@cache
def _go_on() -> Prepared:
    return prepared("go_on", _GIVEN, _whole)
