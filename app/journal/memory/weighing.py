"""Statements that weigh the memories of a space by the terms of a question, in whole numbers.

A recall has three: the space with how many memories have each term; the best of these with their
turns; their texts. Rows of terms are looked up by the table's key, term by term, whatever a planner
takes the numbers of rows to be: SQLite keeps the order of a cross join, PostgreSQL that of a
lateral one whose inner query is fenced by its offset.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlalchemy import JSON, Boolean, Connection, column, text

from agents.memory.backends import DEFAULT
from agents.memory.ranking import LENGTH, OWN, USUAL, RankedPlace, SpaceNumbers, Turn, essential
from agents.memory.terms import terms_of
from app.journal.memory import spaces
from app.journal.memory.spaces import Space
from app.journal.schema.models import MemoryRow, MemorySpace, table
from app.journal.schema.rows import NewMemory, TextVector
from app.journal.schema.sealed import sealed_by

#: Terms of a question that are looked for: its first ones, where it has more.
TERMS_MAX = 64
#: Rows of terms that one question reads at the most; commoner terms only weigh what others found.
READ_MAX = 20_000
#: Memories that are found by their words at the most.
_FOUND_MAX = 300


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
    backend: str = DEFAULT
    at: float | None = None  # what held then, in seconds since 1970


@dataclass(frozen=True)
class SeenSpace:
    """A space as a question finds it, with how many memories have each of its terms."""

    space: Space | None
    language: str
    having: Mapping[str, int]
    private: bool = False  # whether the run that asks has memories of its own there

    @property
    def numbers(self) -> SpaceNumbers:
        """The space's numbers."""
        return SpaceNumbers(0, 0) if self.space is None else self.space.statistics

    @cached_property
    def weights(self) -> dict[str, int]:
        """The weights of the terms."""
        return {term: self.numbers.weight(number) for term, number in self.having.items()}


def look(connection: Connection, asked: MemoryQuestion) -> SeenSpace:
    """Look what a space has of a question's terms.

    Raises:
        UnreadableValueError: the key of its terms is encrypted with one that is missing.
    """
    terms = [*terms_of(asked.question, asked.language)][:TERMS_MAX]
    about = {"tenant": asked.tenant, "name": asked.space, "run": asked.run_id}
    # Under keys a space's own one says how its terms are written; that stands in its row.
    plain = [] if (seals := sealed_by(connection)) is not None else terms
    statement = _LOOK[connection.dialect.name]
    row = connection.execute(statement, {**about, "terms": json.dumps(plain)}).first()
    if row is None:
        return SeenSpace(None, asked.language, dict.fromkeys(terms, 0))
    space = spaces.read(row, seals)
    if plain and space.language == asked.language and space.key is None:
        having = {term: int(row.found[term]) for term in terms}
    else:
        terms = [*terms_of(asked.question, space.language)][:TERMS_MAX]
        having = _having(connection, space, terms)
    return SeenSpace(space, space.language, having, bool(row.private))


def _having(connection: Connection, space: Space, terms: Sequence[str]) -> dict[str, int]:
    """Count the memories that have each term, in whichever form."""
    forms = {form: term for term in terms for form in space.forms(term)}
    about = {"space": space.id, "terms": json.dumps([*forms])}
    having = dict.fromkeys(terms, 0)
    for form, number in connection.execute(_COUNT[connection.dialect.name], about):
        having[forms[form]] += number
    return having


#: A list as rows, whose one column is ``value``; and an object with ``key``, too.
_LISTED = {"postgresql": "json_array_elements_text(CAST(:{} AS json))", "sqlite": "json_each(:{})"}
_NAMED = {"postgresql": "json_each_text(CAST(:{} AS json))", "sqlite": "json_each(:{})"}


def _counting(dialect: str, space: str) -> str:
    each = f"{_LISTED[dialect].format('terms')} AS a"
    rows = f"FROM memory_terms AS t WHERE t.space_id = {space} AND t.term = a.value"
    return f"SELECT a.value AS term, (SELECT count(*) {rows}) AS number FROM {each}"


