"""Recalling: which memories of a space fit a question, the same ones on both databases.

Terms are weighed by whole numbers in one statement over the space's own terms, so nothing of
another space changes an order, and no word of one can be guessed in another. The memories of the
run that asks, and what its step has just learned, are weighed beside them.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, func, select, text, tuple_

from agents.memory.ranking import (
    LENGTH,
    OWN,
    USUAL,
    SpaceNumbers,
    Turn,
    cut,
    essential,
    fused,
    score,
    with_neighbours,
)
from agents.memory.terms import terms_of
from app.journal.memory import spaces, vectors
from app.journal.memory.keeping import LIVE, OVER, PRIVATE
from app.journal.memory.spaces import Space, portions
from app.journal.memory.vectors import Mirrors
from app.journal.schema.engine import read_clock
from app.journal.schema.models import MemoryRow, MemoryTerm, table
from app.journal.schema.rows import NewMemory, TextVector
from app.journal.schema.sealed import opened_memory, sealed_by
from celery_agents.contracts.experience import Experienced
from celery_agents.contracts.memory import MemoryRecord
from celery_agents.sealing import readable

_M = table(MemoryRow).c
_T = table(MemoryTerm).c
#: Terms of a question that are looked for: its first ones, where it has more.
_TERMS_MAX = 64
#: Rows of terms that one question reads at the most; commoner terms only weigh what others found.
READ_MAX = 20_000
#: Memories that are ranked at the most.
RANKED_MAX = 300
#: Rows of a page of an export, and of those that are opened together.
PAGE_ROWS = 200
#: Tokens of the texts that one run embeds: a message takes them.
PORTION_TOKENS = 10_000


@dataclass(frozen=True, slots=True)
class MemoryQuestion:
    """A question to a space, with whose run asks it."""

    tenant: str
    space: str
    question: str
    budget_tokens: int
    language: str
    run_id: str | None = None  # whose memories are seen, too
    own: Sequence[NewMemory] = ()  # those that its step has just learned
    trust: int = 1  # of what is recalled, at the least
    vector: TextVector | None = None  # of the question


def recall(connection: Connection, asked: MemoryQuestion, mirrors: Mirrors) -> list[MemoryRecord]:
    """Recall what fits best, within a budget of tokens; of what fits alike the newest first.

    Raises:
        UnreadableValueError: a text, or the key of terms, is encrypted with a key that is missing.
    """
    space = spaces.found(connection, asked.tenant, asked.space)
    language = asked.language if space is None else space.language
    terms = [*terms_of(asked.question, language)][:_TERMS_MAX]
    own = _own(connection, space, asked)
    weights, scores = {}, dict[int, int]()
    if space is None:
        numbers = SpaceNumbers(0, 0)
        weights = {term: numbers.weight(0) for term in terms}
    else:
        numbers = space.statistics
        having = _having(connection, space, terms)
        weights = {term: numbers.weight(having[term]) for term in terms}
        scores = _scores(connection, space, weights, having)
    found = {
        place: points
        for place, memory in own.items()
        if (points := score(terms_of(memory.text, language), weights, numbers))
    }
    scores |= found
    if asked.vector is not None and space is not None:
        scores = fused(scores, mirrors.near(connection, space, asked.vector, scores))
    turns = {} if space is None else _turns(connection, space, scores.keys() - own.keys())
    turns |= {p: (m.thread, m.turn) for p, m in own.items() if m.thread}
    ranked = _ranked(scores, turns)
    hidden = {m.replaces for m in own.values() if m.trust > 1}
    hidden |= {m.replaces for m in asked.own if m.trust > 1}
    gone: list[int] = []
    read = _read(connection, space, ranked, own, gone)
    rest = (m for m in read if m.id not in hidden and m.trust >= asked.trust)
    told = cut(rest, lambda memory: memory.tokens, asked.budget_tokens)
    if gone and asked.vector is not None and space is not None:
        mirrors.drop(space, asked.vector.model, gone)
    return told


def _own(
    connection: Connection, space: Space | None, asked: MemoryQuestion
) -> dict[int, MemoryRecord]:
    """Return what only the run that asks may see, by places behind all others."""
    rows: list[Any] = []
    if space is not None and asked.run_id is not None:
        about = {"b_space": space.id, "b_run": asked.run_id}
        rows = list(connection.execute(_PRIVATE, about))
    seals = sealed_by(connection)
    told = [_memory(row, opened_memory(seals, row.data, row.id)) for row in rows]
    known = {memory.id for memory in told}
    at = read_clock(connection)
    told += [_new(m, at) for m in asked.own if m.id not in known]
    first = 0 if space is None else space.next_place
    # One that only ends another is hidden by what it ends: it has no words.
    return {first + n: memory for n, memory in enumerate(told)}


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


def _having(connection: Connection, space: Space, terms: Sequence[str]) -> dict[str, int]:
    """Count the memories that have each term."""
    forms = {form: term for term in terms for form in space.forms(term)}
    about = {"b_space": space.id, "b_terms": [*forms]}
    having = dict.fromkeys(terms, 0)
    for form, number in connection.execute(_COUNT, about):
        having[forms[form]] += number
    return having


_THESE = (_T.space_id == bindparam("b_space")) & (_T.term.in_(bindparam("b_terms", expanding=True)))
_COUNT = select(_T.term, func.count()).where(_THESE).group_by(_T.term)


def _scores(
    connection: Connection, space: Space, weights: Mapping[str, int], having: Mapping[str, int]
) -> dict[int, int]:
    """Weigh the memories that have the rarer terms by all terms; the best ones, by their places."""
    there = {term: number for term, number in having.items() if number}
    finding = essential(there, READ_MAX)
    found = _weighed(connection, space, {term: weights[term] for term in finding})
    rest = {term: weights[term] for term in there if term not in finding}
    if rest and found:
        for place, points in _weighed(connection, space, rest, [*found]).items():
            found[place] += points
    return found


def _weighed(
    connection: Connection,
    space: Space,
    weights: Mapping[str, int],
    places: Sequence[int] | None = None,
) -> dict[int, int]:
    if not weights:
        return {}
    forms = {form: weight for term, weight in weights.items() for form in space.forms(term)}
    about: dict[str, Any] = {
        "terms": json.dumps(forms),
        "space": space.id,
        "usual": space.statistics.usual,
        "most": RANKED_MAX,
    }
    if places is not None:
        about["places"] = json.dumps(places)
    statement = _STATEMENTS[connection.dialect.name, places is not None]
    return {place: int(points) for place, points in connection.execute(statement, about)}


def _statement(dialect: str, *, among: bool) -> Any:
    """Build the statement that weighs; ``score`` of agents/memory/ranking.py does as much.

    The rows of each term are looked up by the table's key, term by term, whatever a planner takes
    the numbers of rows to be: SQLite keeps the order of a cross join, PostgreSQL that of a lateral
    one whose inner query is fenced by its offset.
    """
    usual = "CAST(:usual AS bigint)"
    part = f"{OWN} * t.times * {usual}"
    beside = f"{USUAL} * {usual} + {LENGTH} * 1000 * CAST(t.length AS bigint)"
    places = {
        "postgresql": "SELECT value::int FROM json_array_elements_text(CAST(:places AS json))",
        "sqlite": "SELECT value FROM json_each(:places)",
    }[dialect]
    which = f"AND t.place IN ({places})" if among else ""
    rows = f"memory_terms AS t WHERE t.space_id = :space AND t.term = a.key {which}"
    fenced = f"(SELECT t.place, t.times, t.length FROM {rows} OFFSET 0) AS t"  # noqa: S608 - as below
    told = "json_each_text(CAST(:terms AS json)) AS a"
    found = {
        "postgresql": f"{told} CROSS JOIN LATERAL {fenced}",
        "sqlite": f"json_each(:terms) AS a CROSS JOIN {rows}",
    }[dialect]
    return text(
        f"""
        SELECT t.place,
            sum(CAST(CAST(a.value AS integer) * ({part}) / ({part} + {beside}) AS integer))
        FROM {found} GROUP BY t.place ORDER BY 2 DESC, 1 DESC LIMIT :most
        """  # noqa: S608 - of our own constants
    )


_STATEMENTS = {
    (dialect, among): _statement(dialect, among=among)
    for dialect in ("postgresql", "sqlite")
    for among in (True, False)
}


def _turns(connection: Connection, space: Space, places: Collection[int]) -> dict[int, Turn]:
    """Return the turns of memories with those before and behind them, by their places."""
    found: dict[int, Turn] = {}
    for some in portions(sorted(places), PAGE_ROWS):
        rows = connection.execute(_TURNS, {"b_space": space.id, "b_places": some})
        found |= {place: (thread, turn) for place, thread, turn in rows if thread}
    beside = {(t, n + step) for t, n in found.values() for step in (-1, 1)} - {*found.values()}
    for pairs in portions(sorted(beside), PAGE_ROWS):
        rows = connection.execute(_BESIDE, {"b_space": space.id, "b_turns": pairs})
        found |= {row.place: (row.thread, row.turn) for row in rows if row.state == LIVE}
    return found


_HERE = _M.space_id == bindparam("b_space")
_PLACES = _M.place.in_(bindparam("b_places", expanding=True))
_TURNS = select(_M.place, _M.thread, _M.turn).where(_HERE, _PLACES)
_BESIDE = select(_M.place, _M.thread, _M.turn, _M.state).where(
    _HERE, tuple_(_M.thread, _M.turn).in_(bindparam("b_turns", expanding=True))
)


def _ranked(scores: Mapping[int, int], turns: Mapping[int, Turn]) -> list[tuple[int, int]]:
    """Return places with their scores, the best first, the newest of those that are alike."""
    by_turn = {turn: place for place, turn in turns.items()}
    spread = with_neighbours({turns[p]: points for p, points in scores.items() if p in turns})
    total = {p: points for p, points in scores.items() if p not in turns}
    total |= {by_turn[turn]: points for turn, points in spread.items() if turn in by_turn}
    return sorted(total.items(), key=lambda one: (-one[1], -one[0]))[:RANKED_MAX]


def _read(
    connection: Connection,
    space: Space | None,
    ranked: Sequence[tuple[int, int]],
    own: Mapping[int, MemoryRecord],
    gone: list[int],
) -> Iterator[MemoryRecord]:
    """Read memories in their order, a page when it comes to that; tell those that are over."""
    seals = sealed_by(connection)
    for some in portions(ranked, PAGE_ROWS // 4):
        wanted = [place for place, _ in some if place not in own]
        rows: dict[int, Any] = {}
        if wanted and space is not None:
            about = {"b_space": space.id, "b_places": wanted}
            rows = {row.place: row for row in connection.execute(_AT, about)}
        for place, points in some:
            if (memory := own.get(place)) is not None:
                yield memory.model_copy(update={"score": points})
            elif (row := rows.get(place)) is not None and row.state == LIVE:
                yield _memory(row, opened_memory(seals, row.data, row.id), points)
            else:
                gone.append(place)


_AT = select(table(MemoryRow)).where(_HERE, _PLACES)


def _memory(row: Any, told: str, points: int = 0) -> MemoryRecord:
    names = ("id", "tokens", "importance", "at", "until", "replaces", "agent", "run_id", "trust")
    about: dict[str, Any] = {name: getattr(row, name) for name in names}
    if row.experience is not None:
        about["experience"] = Experienced.model_validate(row.experience)
    return MemoryRecord(text=told, thread=row.thread, turn=row.turn, score=points, **about)


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

    told = [_memory(row, shown(row)) for row in rows]
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
        some.append(_memory(row, opened_memory(seals, row.data, row.id)))
    return some, rows[len(some) - 1].place if some else None
