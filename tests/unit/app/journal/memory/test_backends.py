"""Backends of memories: words, vectors, links, and those of plug-ins, on both databases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from sqlalchemy import select

from agents.memory.backends import GraphBackend, SearchedSpace, SpaceLink, SpaceText
from app.journal import Journal
from app.journal.schema.models import MemoryLink, MemoryRow
from celery_agents.errors import ConfigurationError
from tests.unit.app.journal.memory.test_keeping import asked, is_exact, learn, new, told
from tests.unit.app.journal.memory.test_vectors import DOGS, SHOES, made
from tests.unit.app.journal.support import DONE, SOON, World, claimed, expand, plan, step


def linked(world: World) -> list[tuple[str, str, str]]:
    """The links that there are, with the texts of their ends."""
    with world.engine.connect() as c:
        rows = {
            (r.space_id, r.place): r.data["text"] for r in c.execute(select(MemoryRow.__table__))
        }
        links = c.execute(select(MemoryLink.__table__)).all()
    return sorted((rows[k.space_id, k.place], k.kind, rows[k.space_id, k.to_place]) for k in links)


def about(text: str, *others: str, kind: str = "about", **more: Any) -> Any:
    return new(text, links=tuple((kind, one) for one in others), **more)


def graph(journal: Journal, question: str, **more: Any) -> list[str]:
    return told(journal, question, backend="graph", **more)


def test_what_is_linked_is_found_up_to_two_links_away(world: World, journal: Journal) -> None:
    journal.memories.keep([new("Anna of Kiel"), new("Bert"), new("nobody")])
    journal.memories.keep([about("wears 43", "Anna of Kiel")])
    journal.memories.keep([about("so boots were returned", "wears 43", kind="caused")])
    journal.memories.keep([about("the shop paid back", "so boots were returned", kind="caused")])
    assert told(journal, "Anna") == ["Anna of Kiel"]
    found = ["Anna of Kiel", "wears 43", "so boots were returned"]
    assert graph(journal, "Anna") == found  # the third link is too far
    assert graph(journal, "boots") == [
        "so boots were returned",
        "the shop paid back",
        "wears 43",
        "Anna of Kiel",
    ]
    assert graph(journal, "shoes") == []
    is_exact(world)


def test_links_lead_nowhere_but_to_memories_of_the_same_space(
    world: World, journal: Journal
) -> None:
    journal.memories.keep([new("theirs", space="t"), new("another's", tenant="acme")])
    journal.memories.keep([about("mine", "theirs", "another's", "no such id", "mine")])
    assert linked(world) == []
    assert graph(journal, "mine") == ["mine"]


def test_a_correction_takes_over_the_links_of_what_it_corrects(
    world: World, journal: Journal
) -> None:
    journal.memories.keep([new("Anna")])
    journal.memories.keep([about("wears 43", "Anna")])
    journal.memories.keep([about("so boots were returned", "wears 43", kind="caused")])
    journal.memories.keep([new("wears 44", replaces="wears 43")])
    assert graph(journal, "Anna") == ["Anna", "wears 44", "so boots were returned"]
    assert linked(world) == [
        ("so boots were returned", "caused", "wears 44"),
        ("wears 44", "about", "Anna"),
    ]
    journal.memories.erase("", "s", ["wears 44"])
    assert (graph(journal, "Anna"), linked(world)) == (["Anna"], [])
    journal.memories.keep([about("wears 45", "Anna")])
    journal.memories.erase("", "s")
    assert linked(world) == []


def test_links_hold_once_the_run_has_succeeded(world: World, journal: Journal) -> None:
    journal.memories.keep([new("Anna")])
    one, two = expand(journal, "r", plan("one", "two"))
    learn(journal, one, about("wears 43", "Anna", run_id="r"))
    learn(journal, two, about("likes blue", "wears 43", "Anna", run_id="r"))
    assert linked(world) == []
    assert graph(journal, "Anna", run_id="other") == ["Anna"]
    assert journal.finish(claimed(journal, "r"), DONE).result(SOON).applied
    assert set(graph(journal, "Anna")) == {"Anna", "wears 43", "likes blue"}
    assert len(linked(world)) == 3
    is_exact(world)


def test_links_are_followed_from_what_vectors_find_too(journal: Journal) -> None:
    journal.memories.keep([new("boots", vector=made(SHOES)), new("a terrier", vector=made(DOGS))])
    journal.memories.keep([about("paid by card", "boots")])
    question: Any = {"vector": made(SHOES), "backend": "graph"}
    assert told(journal, "?", **question)[:2] == ["boots", "paid by card"]
    assert told(journal, "boots", vector=made(DOGS), backend="sql") == ["boots"]


def test_no_memory_wins_by_having_many_links() -> None:
    class Space:
        def __init__(self) -> None:
            self.words = {1: 100, 2: 90, 3: 80}

        def near(self, _: Any) -> dict[int, int]:
            return {}

        def links(self, places: Any) -> list[SpaceLink]:
            hub = [SpaceLink("about", place, 9) for place in (1, 2, 3)]
            return [link for link in hub if {link.place, link.to} & {*places}]

    space: Any = Space()
    assert GraphBackend().find(space) == {1: 125, 2: 115, 3: 105, 9: 50}


class Mirror:
    """Keeps what is in a space by itself, and finds what has a letter of the question."""

    def __init__(self) -> None:
        self.read: dict[int, list[SpaceText]] = {}

    def find(self, space: SearchedSpace) -> Mapping[int, int]:
        mine = self.read.setdefault(space.id, [])
        while some := space.newer(mine[-1].place if mine else -1, most=2):
            mine += some
        return {one.place: 10 for one in mine if {*one.text} & {*space.question}}


def test_one_of_a_plug_in_reads_what_is_new_to_it_and_no_more(
    world: World, journal: Journal
) -> None:
    journal.memories.backends["mine"] = mirror = Mirror()
    late = claimed(journal, "r", step("r"))
    one, two = expand(journal, "t", plan("one", "two"))
    learn(journal, one, new("early xa", run_id="t"))  # kept before the others, seen after them
    journal.memories.keep([new("xb"), new("xc"), new("d"), new("xe")])
    assert told(journal, "x", backend="mine") == ["xe", "xc", "xb"]
    assert told(journal, "x", backend="mine", space="t") == []
    journal.memories.keep([new("", replaces="xc")])
    learn(journal, late, new("xr", run_id="r"))
    learn(journal, two, new("xt", run_id="t"))
    assert journal.finish(claimed(journal, "t"), DONE).result(SOON).applied
    found = told(journal, "x", backend="mine")
    assert found == ["xt", "early xa", "xr", "xe", "xb"]
    assert [len(texts) for texts in mirror.read.values()] == [7]
    is_exact(world)


@pytest.mark.parametrize(
    "told_wrong",
    [ZeroDivisionError("no"), None, {"a": 1}, {1: "x"}, [1, 2], {1: float("nan")}],
)
def test_where_it_fails_words_alone_count(journal: Journal, told_wrong: Any) -> None:
    class Odd:
        def find(self, _: SearchedSpace) -> Any:
            if isinstance(told_wrong, Exception):
                raise told_wrong
            return told_wrong

    journal.memories.backends["odd"] = Odd()
    journal.memories.keep([new("shoes"), new("hats")])
    assert told(journal, backend="odd") == ["shoes"]


def test_what_it_invents_is_not_told(journal: Journal) -> None:
    class Inventor:
        def find(self, space: SearchedSpace) -> dict[int, int]:
            invented = {-1: 9, 10**6: 8, 2**31: 7, 2**60: 10**40}
            return dict.fromkeys(range(100), 1) | invented | dict(space.words)

    journal.memories.backends["odd"] = Inventor()
    journal.memories.keep([new("shoes"), new("hats")])
    assert told(journal, backend="odd") == ["shoes", "hats"]
    with pytest.raises(KeyError):
        journal.memories.recall(asked(backend="nowhere"))


def test_one_that_cannot_be_used_fails_what_names_it(journal: Journal) -> None:
    class Broken:
        def find(self, _: SearchedSpace) -> dict[int, int]:
            raise ConfigurationError("The plug-in x cannot be used.")

    journal.memories.backends["broken"] = Broken()
    journal.memories.keep([new("shoes")])
    with pytest.raises(ConfigurationError, match="plug-in x"):
        told(journal, backend="broken")
    assert told(journal) == ["shoes"]
