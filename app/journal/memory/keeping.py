"""Keeping memories: what a step has learned is its run's until that succeeds, then everybody's.

Terms stand only of what is everybody's, and the numbers of a space are of that alone; so a search
sees nothing of runs under way, and a space never has more tokens than its capacity when a
transaction ends. What is over (replaced, or the least when room was needed) keeps its text for a
while and has no terms.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from agents.memory.terms import terms_of
from app.journal.memory import links, spaces, vectors
from app.journal.memory.spaces import Space, portions
from app.journal.schema.engine import now, read_clock
from app.journal.schema.models import MemoryRow, MemorySpace, MemoryTerm, MemoryVector, Step, table
from app.journal.schema.rows import NewMemory, TextVector
from app.journal.schema.sealed import memory_data, sealed_by, sealed_memory
from celery_agents.contracts.outcome import State

PRIVATE, LIVE, OVER = "private", "live", "over"
_M = table(MemoryRow).c
_T = table(MemoryTerm).c
_P = table(MemorySpace).c
_V = table(MemoryVector).c
_S = table(Step).c
_DAY_S = 86_400.0
#: Rows that are looked at together where room is made.
_PAGE = 200


def learned(connection: Connection, run_id: str, new: Sequence[NewMemory]) -> None:
    """Keep what a step has learned that ended in this transaction.

    The root's row is held, and looked at behind that: a root that is under way will see that
    something was remembered below it when it ends; of one that has succeeded it is everybody's now.
    One that is gone was cleaned up, with all that it knew.
    """
    root = connection.execute(_TELL_ROOT, {"b_id": run_id}).first()
    if root is None:
        return
    if root.untrusted:
        new = [m if m.vouched else replace(m, trust=1) for m in new if _may_be(m)]
    keep(connection, new, live=root.state == State.SUCCEEDED)


def _may_be(memory: NewMemory) -> bool:
    return memory.vouched or memory.policy.write_untrusted != "deny"


def experienced(connection: Connection, lessons: Sequence[NewMemory]) -> None:
    """Keep how steps went that ended in this transaction, however that was: everybody's at once."""
    runs = sorted({m.run_id for m in lessons if m.run_id is not None})
    asked = select(_S.id).where(_S.id.in_(runs), _S.untrusted)
    read = set(connection.execute(asked).scalars())
    told = [replace(m, trust=1) if m.run_id in read else m for m in lessons]
    keep(connection, [m for m in told if m.trust > 1 or _may_be(m)], live=True)


_THIS_ROOT = _S.id == bindparam("b_id")
_TELL_ROOT = (
    update(table(Step)).where(_THIS_ROOT).values(remembers=True).returning(_S.state, _S.untrusted)
)


def distrust(connection: Connection, run_id: str) -> None:
    """Write down that a run has read what others wrote."""
    connection.execute(_DISTRUST, {"b_id": run_id})


def untrusted(connection: Connection, step_id: str) -> bool:
    """Return whether the run of a step has."""
    return bool(connection.execute(_UNTRUSTED, {"b_id": step_id}).scalar())


_DISTRUST = update(table(Step)).where(_THIS_ROOT, ~_S.untrusted).values(untrusted=True)
_OWN = table(Step).alias("own").c
_ITS_RUN = select(_OWN.run_id).where(_OWN.id == bindparam("b_id")).scalar_subquery()
_UNTRUSTED = select(_S.untrusted).where(_S.id == _ITS_RUN)


