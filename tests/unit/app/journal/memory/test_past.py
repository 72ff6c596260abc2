"""What a space held at a moment, on both databases."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from app.journal import Journal
from app.journal.memory import past
from app.journal.schema.models import MemoryRow
from celery_agents.errors import InvalidPayloadError
from tests.unit.app.journal.memory.test_keeping import asked, new, told
from tests.unit.app.journal.memory.test_recall import filled
from tests.unit.app.journal.support import World

#: Later than any clock here.
LATER_S = 1e11


def held(world: World, memory_id: str, at: float, until: float | None) -> None:
    """Let a memory have held from a moment to another one."""
    values = {MemoryRow.at: at, MemoryRow.until: until}
    with world.engine.begin() as c:
        c.execute(update(MemoryRow).where(MemoryRow.id == memory_id).values(values))


def test_what_holds_now_is_recalled_as_ever(journal: Journal) -> None:
    filled(journal)
    said = ["What is your favourite drink?", "Tea, with milk.", "I see."]
    journal.memories.keep([new(t, f"t{n}", thread="talk") for n, t in enumerate(said)])
    for question in ("red wool shoes", "favourite drinks", "umbrella"):
        now = journal.memories.recall(asked(question, budget_tokens=300))
        then = journal.memories.recall(asked(question, budget_tokens=300, at=LATER_S))
        assert [(m.id, m.score) for m in then] == [(m.id, m.score) for m in now]


def test_what_was_replaced_held_until_then(world: World, journal: Journal) -> None:
    journal.memories.keep([new("Shoes: 42.", "old"), new("A hat.", "hat")])
    journal.memories.keep([new("Shoes: 43.", "new", replaces="old")])
    held(world, "old", 100.0, 200.0)
    held(world, "new", 200.0, None)
    at = {99.9: [], 100.0: ["Shoes: 42."], 199.9: ["Shoes: 42."], 200.0: ["Shoes: 43."]}
    assert {moment: told(journal, at=moment) for moment in at} == at
    assert told(journal) == ["Shoes: 43."]
    assert told(journal, at=LATER_S, tenant="other") == told(journal, at=LATER_S, space="t") == []
    assert told(journal, at=150.0, trust=3) == []


def test_words_weigh_as_they_did_then(world: World, journal: Journal) -> None:
    """One that everybody had later was rare."""
    journal.memories.keep([new("red shoe", "a"), new("blue umbrella", "b")])
    journal.memories.keep([new(f"blue coat {n}", f"c{n}") for n in range(20)])
    held(world, "a", 1.0, None)
    held(world, "b", 1.0, None)
    (then,) = journal.memories.recall(asked("blue", at=2.0))
    now = {m.id: m.score for m in journal.memories.recall(asked("blue"))}
    assert then.id == "b"
    assert then.score > now["b"]


def test_what_is_erased_never_was(world: World, journal: Journal) -> None:
    journal.memories.keep([new("Shoes: 42.", "old")])
    held(world, "old", 1.0, None)
    assert told(journal, at=2.0) == ["Shoes: 42."]
    journal.memories.erase("", "s", ["old"])
    assert told(journal, at=2.0) == []


def test_too_many_to_read_are_refused(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(past, "PAST_MAX", 2)
    journal.memories.keep([new("Shoes: 42.", "a"), new("Shoes: 43.", "b")])
    assert len(told(journal, at=LATER_S)) == 2
    monkeypatch.setattr(past, "PAST_MAX", 1)
    with pytest.raises(InvalidPayloadError, match="at: the space had more than 1 memories then"):
        told(journal, at=LATER_S)
