"""Money: what calls have reserved in accounts of budgets, and what was spent of it.

An account's truth is the sum of its rows in ``spend`` and of what calls have reserved that are not
settled. A call whose worker died stays reserved: it is in doubt. An account of one run has no rows:
it is the sum over its calls.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    String,
    bindparam,
    cast,
    func,
    literal,
    null,
    select,
    union_all,
    update,
)

from agents.governance.budgets import Amount, nano_usd_of
from app.journal.schema.engine import now
from app.journal.schema.models import Call, Spend, Step, Worker, table
from app.journal.schema.upsert import insert_of
from celery_agents.contracts.outcome import State

_C, _S, _P, _W = (table(model).c for model in (Call, Step, Spend, Worker))

#: The name of an account, and the begin of its window.
Place = tuple[str, int]
#: The same with the window's end, if it has one.
Booking = tuple[str, int, int | None]
#: A row of ``calls`` by its key.
CallKey = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Reserved:
    """The amount that a call may cost, in these accounts."""

    amount: Amount
    accounts: tuple[Booking, ...]


@dataclass(frozen=True, slots=True)
class Settled:
    """The amount that a call has cost, for the rows of one writer."""

    amount: Amount
    booked: tuple[Booking, ...]
    writer: str


class Holding(NamedTuple):
    """A call that has reserved something: how much, and whether nobody makes it any more."""

    key: CallKey
    amount: Amount
    bookings: tuple[Booking, ...]
    doubtful: bool

    @property
    def places(self) -> tuple[Place, ...]:
        """The accounts in which it stands."""
        return tuple((name, starts_at) for name, starts_at, _ in self.bookings)


@dataclass(frozen=True, slots=True)
class AccountState:
    """An account by the journal."""

    spent: Amount
    holdings: tuple[Holding, ...]


@lru_cache(1024)
def as_text(bookings: tuple[Booking, ...]) -> str:
    """Accounts as they stand in a row."""
    return json.dumps([*bookings], separators=(",", ":"))


def _bookings(text: str) -> tuple[Booking, ...]:
    return tuple((name, starts_at, (*end, None)[0]) for name, starts_at, *end in json.loads(text))


def book(connection: Connection, settled: Sequence[Settled]) -> None:
    """Add amounts to their writers' rows, in the order of their keys."""
    sums: dict[tuple[str, int, str], Amount] = defaultdict(Amount)
    ends: dict[Place, int | None] = {}
    for one in settled:
        for account, starts_at, ends_at in one.booked:
            sums[account, starts_at, one.writer] += one.amount
            ends[account, starts_at] = ends_at
    for (account, starts_at, writer), amount in sorted(sums.items()):
        place = {"account": account, "starts_at": starts_at, "writer": writer}
        row = place | {"ends_at": ends[account, starts_at], **amount._asdict()}
        connection.execute(_booking(connection.dialect.name), row)


@cache
def _booking(dialect: str) -> Any:
    insert = insert_of(dialect, table(Spend)).values(
        {
            name: bindparam(name)
            for name in ("account", "starts_at", "writer", "ends_at", *Amount._fields)
        }
    )
    more = {name: _P[name] + insert.excluded[name] for name in Amount._fields}
    return insert.on_conflict_do_update(
        index_elements=["account", "starts_at", "writer"], set_=more
    )


def _alive() -> ColumnElement[bool]:
    """True for a call that is being made: its step runs under its claim, its worker lives."""
    return (
        select(_S.id)
        .join(table(Worker), _W.id == _S.worker_id)
        .where(
            _S.id == _C.step_id,
            _S.token == _C.token,
            _S.state == State.RUNNING,
            _W.lease_until > now(),
        )
        .correlate(table(Call))
        .exists()
    )


_KEY = (_C.step_id, _C.seq, _C.token)
_ALIVE = _alive()
#: All that is reserved; the index holds no other rows.
_HELD = select(
    *_KEY,
    _C.reserved_nano_usd.label("nano_usd"),
    _C.counted_tokens.label("tokens"),
    literal(1, BigInteger).label("calls"),
    _C.accounts,
    (~_ALIVE).label("doubtful"),
).where(_C.reserved_nano_usd.is_not(None))


def together(connection: Connection, places: Collection[Place]) -> dict[Place, AccountState]:
    """Accounts with rows: these, and all others that begin when one of them does.

    In one statement: between two of them a call would be settled, and counted twice or not at all.
    """
    begins = {starts_at for _, starts_at in places}
    spent: dict[Place, Amount] = defaultdict(Amount)
    held: dict[Place, list[Holding]] = defaultdict(list)
    for row in connection.execute(_TOGETHER, {"b_begins": [*begins]}):
        if row.token is None:
            spent[row.step_id, row.seq] += _amount(row)
            continue
        holding = _holding(row)
        for place in holding.places:
            held[place].append(holding)
    found = {*places, *spent, *(p for p in held if p[1] in begins)}
    return {p: AccountState(spent[p], tuple(held[p])) for p in sorted(found)}