def keep(connection: Connection, new: Sequence[NewMemory], *, live: bool) -> int:
    """Add memories that are not there yet; returns how many those are."""
    by_space: dict[tuple[str, str], list[NewMemory]] = defaultdict(list)
    for memory in new:
        by_space[memory.tenant, memory.space].append(memory)
    added = 0
    for (tenant, name), mine in sorted(by_space.items()):
        space = spaces.begun(connection, tenant, name, mine[-1].policy)
        known = set(connection.execute(_KNOWN, {"b_ids": [m.id for m in mine]}).scalars())
        fresh = {m.id: m for m in mine if m.id not in known}
        rows = list(_rows(connection, space, [*fresh.values()], live=live))
        if rows:
            connection.execute(insert(table(MemoryRow)), rows)
            spaces.count(connection, space, places=len(rows))
        added += len(rows)
        if live:
            texts = {row["id"]: fresh[row["id"]].text for row in rows}
            _enter(connection, space, rows, texts)
            found = {row["place"]: fresh[row["id"]].vector for row in rows}
            vectors.enter(connection, space, {p: v for p, v in found.items() if v is not None})
            links.enter(connection, space, {r["place"]: fresh[r["id"]].links for r in rows})
            heirs = {r["replaces"]: r["place"] for r in rows}
            ending = _ending((m.replaces, m.trust) for m in fresh.values())
            _end(connection, space, ending, heirs)
            _make_room(connection, space)
    return added


_KNOWN = select(_M.id).where(_M.id.in_(bindparam("b_ids", expanding=True)))


def _rows(
    connection: Connection, space: Space, new: Sequence[NewMemory], *, live: bool
) -> Iterator[dict[str, Any]]:
    """Give the rows of new memories, each in the next place of its space and of its thread."""
    at, seals = read_clock(connection), sealed_by(connection)
    threads = sorted({m.thread for m in new if m.thread})
    turns = {t: _last_turn(connection, space, t) + 1 for t in threads}
    place = space.next_place
    for memory in new:
        if live and not memory.text:  # it only ends another one
            continue
        half_lives = math.log2(memory.importance)
        turn = turns.get(memory.thread, 0)
        if memory.thread:  # else it has no neighbours, and no turn
            turns[memory.thread] = turn + 1
        yield {
            "id": memory.id,
            "space_id": space.id,
            "place": place,
            "state": LIVE if live else PRIVATE,
            "data": sealed_memory(seals, memory.text, memory.id, **_kept(memory, live=live)),
            "tokens": memory.tokens,
            "length": terms_of(memory.text, space.language).total(),
            "importance": memory.importance,
            "trust": memory.trust,
            "worth": at + half_lives * memory.policy.half_life_days * _DAY_S,
            "thread": memory.thread,
            "turn": turn,
            "replaces": memory.replaces,
            "agent": memory.agent,
            "run_id": memory.run_id,
            "at": at,
            "until": None,
            "experience": None if memory.experience is None else memory.experience.compact(),
        }
        place += 1


def _last_turn(connection: Connection, space: Space, thread: str) -> int:
    """Return the last turn of a thread, -1 of a new one, from the end of an index."""
    about = {"b_space": space.id, "b_thread": thread}
    found = connection.execute(_LAST_TURN, about).scalar()
    return -1 if found is None else int(found)


_LAST_TURN = (
    select(_M.turn)
    .where(_M.space_id == bindparam("b_space"), _M.thread == bindparam("b_thread"))
    .order_by(_M.space_id.desc(), _M.thread.desc(), _M.turn.desc())
    .limit(1)
)


def _kept(memory: NewMemory, *, live: bool) -> dict[str, Any]:
    """Return what waits beside a text until its run has succeeded."""
    kept: dict[str, Any] = {}
    if not live and memory.vector is not None:
        kept["vector"] = memory.vector.told()
    if not live and memory.links:
        kept["links"] = [list(link) for link in memory.links]
    return kept