def _looking(dialect: str) -> Any:
    group = {"postgresql": "json_object_agg", "sqlite": "json_group_object"}[dialect]
    names = ", ".join(f"p.{c.name}" for c in table(MemorySpace).columns)
    counted = f"SELECT {group}(c.term, c.number) FROM ({_counting(dialect, 'p.id')}) AS c"
    # The sign: runs have few, of which an index knows; one of the space's places has all of it.
    private = "m.run_id = :run AND m.state = 'private' AND +m.space_id = p.id"
    asked = f"""
        SELECT {names}, ({counted}) AS found,
            EXISTS (SELECT 1 FROM memories AS m WHERE {private}) AS private
        FROM memory_spaces AS p WHERE p.tenant = :tenant AND p.name = :name
        """
    more = column("found", JSON()), column("private", Boolean())
    return text(asked).columns(*table(MemorySpace).columns, *more)


_DIALECTS = ("postgresql", "sqlite")
_COUNT = {dialect: text(_counting(dialect, ":space")) for dialect in _DIALECTS}
_LOOK = {dialect: _looking(dialect) for dialect in _DIALECTS}


def scores(
    connection: Connection, seen: SeenSpace, trust: int = 1
) -> tuple[dict[int, int], dict[int, Turn]]:
    """Weigh the memories that have the rarer terms by all terms; the best ones, with their turns.

    Both by their places. What has less trust than is asked for takes no place among them.
    """
    there = {term: number for term, number in seen.having.items() if number}
    if seen.space is None or not there:
        return {}, {}
    finding = essential(there, READ_MAX)
    found: dict[int, int] = {}
    turns: dict[int, Turn] = {}
    best = _weighed(connection, seen.space, seen.weights, finding, trust=trust)
    for place, points, thread, turn in best:
        found[place] = int(points)
        turns[place] = (thread, turn)
    if found and (rest := [term for term in there if term not in finding]):
        for place, points in _weighed(connection, seen.space, seen.weights, rest, places=[*found]):
            found[place] += int(points)
    return found, turns


def _weighed(
    connection: Connection,
    space: Space,
    weights: Mapping[str, int],
    terms: Sequence[str],
    *,
    places: Sequence[int] | None = None,
    trust: int = 1,
) -> Any:
    forms = {form: weights[term] for term in terms for form in space.forms(term)}
    usual = space.statistics.usual
    about = {"terms": json.dumps(forms), "space": space.id, "most": _FOUND_MAX}
    about |= {"own": OWN * usual, "usual": USUAL * usual}
    way = "best"
    if places is not None:
        way, about["places"] = "among", json.dumps(places)
    elif trust > 1:
        way, about["trust"] = "trusted", trust
    return connection.execute(_WEIGH[connection.dialect.name, way], about)


def _weighing(dialect: str, way: str) -> Any:
    """Build the statement that weighs; ``score`` of agents/memory/ranking.py does as much.

    ``best``: all that have the terms; ``trusted``: those of some trust; ``among``: some places.
    """
    part = "t.times * CAST(:own AS bigint)"
    beside = f"CAST(:usual AS bigint) + {LENGTH * 1000} * CAST(t.length AS bigint)"
    places = f"AND t.place IN (SELECT CAST(value AS integer) FROM {_LISTED[dialect]})"
    which = places.format("places") if way == "among" else ""
    rows = f"memory_terms AS t WHERE t.space_id = :space AND t.term = a.key {which}"
    fenced = f"(SELECT t.place, t.times, t.length FROM {rows} OFFSET 0) AS t"
    named = _NAMED[dialect].format("terms")
    told = f"(SELECT key, CAST(value AS integer) AS weight FROM {named} LIMIT 1000) AS a"
    found = {
        "postgresql": f"{told} CROSS JOIN LATERAL {fenced}",
        "sqlite": f"{told} CROSS JOIN {rows}",
    }[dialect]
    every = f"""
        SELECT t.place, sum(CAST(a.weight * ({part}) / ({part} + {beside}) AS integer)) AS points
        FROM {found} GROUP BY t.place
        """
    first = "ORDER BY 2 DESC, 1 DESC LIMIT :most"
    turned = ("f.place, f.points", "f.place")
    return text(
        {
            "best": _with_turns(dialect, f"{every} {first}", *turned),
            "trusted": f"{_with_turns(dialect, every, *turned, _TRUSTED)} {first}",
            "among": f"{every} {first}",
        }[way]
    )


_TRUSTED = "AND m.trust >= :trust"