def _spent() -> Any:
    """Sums of the accounts that begin then, in the columns of what is reserved."""
    return (
        select(
            cast(_P.account, String).label("step_id"),
            _P.starts_at.label("seq"),
            cast(null(), Integer).label("token"),
            *(func.sum(_P[name]).label(name) for name in Amount._fields),
            cast(null(), String).label("accounts"),
            literal(0, Integer).label("doubtful"),
        )
        .where(_P.starts_at.in_(bindparam("b_begins", expanding=True)))
        .group_by(_P.account, _P.starts_at)
    )


def _reserved() -> Any:
    columns = _HELD.selected_columns
    doubtful = cast(columns.doubtful, Integer).label("doubtful")
    return select(*(c for c in columns if c.name != "doubtful"), doubtful).where(
        _C.reserved_nano_usd.is_not(None)
    )


_TOGETHER = union_all(_spent(), _reserved())


def of_run(connection: Connection, place: Place, run_id: str) -> AccountState:
    """An account of one run: the sum over its calls."""
    spent, held = Amount(), []
    for row in connection.execute(_OF_RUN, {"b_run": run_id}):
        if place not in ((name, starts_at) for name, starts_at, _ in _bookings(row.accounts)):
            continue
        if row.nano_usd is None:
            spent += settled_of(row)
        else:
            held.append(_holding(row))
    return AccountState(spent, tuple(held))


_OF_RUN = select(
    *_KEY,
    _C.reserved_nano_usd.label("nano_usd"),
    _C.counted_tokens.label("tokens"),
    literal(1, BigInteger).label("calls"),
    _C.counted_tokens,
    _C.cost_usd,
    _C.accounts,
    (~_ALIVE).label("doubtful"),
).where(
    _C.step_id.in_(select(_S.id).where(_S.run_id == bindparam("b_run"))),
    _C.accounts.is_not(None),
)


def settled_of(row: Any) -> Amount:
    """The amount that a settled call has cost; one that was released or refused, nothing."""
    if row.counted_tokens is None:
        return Amount()
    return Amount(nano_usd_of(row.cost_usd or 0.0), row.counted_tokens, 1)


def fates(connection: Connection, keys: Sequence[CallKey]) -> dict[CallKey, Amount | Holding]:
    """The calls of these keys that have rows: settled at an amount, or reserved still."""
    found: dict[CallKey, Amount | Holding] = {}
    wanted = {*keys}
    for row in connection.execute(_FATES, {"b_steps": sorted({step for step, _, _ in keys})}):
        key = (row.step_id, row.seq, row.token)
        if key in wanted:
            found[key] = settled_of(row) if row.nano_usd is None else _holding(row)
    return found


_FATES = select(*_OF_RUN.selected_columns).where(
    _C.step_id.in_(bindparam("b_steps", expanding=True)), _C.accounts.is_not(None)
)


def doubts(connection: Connection) -> list[Holding]:
    """The calls that are in doubt."""
    return [_holding(row) for row in connection.execute(_HELD.where(~_ALIVE))]


def released(connection: Connection, keys: Sequence[CallKey]) -> set[CallKey]:
    """Take what these calls have reserved back, if nobody makes them; those that were."""
    found = set()
    for key in sorted(keys):
        freed = update(table(Call)).where(
            *(column == part for column, part in zip(_KEY, key, strict=True)),
            _C.reserved_nano_usd.is_not(None),
            ~_ALIVE,
        )
        if connection.execute(freed.values(reserved_nano_usd=None, counted_tokens=None)).rowcount:
            found.add(key)
    return found


def book_doubts(connection: Connection, which: ColumnElement[bool], writer: str) -> None:
    """Book what calls of these steps have reserved as spent, before their rows are deleted."""
    steps = select(_S.id).where(which)
    held = _HELD.where(_C.step_id.in_(steps)).order_by(*_KEY)
    booked = []
    for row in connection.execute(held).all():
        spent = _holding(row)
        done = update(table(Call)).where(
            *(column == part for column, part in zip(_KEY, spent.key, strict=True)),
            _C.reserved_nano_usd.is_not(None),
        )
        values = {"reserved_nano_usd": None, "cost_usd": spent.amount.nano_usd / 10**9}
        if connection.execute(done.values(values)).rowcount:
            booked.append(Settled(spent.amount, tuple(with_rows(spent.bookings)), writer))
    book(connection, booked)


def with_rows(bookings: Iterable[Booking]) -> Iterator[Booking]:
    """Those of them that have rows of their own: not those of one run."""
    return (one for one in bookings if not one[0].startswith(RUN))


#: Before the name of an account that is of one run alone. No budget's name begins so.
RUN = ":"


def _holding(row: Any) -> Holding:
    key = (row.step_id, row.seq, row.token)
    return Holding(key, _amount(row), _bookings(row.accounts), bool(row.doubtful))


def _amount(row: Any) -> Amount:
    return Amount(int(row.nano_usd), int(row.tokens or 0), int(row.calls))
