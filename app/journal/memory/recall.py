"""Recalling: which memories of a space fit a question, the same ones on both databases.

Terms are weighed over the space's own ones (weighing.py), so nothing of another space changes an
order, and no word of one can be guessed in another. The memories of the run that asks, and what its
step has just learned, are weighed beside them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, select

from agents.memory.backends import MemoryBackend
from agents.memory.ranking import PASSED_MAX, RankedPlace, cut, ranked, score
from agents.memory.terms import terms_of
from app.journal.memory import spaces, vectors, weighing
from app.journal.memory.keeping import LIVE, OVER, PRIVATE
from app.journal.memory.past import recall_past
from app.journal.memory.records import RANKED_MAX, record_of
from app.journal.memory.searching import Searched, found
from app.journal.memory.spaces import Space, portions
from app.journal.memory.vectors import Mirrors
from app.journal.memory.weighing import MemoryQuestion, SeenSpace
from app.journal.schema.engine import read_clock
from app.journal.schema.models import MemoryRow, table
from app.journal.schema.rows import NewMemory
from app.journal.schema.sealed import opened_memory, sealed_by
from celery_agents.contracts.memory import MemoryRecord
from celery_agents.sealing import readable

_M = table(MemoryRow).c
#: Rows of a page of an export, and of those that are opened together.
PAGE_ROWS = 200
#: Tokens of the texts that one run embeds: a message takes them.
PORTION_TOKENS = 10_000
#: Places of what only the run that asks may see: no space gives one of these, also meanwhile.
_OWN_PLACES = 2**40


def recall(
    connection: Connection, asked: MemoryQuestion, mirrors: Mirrors, backend: MemoryBackend
) -> list[MemoryRecord]:
    """Recall what fits best, within a budget of tokens; of what fits alike the newest first.

    Each of its three statements is of a moment of its own: places are never given twice, so what
    ends in between is missing, and nothing else stands for it.

    Raises:
        InvalidPayloadError: it asks for a moment at which the space had too many memories.
        UnreadableValueError: a text, or the key of terms, is encrypted with a key that is missing.
    """
    if asked.at is not None:
        return recall_past(connection, asked, asked.at)
    seen = weighing.look(connection, asked)
    own = _own(connection, seen, asked)
    weights = seen.weights
    scores, turns = weighing.scores(connection, seen, asked.trust)
    scores |= {
        place: points
        for place, memory in own.items()
        if (points := score(terms_of(memory.text, seen.language), weights, seen.numbers))
    }
    space = seen.space
    if space is not None:
        scores = found(Searched(connection, space, asked, scores, mirrors), backend)
        lacking = scores.keys() - turns.keys() - own.keys()
        turns |= weighing.turns_of(connection, space, lacking)
    known = {place: turn for place, turn in turns.items() if turn[0]}
    known |= {p: (m.thread, m.turn) for p, m in own.items() if m.thread}
    hidden = {m.replaces for m in own.values() if m.trust > 1}
    hidden |= {m.replaces for m in asked.own if m.trust > 1}
    gone: list[int] = []
    pages = _pages(ranked(scores, known, RANKED_MAX), seen, asked.budget_tokens)
    read = _read(connection, space, pages, own, gone)
    rest = (m for m in read if m.id not in hidden and m.trust >= asked.trust)
    told = cut(rest, lambda memory: memory.tokens, asked.budget_tokens)
    if gone and asked.vector is not None and space is not None:
        mirrors.drop(space, asked.vector.model, gone)
    return told


def _own(connection: Connection, seen: SeenSpace, asked: MemoryQuestion) -> dict[int, MemoryRecord]:
    """Return what only the run that asks may see, by places behind all others."""
    rows: list[Any] = []
    space = seen.space
    if space is not None and seen.private:
        about = {"b_space": space.id, "b_run": asked.run_id}
        rows = list(connection.execute(_PRIVATE, about))
    seals = sealed_by(connection)
    told = [record_of(row, opened_memory(seals, row.data, row.id)) for row in rows]
    if asked.own:
        known, at = {memory.id for memory in told}, read_clock(connection)
        told += [_new(m, at) for m in asked.own if m.id not in known]
    # One that only ends another is hidden by what it ends: it has no words.
    return {_OWN_PLACES + n: memory for n, memory in enumerate(told)}


_PRIVATE = (
    select(table(MemoryRow))
    .where(
        _M.space_id == bindparam("b_space"),
        _M.run_id == bindparam("b_run"),
        _M.state == PRIVATE,
    )
    .order_by(_M.place)
)


def _new(memory: NewMemory, at: float) -> MemoryRecord:
    return MemoryRecord(
        id=memory.id,
        text=memory.text,
        tokens=memory.tokens,
        importance=memory.importance,
        at=at,
        replaces=memory.replaces,
        agent=memory.agent,
        run_id=memory.run_id,
        trust=memory.trust,
    )


def _read(
    connection: Connection,
    space: Space | None,
    pages: Iterable[Sequence[RankedPlace]],
    own: Mapping[int, MemoryRecord],
    gone: list[int],
) -> Iterator[MemoryRecord]:
    """Read memories in their order, a page when it comes to that; tell those that are over."""
    seals, mine = sealed_by(connection), {memory.id for memory in own.values()}
    for some in pages:
        rows: dict[Any, Any] = {}
        if space is not None:
            rows = weighing.texts(connection, space, [s for s in some if s.place not in own])
        for spot in some:
            if spot.place is not None and (memory := own.get(spot.place)) is not None:
                yield memory.model_copy(update={"score": spot.points})
            elif (row := rows.get(spot.turn if spot.place is None else spot.place)) is None:
                gone += [] if spot.place is None else [spot.place]
            elif row.id not in mine:  # it has become everybody's since those were read
                yield record_of(row, opened_memory(seals, row.data, row.id), spot.points)


def _pages(
    found: Sequence[RankedPlace], seen: SeenSpace, budget: int
) -> Iterator[Sequence[RankedPlace]]:
    """Give what is read together: at first about as much as there is room for, and passed over."""
    tokens = 1 if seen.space is None else seen.space.tokens // max(seen.numbers.memories, 1)
    first = min(budget // max(tokens, 1) + PASSED_MAX, PAGE_ROWS // 4)
    yield found[:first]
    yield from portions(found[first:], PAGE_ROWS // 4)


def page(
    connection: Connection, tenant: str, name: str, after: int
) -> tuple[list[MemoryRecord], int | None]:
    """A page of the memories of a space, in their order, and where the next one begins.

    With those that are over; what belongs to runs under way is not among them. In place of a text
    that cannot be read stands why.
    """
    space = spaces.found(connection, tenant, name)
    if space is None:
        return [], None
    rows = connection.execute(_PAGE, {"b_space": space.id, "b_after": after}).all()
    seals = sealed_by(connection)

    def shown(row: Any) -> str:
        return readable(lambda: opened_memory(seals, row.data, row.id))

    told = [record_of(row, shown(row)) for row in rows]
    return told, rows[-1].place if len(rows) == PAGE_ROWS else None


_PAGE = (
    select(table(MemoryRow))
    .where(
        _M.space_id == bindparam("b_space"),
        _M.place > bindparam("b_after"),
        _M.state.in_([LIVE, OVER]),
    )
    .order_by(_M.place)
    .limit(PAGE_ROWS)
)


def lacking(
    connection: Connection, tenant: str, name: str, model: str, after: int
) -> tuple[list[MemoryRecord], int | None]:
    """A portion of the memories behind a place that have no vector of an agent.

    With the last place of the portion; None where nothing is left.
    """
    if (space := spaces.found(connection, tenant, name)) is None:
        return [], None
    rows = vectors.lacking(connection, space, model, after, PAGE_ROWS // 4)
    seals = sealed_by(connection)
    some: list[MemoryRecord] = []
    for row in rows:
        if some and sum(m.tokens for m in some) + row.tokens > PORTION_TOKENS:
            break
        some.append(record_of(row, opened_memory(seals, row.data, row.id)))
    return some, rows[len(some) - 1].place if some else None
