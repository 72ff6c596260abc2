"""Histories of flows, and what has come for them since."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any, Literal, NamedTuple, TypeVar, cast

from sqlalchemy import Connection, Engine, bindparam, select

from app.journal.queries.places import EntryFound, FromPlace, read_behind
from app.journal.queries.together import Together
from app.journal.schema.engine import read_clock, reading
from app.journal.schema.models import Entry, Event, Step, table
from app.journal.schema.rows import Aftermath, Claimed
from app.journal.schema.sealed import opened_entry, sealed_by
from app.journal.schema.transactions import in_transaction
from app.journal.steps import joins, signals
from app.journal.steps.anyhow import SIGNAL, members, members_of
from app.journal.steps.shared import Wholes
from celery_agents import names
from celery_agents.contracts.base import PLACES_MAX, JsonValue
from celery_agents.contracts.flows.entries import HISTORY, SIGNALS
from celery_agents.contracts.flows.history import SignalReply
from celery_agents.contracts.outcome import State
from celery_agents.sealing import EVENT, Seals, opened_outcome, readable, shown

T = TypeVar("T")
_E = table(Entry).c
_S = table(Step).c
#: Lines and signals of a flow that are read before it is known how many there are.
FEW = 200
#: Kind of the event of a flow whose code differs from its history.
DIVERGED = "diverged"


class ToldLine(NamedTuple):
    """A line of a flow's history, in its place."""

    seq: int
    kind: str
    data: dict[str, Any]


class NewEnd(NamedTuple):
    """The end of a member of a flow."""

    member: str
    outcome: dict[str, Any]
    at: float


class NewSignal(NamedTuple):
    """A signal, or a cancellation, in its place among all of a flow's."""

    seq: int
    at: float
    kind: Literal["signal", "cancel", "message"]
    name: str = ""
    value: JsonValue = None


class News(NamedTuple):
    """News for a flow: ends of members, signals with their places, and what time it is."""

    at: float
    ends: list[NewEnd]
    signals: list[NewSignal]


class Glance(NamedTuple):
    """A look at a flow: lines from a place on, and news since; see :meth:`FlowStore.glance`."""

    tenant: str
    id: str
    since: int
    keys: tuple[str, ...]
    heard: int
    most: int | None
    few: int | None = None


class OpenFlow(NamedTuple):
    """A flow as it was asked for."""

    id: str
    tenant: str
    payload: dict[str, Any]


def since_begun(lines: list[ToldLine]) -> list[ToldLine]:
    """Those of a history's lines that are of its last generation."""
    begins = [place for place, line in enumerate(lines) if line.kind == "started"]
    return lines[begins[-1] :] if begins else lines


_FLOWS = select(_S.id, _S.tenant, _S.payload, _S.parent_id).where(_S.task == names.FLOW)


def _found(connection: Connection, query: Any) -> list[OpenFlow]:
    whole = Wholes(connection)
    return [
        OpenFlow(r.id, r.tenant, whole(r.id, r.parent_id, r.payload))
        for r in connection.execute(query.order_by(_S.created_at)).all()
    ]


