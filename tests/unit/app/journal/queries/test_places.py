"""Entries behind places of streams, of many at one look."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, event

from app.journal.queries.places import EntryFound, FromPlace, read_behind
from app.journal.schema.rows import NewEntry
from app.journal.steps.anyhow import CANCEL, SIGNAL
from app.journal.steps.entries import append
from tests.unit.app.journal.support import World

NAMES = ("a", "b", "c")


@pytest.fixture
def read(world: World) -> Iterator[Connection]:
    """A connection to streams of three signals each, the second of which is a cancellation."""
    kinds = (SIGNAL, CANCEL, SIGNAL)
    entries = [
        NewEntry(tenant, name, kind, {"told": f"{tenant}{name}{place}"})
        for tenant in ("", "acme")
        for name in NAMES
        for place, kind in enumerate(kinds)
    ]
    with world.engine.begin() as c:
        append(c, entries)
    with world.engine.connect() as c:
        yield c


def told(found: list[EntryFound]) -> list[str]:
    return [one.data["told"] for one in found]


def test_each_has_its_own_in_their_order(read: Connection) -> None:
    places = [FromPlace("acme", "b", 1), FromPlace("", "a", 0), FromPlace("", "none", 0)]
    first, second, none = read_behind(read, places)
    assert told(first) == ["acmeb1", "acmeb2"]
    assert [(one.seq, one.kind) for one in second] == [(0, SIGNAL), (1, CANCEL), (2, SIGNAL)]
    assert second[0].at > 0
    assert none == []


def test_some_are_left_out_and_no_others(read: Connection) -> None:
    places = [
        FromPlace("", "a", 0, 2),
        FromPlace("", "b", 0, 1, cancels=False),
        FromPlace("", "b", 1, 5, cancels=False),
        FromPlace("", "b", 0, cancels=True),
        FromPlace("", "c", 2, cancels=True),
        FromPlace("", "c", 0, 0),
        FromPlace("", "c", 0),
    ]
    assert [told(found) for found in read_behind(read, places)] == [
        ["a0", "a1"],
        ["b0"],
        ["b2"],
        ["b1"],
        [],
        [],
        ["c0", "c1", "c2"],
    ]


@pytest.mark.databases("both")
def test_to_read_many_takes_one_round_trip(read: Connection) -> None:
    sent: list[str] = []
    event.listen(read, "before_cursor_execute", lambda *told: sent.append(told[2]))
    with read.begin():
        found = read_behind(read, [FromPlace("", NAMES[n % 3], 0) for n in range(60)])
    assert [len(one) for one in found] == [3] * 60
    assert len(sent) == (60 if read.dialect.name == "sqlite" else 1)