def _with_turns(dialect: str, rows: str, told: str, place: str, which: str = "") -> str:
    turn = f"memories AS m WHERE m.space_id = :space AND m.place = {place} {which}"
    return {
        "postgresql": f"""
            SELECT {told}, m.thread, m.turn FROM ({rows}) AS f
            CROSS JOIN LATERAL (SELECT m.thread, m.turn FROM {turn} OFFSET 0) AS m
            """,
        "sqlite": f"SELECT {told}, m.thread, m.turn FROM ({rows}) AS f CROSS JOIN {turn}",
    }[dialect]


_WAYS = ("best", "trusted", "among")
_WEIGH = {(d, way): _weighing(d, way) for d in _DIALECTS for way in _WAYS}


def turns_of(connection: Connection, space: Space, places: Collection[int]) -> dict[int, Turn]:
    """Return the turns of memories, by their places."""
    if not places:
        return {}
    about = {"space": space.id, "places": json.dumps(sorted(places))}
    rows = connection.execute(_TURNS[connection.dialect.name], about)
    return {place: (thread, turn) for place, thread, turn in rows}


def _placed(dialect: str) -> str:
    """Rows of places, as numbers."""
    each = _LISTED[dialect].format("places")
    return f"SELECT CAST(value AS integer) AS place FROM {each}"


def _trusting(dialect: str) -> Any:
    here = "m.space_id = :space AND m.place = f.place AND m.state = 'live'"
    rows = f"FROM ({_placed(dialect)}) AS f CROSS JOIN"
    return text(
        {
            "postgresql": f"""
                SELECT m.place, m.trust {rows} LATERAL
                (SELECT m.place, m.trust FROM memories AS m WHERE {here} OFFSET 0) AS m
                """,
            "sqlite": f"SELECT m.place, m.trust {rows} memories AS m WHERE {here}",
        }[dialect]
    )


_TRUSTS = {d: _trusting(d) for d in _DIALECTS}
_TURNS = {d: text(_with_turns(d, _placed(d), "f.place", "f.place")) for d in _DIALECTS}


def trusts_of(connection: Connection, space: Space, places: Collection[int]) -> dict[int, int]:
    """Return the trust of memories that are there still, by their places."""
    if not places:
        return {}
    about = {"space": space.id, "places": json.dumps(sorted(places))}
    rows = connection.execute(_TRUSTS[connection.dialect.name], about)
    return {row.place: row.trust for row in rows}


def texts(connection: Connection, space: Space, spots: Sequence[RankedPlace]) -> dict[Any, Any]:
    """Read the rows of memories that are there still, by their places or else by their turns."""
    places = [spot.place for spot in spots if spot.place is not None]
    turns = [spot.turn for spot in spots if spot.place is None]
    if not spots:
        return {}
    about = {"space": space.id, "places": json.dumps(places), "turns": json.dumps(turns)}
    rows = connection.execute(_TEXTS[connection.dialect.name], about).all()
    return {(row.place if row.placed else (row.thread, row.turn)): row for row in rows}


def _reading(dialect: str) -> Any:
    names = [c.name for c in table(MemoryRow).columns]
    wanted = ", ".join(f"m.{name}" for name in names)
    here = "FROM memories AS m WHERE m.space_id = :space AND m.state = 'live' AND"
    turn = {
        "postgresql": "m.thread = a.value->>0 AND m.turn = CAST(a.value->>1 AS integer)",
        "sqlite": "m.thread = json_extract(a.value, '$[0]')"
        " AND m.turn = json_extract(a.value, '$[1]')",
    }[dialect]
    turns = {
        "postgresql": "json_array_elements(CAST(:turns AS json)) AS a",
        "sqlite": "json_each(:turns) AS a",
    }[dialect]
    placed = f"({_placed(dialect)}) AS a"
    parts = [(placed, "m.place = a.place", 1), (turns, turn, 0)]
    each = {
        "postgresql": "SELECT {flag} AS placed, m.* FROM {of} CROSS JOIN LATERAL "
        "(SELECT {wanted} {here} {on} OFFSET 0) AS m",
        "sqlite": "SELECT {flag} AS placed, {wanted} FROM {of} CROSS JOIN "
        "memories AS m WHERE m.space_id = :space AND m.state = 'live' AND {on}",
    }[dialect]
    asked = [each.format(flag=f, of=of, on=on, wanted=wanted, here=here) for of, on, f in parts]
    return text(" UNION ALL ".join(asked)).columns(column("placed"), *table(MemoryRow).columns)


_TEXTS = {dialect: _reading(dialect) for dialect in _DIALECTS}