def publish(connection: Connection, run_ids: Collection[str]) -> None:
    """Make everybody's what belongs to runs that have succeeded in this transaction."""
    about = {"b_runs": sorted(run_ids)}
    for space_id, tenant, name in connection.execute(_SPACES, about).all():
        space = spaces.held(connection, tenant, name)
        if space is None or space.id != space_id:  # it was erased meanwhile
            continue
        rows = connection.execute(_PRIVATE, {**about, "b_space": space_id}).mappings().all()
        seals = sealed_by(connection)
        data = {row["id"]: memory_data(seals, row["data"], row["id"]) for row in rows}
        texts = {memory_id: told["text"] for memory_id, told in data.items()}
        ending = [row["id"] for row in rows if not texts[row["id"]]]
        said = _publish(connection, space, [row for row in rows if texts[row["id"]]])
        connection.execute(_DELETE, {"b_ids": ending})
        _enter(connection, space, said, texts, places=len(said))
        found = {row["place"]: TextVector.read(data[row["id"]].get("vector")) for row in said}
        vectors.enter(connection, space, {p: v for p, v in found.items() if v is not None})
        linked = {row["place"]: data[row["id"]].get("links") or () for row in said}
        links.enter(connection, space, linked)
        heirs = {row["replaces"]: row["place"] for row in said}
        _end(connection, space, _ending((row["replaces"], row["trust"]) for row in rows), heirs)
        _make_room(connection, space)


_OF_RUNS = (_M.run_id.in_(bindparam("b_runs", expanding=True))) & (_M.state == PRIVATE)
_SPACES = (
    select(_P.id, _P.tenant, _P.name)
    .where(_P.id.in_(select(_M.space_id).where(_OF_RUNS)))
    .order_by(_P.tenant, _P.name)
)
_PRIVATE = (
    select(table(MemoryRow)).where(_M.space_id == bindparam("b_space"), _OF_RUNS).order_by(_M.place)
)
_IDS = _M.id.in_(bindparam("b_ids", expanding=True))
_PUBLISH = (
    update(table(MemoryRow))
    .where(_M.id == bindparam("b_id"))
    .values(state=LIVE, place=bindparam("b_place"))
)
_DELETE = delete(table(MemoryRow)).where(_IDS)


def _publish(connection: Connection, space: Space, rows: Sequence[Any]) -> list[dict[str, Any]]:
    """Make rows everybody's, behind all that are; return them as they are now.

    So places are in the order in which memories became everybody's: who has read those up to one
    has missed none.
    """
    new = [{**row, "place": space.next_place + n} for n, row in enumerate(rows)]
    if new:
        told = [{"b_id": row["id"], "b_place": row["place"]} for row in new]
        connection.execute(_PUBLISH, told)
    return new


def _enter(
    connection: Connection,
    space: Space,
    rows: Sequence[Any],
    texts: Mapping[str, str],
    places: int = 0,
) -> None:
    """Write the terms of memories, and count these, and the places that were given to them."""
    if not rows:
        return
    terms = [
        {
            "space_id": space.id,
            "term": space.form(term),
            "place": row["place"],
            "times": times,
            "length": row["length"],
        }
        for row in rows
        for term, times in sorted(terms_of(texts[row["id"]], space.language).items())
    ]
    if terms:
        connection.execute(insert(table(MemoryTerm)), terms)
    length, tokens = (sum(row[of] for row in rows) for of in ("length", "tokens"))
    more = {"length": length, "tokens": tokens, "places": places}
    spaces.count(connection, space, memories=len(rows), **more)


def _ending(told: Iterable[tuple[str | None, int]]) -> dict[str, int]:
    """Return what is ended, with the most trust of those that end it."""
    return {ended: trust for ended, trust in sorted(told, key=lambda t: t[1]) if ended}


def embed(connection: Connection, tenant: str, name: str, told: Mapping[str, TextVector]) -> int:
    """Write vectors of memories, by their ids, in place of others; returns how many are there."""
    if (space := spaces.held(connection, tenant, name)) is None:
        return 0
    rows = connection.execute(_NAMED, {"b_space": space.id, "b_ids": sorted(told)}).all()
    vectors.enter(connection, space, {row.place: told[row.id] for row in rows}, alone=True)
    return len(rows)