@dataclass(frozen=True, slots=True)
class FlowStore:
    """The flows of a journal."""

    engine: Engine
    #: Looks of many at once, over a connection that is kept.
    _glances: Together[Glance, tuple[list[ToldLine], News]] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """Make what reads together; it opens nothing before it is asked."""
        object.__setattr__(self, "_glances", Together(self.engine, _glanced))

    def close(self) -> None:
        """Close the connection that is kept."""
        self._glances.close()

    def history(self, tenant: str, step_id: str) -> list[ToldLine]:
        """The lines of a flow's history since it began, or last began anew. Raises as below."""
        return since_begun(self.lines(tenant, step_id))

    def lines(self, tenant: str, step_id: str, since: int = 0) -> list[ToldLine]:
        """The lines of a flow's history from a place on.

        A history may be long, and is read as one JSON text: that takes half as long.

        Raises:
            UnreadableValueError: one of them cannot be decrypted.
        """
        return self._read(lambda c: _lines(c, tenant, step_id, since))

    def page(self, step_id: str, since: int, limit: int) -> list[dict[str, Any]]:
        """Lines of a flow's history for people, from a number on.

        Behind those of one that has ended come the signals that were taken as it ended.
        """
        query = (
            select(_E.tenant, _E.stream, _E.seq, _E.kind, _E.data, _E.at)
            .join(table(Step), (_S.tenant == _E.tenant) & (_E.stream == HISTORY + _S.id))
            .where(_S.id == step_id, _E.seq >= since)
            .order_by(_E.seq)
            .limit(limit)
        )

        def read(connection: Connection) -> list[dict[str, Any]]:
            seals, rows = sealed_by(connection), connection.execute(query)
            found = [{"seq": r.seq, "kind": r.kind, **_shown(seals, r)} for r in rows]
            late = None if len(found) == limit else _untold(connection, step_id)
            return found if late is None or late["seq"] < since else [*found, late]

        return self._read(read)

    def sent(self, step_id: str, since: int, limit: int) -> list[dict[str, Any]]:
        """Signals that a flow was sent, for people, from a place on; which of them it was told."""
        whose = self._read(lambda c: c.execute(_TENANT, {"b_id": step_id}).scalar())
        if whose is None:
            return []
        behind = _of(whose, SIGNALS + step_id).add_columns(_E.at)
        behind = behind.where(_E.kind == SIGNAL, _E.seq >= since).order_by(_E.seq).limit(limit)

        def read(connection: Connection) -> list[dict[str, Any]]:
            seals, (heard, _) = sealed_by(connection), told_last(connection, whose, step_id)
            return [
                {"seq": r.seq, **_said(seals, r), "at": r.at, "told": r.seq <= heard}
                for r in connection.execute(behind)
            ]

        return self._read(read)

    def news(
        self, claim: Claimed, keys: Sequence[str], heard: int, most: int | None = None
    ) -> News:
        """News since: of members of these keys, and of signals behind a place.

        ``most``: so many of the signals, and a cancellation wherever it stands.

        Raises:
            UnreadableValueError: an outcome or a signal cannot be decrypted.
        """
        return self._glances(Glance(claim.tenant, claim.id, PLACES_MAX, tuple(keys), heard, most))[
            1
        ]

    def glance(
        self,
        claim: Claimed,
        since: int,
        keys: Sequence[str],
        heard: int,
        most: int | None = None,
    ) -> tuple[list[ToldLine], News]:
        """Lines of a flow's history from a place on, and its news, at one look.

        Each is looked at as it is then: what comes meanwhile may be among the news or not, and is
        known as new when the flow is to wait.
        """
        asked = Glance(claim.tenant, claim.id, since, tuple(keys), heard, most)
        return self._glances(asked)

    def first_glance(self, claim: Claimed) -> tuple[list[ToldLine], News]:
        """The same of a flow of which nothing is known: its first lines and signals, a few."""
        return self._glances(Glance(claim.tenant, claim.id, 0, (), -1, None, FEW))

    def answers(self, step_id: str, keys: Sequence[str]) -> dict[str, tuple[float, JsonValue]]:
        """When those of a flow's members of these keys succeeded, and what they answered.

        Raises:
            UnreadableValueError: an answer cannot be decrypted.
        """

        def read(connection: Connection) -> dict[str, tuple[float, JsonValue]]:
            seals, found = sealed_by(connection), members(connection, step_id, keys)
            ends = [_end(seals, row) for row in found if row.state == State.SUCCEEDED]
            return {end.member: (end.at, end.outcome.get("value")) for end in ends}

        return self._read(read)

    def signal(
        self,
        step_id: str,
        told: tuple[str, JsonValue],
        key: str,
        rules: joins.Rules,
        *,
        tenant: str | None = None,
    ) -> tuple[SignalReply, Aftermath]:
        """Give a flow a signal; see :func:`app.journal.steps.signals.signal`."""
        give = partial(
            signals.signal, step_id=step_id, what=told, key=key, rules=rules, tenant=tenant
        )
        found = signals.told(self.engine, give)
        return found.reply, found.aftermath

    def diverged(self, step_id: str, run_id: str) -> dict[str, Any] | None:
        """The last event of a flow whose code differs from its history."""
        seals = sealed_by(self.engine)
        query = (
            select(Event.data)
            .where(Event.run_id == run_id, Event.step_id == step_id, Event.kind == DIVERGED)
            .order_by(Event.id.desc())
            .limit(1)
        )
        data = self._read(lambda c: c.execute(query).scalar())
        if data is None:
            return None
        return {name: shown(seals, value, step_id, EVENT) for name, value in data.items()}

    def open(self) -> list[OpenFlow]:
        """Flows that have not ended."""
        state = _S.state.in_([State.READY, State.RUNNING, State.WAITING])
        return self._read(lambda c: _found(c, _FLOWS.where(state)))

    def one(self, step_id: str) -> OpenFlow | None:
        """The flow of that id, also one that has ended; None when there is none."""
        found = self._read(lambda c: _found(c, _FLOWS.where(_S.id == step_id)))
        return found[0] if found else None

    def _read(self, work: Callable[[Connection], T]) -> T:
        return in_transaction(reading(self.engine), work)


def _lines(connection: Connection, tenant: str, step_id: str, since: int) -> list[ToldLine]:
    place = FromPlace(tenant, HISTORY + step_id, since)
    (rows,) = read_behind(connection, [place])
    return _told(connection, place, rows)


