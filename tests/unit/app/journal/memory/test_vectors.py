"""Vectors of memories beside their words, on both databases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select

from app.journal import Journal
from app.journal.memory import vectors
from app.journal.schema.models import MemoryVector
from app.journal.schema.rows import NewMemory, TextVector
from celery_agents.contracts.memory import MemoryPolicy
from tests.unit.app.journal.memory.test_keeping import asked, learn, new
from tests.unit.app.journal.support import World, claimed, step

SHOES, DOGS, TEA = np.eye(3, dtype=np.float32)


def made(of: Any, model: str = "m") -> TextVector:
    row = np.asarray(of, dtype=np.float32)
    return TextVector(model, (row / np.linalg.norm(row)).tobytes())


def found(journal: Journal, of: Any, question: str = "?", **more: Any) -> list[str]:
    told = asked(question, vector=made(of, more.pop("model", "m")), **more)
    return [memory.text for memory in journal.memories.recall(told)]


def rows(world: World) -> int:
    with world.engine.connect() as c:
        return c.execute(select(func.count()).select_from(MemoryVector)).scalar_one()


def test_the_nearest_go_first_with_what_their_words_say(world: World, journal: Journal) -> None:
    kept = [
        new("boots", vector=made(SHOES)),
        new("a terrier", vector=made(DOGS + SHOES / 4)),
        new("nothing to compare"),
    ]
    journal.memories.keep(kept)
    assert found(journal, SHOES) == ["boots", "a terrier"]
    assert found(journal, DOGS) == ["a terrier", "boots"]
    # Words weigh more than vectors do, and find what has none.
    assert found(journal, SHOES, "compare") == ["nothing to compare", "boots", "a terrier"]
    # Those of another agent are not compared.
    assert found(journal, SHOES, "terrier", model="other") == ["a terrier"]
    assert found(journal, np.ones(5), "terrier") == ["a terrier"]
    journal.memories.keep([new("sandals", vector=made(SHOES + TEA / 9)), new("", replaces="boots")])
    assert found(journal, SHOES) == ["sandals", "a terrier"]
    assert found(journal, SHOES) == ["sandals", "a terrier"]
    assert rows(world) == 2
    journal.memories.erase("", "s", ["sandals"])
    assert found(journal, SHOES) == ["a terrier"]
    journal.memories.erase("", "s")
    assert (found(journal, SHOES), rows(world)) == ([], 0)


def test_those_of_a_run_are_there_once_it_has_succeeded(world: World, journal: Journal) -> None:
    claim = claimed(journal, "r", step("r"))
    assert learn(journal, claim, new("boots", run_id="r", vector=made(SHOES)))
    assert found(journal, SHOES) == ["boots"]
    assert rows(world) == 1


def test_another_agent_makes_them_anew(world: World, journal: Journal) -> None:
    journal.memories.keep([new(f"text {n}", vector=made(SHOES + n * DOGS)) for n in range(120)])
    store, after = journal.memories, -1
    seen: list[str] = []
    while True:
        portion, place = store.lacking("", "s", "other", after)
        if place is None:
            break
        seen += [memory.text for memory in portion]
        store.embed("", "s", {m.id: made(TEA, "other") for m in portion})
        after = place
    assert seen == [f"text {n}" for n in range(120)]
    assert rows(world) == 120
    assert found(journal, SHOES) == []
    assert len(found(journal, TEA, model="other")) == 100  # of ten tokens each


@pytest.mark.parametrize("most", [0, 10**9])
def test_mirrors_are_bounded(journal: Journal, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(vectors, "MIRRORED_BYTES", most)
    for space in "ab":
        policy = MemoryPolicy(space=space)
        text: NewMemory = new(f"boots of {space}", space=space, policy=policy, vector=made(SHOES))
        journal.memories.keep([text])
    for _ in range(2):
        for space in "ab":
            assert found(journal, SHOES, space=space) == [f"boots of {space}"]
    assert len(journal.memories.mirrors._mirrors) == (2 if most else 1)
