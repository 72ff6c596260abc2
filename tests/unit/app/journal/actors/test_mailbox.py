"""Trimming mailboxes: what was taken up long ago goes; what is unread, or new, or last, stays."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select, update

from app.journal import Journal
from app.journal.actors import mailbox
from app.journal.schema.models import Entry
from app.journal.schema.rows import NewEntry
from app.journal.schema.transactions import in_transaction
from app.journal.steps.entries import append
from celery_agents.contracts.flows.actors import REPLY
from celery_agents.contracts.flows.entries import ANSWERS, SIGNALS
from tests.unit.app.journal.support import World, claimed, step

DAY_S = 86_400.0


def write(world: World, prefix: str, count: int, old: int) -> None:
    """Entries, of which so many are two days old."""
    new = [NewEntry("", f"{prefix}s", "message", {"n": n}, f"m{n}") for n in range(count)]
    in_transaction(world.engine, lambda c: append(c, new))
    these = (Entry.stream == f"{prefix}s") & (Entry.seq < old)
    older = update(Entry).where(these).values(at=Entry.at - 2 * DAY_S)
    in_transaction(world.engine, lambda c: c.execute(older))


def left(world: World, prefix: str) -> list[int]:
    query = select(Entry.seq).where(Entry.stream == f"{prefix}s").order_by(Entry.seq)
    return in_transaction(world.engine, lambda c: [*c.execute(query).scalars()])


def trim(world: World, claim: Any, heard: int) -> None:
    in_transaction(world.engine, lambda c: mailbox.trim(c, claim, heard, DAY_S))


@pytest.fixture
def claim(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(mailbox, "EVERY", 1)
    return claimed(journal, "s", step("s"))


def test_what_was_taken_up_long_ago_goes(world: World, claim: Any) -> None:
    write(world, SIGNALS, 10, old=6)
    write(world, ANSWERS, 5, old=5)
    trim(world, claim, heard=3)
    assert left(world, SIGNALS) == [*range(4, 10)]  # 4 and 5 are old, and unread
    assert left(world, ANSWERS) == [4]  # the next place is 5
    trim(world, claim, heard=9)
    assert left(world, SIGNALS) == [*range(6, 10)]


def test_the_last_one_stays_and_nothing_else_is_touched(world: World, claim: Any) -> None:
    write(world, SIGNALS, 3, old=3)
    write(world, "order/", 3, old=3)
    trim(world, claim, heard=2)
    assert left(world, SIGNALS) == [2]
    assert left(world, "order/") == [0, 1, 2]
    (placed,) = in_transaction(
        world.engine, lambda c: append(c, [NewEntry("", f"{SIGNALS}s", "message", {}, "m0")])
    )
    assert (placed.seq, placed.known) == (3, False)


def test_it_is_seldom_and_a_part_at_a_time(
    world: World, claim: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(world, SIGNALS, 8, old=8)
    monkeypatch.setattr(mailbox, "EVERY", 8)
    trim(world, claim, heard=7)
    assert len(left(world, SIGNALS)) == 8
    monkeypatch.setattr(mailbox, "EVERY", 1)
    monkeypatch.setattr(mailbox, "MOST", 3)
    for number in (3, 6, 7, 7):
        trim(world, claim, heard=7)
        assert len(left(world, SIGNALS)) == 8 - number


def test_what_lay_there_for_long_stays_until_its_answer_is_old_too(
    world: World, claim: Any
) -> None:
    """Else who waits is told that nobody knows it, and asks again: it would be done twice."""
    write(world, SIGNALS, 4, old=4)
    answered = [NewEntry("", f"{ANSWERS}s", REPLY, {"value": n}, f"m{n}") for n in range(4)]
    in_transaction(world.engine, lambda c: append(c, answered))
    trim(world, claim, heard=3)  # all were taken up just now
    assert (left(world, SIGNALS), left(world, ANSWERS)) == ([0, 1, 2, 3], [0, 1, 2, 3])
    these = (Entry.stream == f"{ANSWERS}s") & (Entry.seq < 2)
    older = update(Entry).where(these).values(at=Entry.at - 2 * DAY_S)
    in_transaction(world.engine, lambda c: c.execute(older))
    trim(world, claim, heard=3)
    assert (left(world, SIGNALS), left(world, ANSWERS)) == ([2, 3], [2, 3])
