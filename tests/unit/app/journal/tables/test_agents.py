from __future__ import annotations

from typing import Any

from app.journal import Journal
from app.journal.queries import reads
from app.journal.stores.posted import PostedAgents
from app.journal.tables.agents import announce
from tests.unit.app.journal.support import OnPostgres, World, meanwhile


def row(name: str, **more: Any) -> dict[str, Any]:
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


def names(journal: Journal) -> list[str]:
    return [a["name"] for a in journal.read(reads.agents)]


def test_a_worker_that_read_of_one_before_it_was_deleted_does_not_bring_it_back(
    world: World, journal: Journal
) -> None:
    stored = PostedAgents(world.engine)
    stored.put("made", {"kind": "http"}, "me")
    offered = [row("own"), row("made", posted=True)]
    journal.transaction(lambda c: announce(c, offered))
    assert names(journal) == ["made", "own"]
    assert stored.drop("made")
    journal.transaction(lambda c: announce(c, offered))
    assert names(journal) == ["own"]


class TestAmidAnother(OnPostgres):
    def test_one_is_deleted_while_a_worker_writes_it_down(
        self, world: World, journal: Journal
    ) -> None:
        stored = PostedAgents(world.engine)
        stored.put("made", {"kind": "http"}, "me")
        with world.engine.begin() as worker:
            announce(worker, [row("made", posted=True)])
            with meanwhile(world, lambda: stored.drop("made")) as dropped:
                worker.commit()
        assert dropped == [True]
        assert names(journal) == []