def _told(connection: Connection, place: FromPlace, rows: Sequence[EntryFound]) -> list[ToldLine]:
    seals, where = sealed_by(connection), (place.tenant, place.stream)
    return [ToldLine(r.seq, r.kind, opened_entry(seals, where, r.seq, r.data)) for r in rows]


def _glanced(
    connection: Connection, asked: Sequence[Glance]
) -> dict[Glance, tuple[list[ToldLine], News]]:
    """Look at flows: at all of them by the same statements."""
    # Ends before signals: of what came between them a flow hears later, but of no end without the
    # signal, or the cancellation, that it followed.
    seals, members = sealed_by(connection), members_of(connection, [(g.id, g.keys) for g in asked])
    ends = [[_end(seals, row) for row in some if State(row.state).final] for some in members]
    histories = [FromPlace(g.tenant, HISTORY + g.id, g.since, g.few) for g in asked]
    sent = [_signals_of(one) for one in asked]
    rows = iter(read_behind(connection, [*histories, *chain.from_iterable(sent)]))
    lines = [_told(connection, place, next(rows)) for place in histories]
    signals = [[_signal(connection, p, r) for p in places for r in next(rows)] for places in sent]
    at = read_clock(connection)
    news = [News(at, *some) for some in zip(ends, signals, strict=True)]
    return dict(zip(asked, zip(lines, news, strict=True), strict=True))


def _signals_of(asked: Glance) -> list[FromPlace]:
    """Return the places from which on a flow's signals are to be read."""
    where = (asked.tenant, SIGNALS + asked.id, asked.heard + 1)
    if asked.most is None:
        return [FromPlace(*where, asked.few)]
    return [FromPlace(*where, asked.most, cancels=False), FromPlace(*where, cancels=True)]


def _signal(connection: Connection, place: FromPlace, row: EntryFound) -> NewSignal:
    where, kind = (place.tenant, place.stream), cast("Any", row.kind)
    data = opened_entry(sealed_by(connection), where, row.seq, row.data)
    return NewSignal(row.seq, row.at, kind, **data)


def _untold(connection: Connection, step_id: str) -> dict[str, Any] | None:
    """The signals that a flow was sent and not told, since it had ended, as a line of them."""
    ended = select(_S.tenant, _S.finished_at).where(_S.id == step_id, _S.finished_at.is_not(None))
    if (row := connection.execute(ended).first()) is None:
        return None
    sent = _of(row.tenant, SIGNALS + step_id).order_by(_E.seq)
    if connection.execute(sent.limit(1)).first() is None:
        return None
    heard, last = told_last(connection, row.tenant, step_id)
    rows = connection.execute(sent.where(_E.seq > heard, _E.kind == SIGNAL)).all()
    said = [_said(sealed_by(connection), one) for one in rows]
    values = [[one["name"], one["value"]] for one in said]
    untold = {"seq": last + 1, "kind": "unread", "key": "", "at": row.finished_at}
    return {**untold, "value": values} if values else None


def told_last(connection: Connection, tenant: str, step_id: str) -> tuple[int, int]:
    """Return the place of the last signal that a flow was told, and that of its last line."""
    seals, last = sealed_by(connection), -1
    for line in connection.execute(_of(tenant, HISTORY + step_id).order_by(_E.seq.desc())):
        last = max(last, line.seq)
        data = readable(partial(_opened, seals, line))
        if isinstance(data, dict) and (place := data.get("place")) is not None:
            return place, last
    return -1, last


def _said(seals: Seals | None, row: Any) -> dict[str, Any]:
    """Return a signal's name and value; of one that cannot be read, why."""
    told = readable(partial(_opened, seals, row))
    return dict(told) if isinstance(told, dict) else {"name": "", "value": told}


_TENANT = select(_S.tenant).where(_S.id == bindparam("b_id"))


def _of(tenant: str, stream: str) -> Any:
    wanted = select(_E.tenant, _E.stream, _E.seq, _E.data)
    return wanted.where(_E.tenant == tenant, _E.stream == stream)


def _opened(seals: Seals | None, row: Any) -> dict[str, Any]:
    found: dict[str, Any] = opened_entry(seals, (row.tenant, row.stream), row.seq, row.data)
    return found


def _end(seals: Seals | None, row: Any) -> NewEnd:
    return NewEnd(row.member, opened_outcome(seals, row.outcome, row.id), row.finished_at)


def _shown(seals: Seals | None, row: Any) -> dict[str, Any]:
    """Return a line's data without a signal's place among all, which tells people nothing."""
    data = readable(lambda: opened_entry(seals, (row.tenant, row.stream), row.seq, row.data))
    if isinstance(data, str):
        return {"key": "", "at": row.at, "value": data}
    return {name: value for name, value in data.items() if name != "place"}
