from __future__ import annotations

import threading

from app.journal import Journal
from app.journal.tables.memos import change
from tests.unit.app.journal.support import SOON, World


def add(journal: Journal, key: str) -> dict[str, int]:
    return journal.transaction(lambda c: change(c, key, lambda d: {"n": d.get("n", 0) + 1}))


def test_a_memo_begins_empty_and_is_kept(journal: Journal) -> None:
    assert add(journal, "k") == {"n": 1}
    assert add(journal, "k") == {"n": 2}
    assert add(journal, "other") == {"n": 1}
    assert journal.memos.read("k") == {"n": 2}
    assert journal.memos.read("nobody's") == {}


def test_no_change_is_lost(world: World) -> None:
    journals = [world.journal(f"w{n}") for n in range(3)]
    threads = [
        threading.Thread(target=lambda j=j: [add(j, "k") for _ in range(10)]) for j in journals
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    assert add(journals[0], "k") == {"n": 31}


def test_a_turn_is_held_by_one_until_it_is_given_away_or_over(journal: Journal) -> None:
    memos = journal.memos
    assert memos.hold("turn", "a", 60.0)
    assert memos.hold("turn", "a", 60.0)
    assert not memos.hold("turn", "b", 60.0)
    memos.release("turn", "b")  # it is not its own
    assert not memos.hold("turn", "b", 60.0)
    memos.release("turn", "a")
    assert memos.hold("turn", "b", -1.0)  # whoever had it is gone
    assert memos.hold("turn", "a", 60.0)