def _end(
    connection: Connection,
    space: Space,
    ending: Mapping[str, int],
    heirs: Mapping[str | None, int],
) -> None:
    """End memories of a space that are everybody's: they keep their text, and are not found.

    ``ending`` has the trust of what ends each: what others may have written ends nothing that is
    trusted more, and stands beside it. ``heirs`` are the places of what stands in theirs.
    """
    if ending:
        about = {"b_space": space.id, "b_ids": sorted(ending)}
        found = connection.execute(_NAMED, about).all()
        over = [row for row in found if min(row.trust, 2) <= ending[row.id]]
        left = {row.place: heirs[row.id] for row in over if row.id in heirs}
        links.inherit(connection, space, left)
        _over(connection, space, over)


_ENTERED = select(_M.id, _M.place, _M.tokens, _M.length, _M.trust).where(
    _M.space_id == bindparam("b_space"), _M.state == LIVE
)
_NAMED = _ENTERED.where(_IDS)


def _over(connection: Connection, space: Space, rows: Sequence[Any]) -> None:
    if not rows:
        return
    connection.execute(_END, {"b_ids": [row.id for row in rows]})
    _leave(connection, space, rows)


_END = update(table(MemoryRow)).where(_IDS).values(state=OVER, until=now())


def _leave(connection: Connection, space: Space, rows: Sequence[Any]) -> None:
    """Delete the terms of memories that were everybody's, and count these no more."""
    for some in portions([row.place for row in rows], _PAGE):
        connection.execute(_UNSAY, {"b_space": space.id, "b_places": some})
    vectors.leave(connection, space, [row.place for row in rows])
    links.leave(connection, space, [row.place for row in rows])
    length, tokens = sum(row.length for row in rows), sum(row.tokens for row in rows)
    spaces.count(connection, space, memories=-len(rows), length=-length, tokens=-tokens)


_UNSAY = delete(table(MemoryTerm)).where(
    _T.space_id == bindparam("b_space"), _T.place.in_(bindparam("b_places", expanding=True))
)


def _make_room(connection: Connection, space: Space) -> None:
    """End what is worth least until the space is within its capacity."""
    tokens = connection.execute(_TOKENS, {"b_id": space.id}).scalar_one()
    while (above := tokens - space.capacity_tokens) > 0:
        going: list[Any] = []
        for row in connection.execute(_LEAST, {"b_space": space.id}).all():
            if above <= 0:
                break
            going.append(row)
            above -= row.tokens
        _over(connection, space, going)
        tokens -= sum(row.tokens for row in going)


_TOKENS = select(_P.tokens).where(_P.id == bindparam("b_id"))
_LEAST = _ENTERED.order_by(_M.worth, _M.place).limit(_PAGE)


def erase(
    connection: Connection, tenant: str, name: str, ids: Collection[str] | None = None
) -> int:
    """Delete memories of a space, those of runs under way too; all of them with the space itself.

    Returns how many there were.
    """
    if connection.dialect.name == "sqlite":  # what is deleted is overwritten in the file
        connection.exec_driver_sql("PRAGMA secure_delete = ON")
    space = spaces.held(connection, tenant, name)
    if space is None:
        return 0
    if ids is None:
        connection.execute(delete(table(MemoryTerm)).where(_T.space_id == space.id))
        connection.execute(delete(table(MemoryVector)).where(_V.space_id == space.id))
        links.erase(connection, space)
        gone = connection.execute(_DELETE_ALL, {"b_space": space.id}).rowcount
        connection.execute(delete(table(MemorySpace)).where(_P.id == space.id))
        return int(gone)
    about = {"b_space": space.id, "b_ids": sorted(ids)}
    entered = connection.execute(_NAMED, about).all()
    if entered:
        _leave(connection, space, entered)
    return int(connection.execute(_DELETE_NAMED, about).rowcount)


_DELETE_ALL = delete(table(MemoryRow)).where(_M.space_id == bindparam("b_space"))
_DELETE_NAMED = _DELETE_ALL.where(_IDS)
