from __future__ import annotations

from app.journal import Journal
from app.journal.queries import reads
from app.journal.tables.agents import announce
from tests.unit.app.journal.support import World


def row(name: str, **more: str) -> dict[str, str]:
    return {"name": name, "kind": "function", "description": "", "effects": "pure", **more}


def test_what_a_worker_offers_is_listed(world: World, journal: Journal) -> None:
    journal.transaction(lambda c: announce(c, [row("b"), row("a", description="first")]))
    found = journal.read(reads.agents)
    assert [(a["name"], a["description"]) for a in found] == [("a", "first"), ("b", "")]
    assert abs(found[0]["seen_at"] - world.clock()) < 60


def test_a_newer_worker_has_the_last_word(journal: Journal) -> None:
    journal.transaction(lambda c: announce(c, [row("a"), row("b")]))
    journal.transaction(lambda c: announce(c, [row("a", kind="http", effects="effect")]))
    found = {a["name"]: (a["kind"], a["effects"]) for a in journal.read(reads.agents)}
    assert found == {"a": ("http", "effect"), "b": ("function", "pure")}


def test_a_worker_without_agents(journal: Journal) -> None:
    journal.transaction(lambda c: announce(c, []))
    assert journal.read(reads.agents) == []
