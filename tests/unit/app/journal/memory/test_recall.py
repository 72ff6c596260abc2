"""What is recalled, on both databases; and that spaces are apart, whatever is done."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any

import pytest
from sqlalchemy import event, select, update

from agents.memory.ranking import SpaceNumbers, score
from agents.memory.terms import terms_of
from app.journal import Journal
from app.journal.memory import recall, weighing
from app.journal.schema.models import MemoryRow, MemorySpace, MemoryTerm
from celery_agents.errors import UnreadableValueError
from celery_agents.sealing import key_id, seals_of
from tests.support.drawn import costly
from tests.support.fernet import fernet_key
from tests.unit.app.journal.memory.test_keeping import asked, everything, learn, new, told
from tests.unit.app.journal.support import World, before, claimed, expand, plan, step

WORDS = [
    "shoe",
    "hat",
    "coat",
    "scarf",
    "red",
    "blue",
    "green",
    "old",
    "new",
    "wool",
    "silk",
    "size",
]


def filled(journal: Journal, number: int = 60) -> list[str]:
    chance = random.Random(7)
    texts = [
        " ".join(chance.choices(WORDS, k=chance.randrange(2, 9))) + f" n{n}" for n in range(number)
    ]
    journal.memories.keep([new(t, str(n)) for n, t in enumerate(texts)])
    return texts


def test_scores_are_those_of_the_pure_formula_and_ties_go_to_the_newest(journal: Journal) -> None:
    texts = filled(journal)
    found = journal.memories.recall(asked("red wool shoes", budget_tokens=100_000))
    all_terms = [terms_of(t, "english") for t in texts]
    numbers = SpaceNumbers(len(texts), sum(t.total() for t in all_terms))
    wanted = terms_of("red wool shoes", "english")
    weights = {w: numbers.weight(sum(w in t for t in all_terms)) for w in wanted}
    scores = {n: s for n, t in enumerate(all_terms) if (s := score(t, weights, numbers))}
    best = sorted(scores.items(), key=lambda one: (-one[1], -one[0]))
    assert [(int(m.id), m.score) for m in found] == best
    assert len({s for _, s in best}) < len(best)


def test_common_terms_weigh_what_rarer_ones_have_found(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(journal)
    journal.memories.keep([new("red shoe umbrella", "u"), new("umbrella", "v")])
    monkeypatch.setattr(weighing, "READ_MAX", 5)
    found = journal.memories.recall(asked("red umbrella"))
    assert [m.id for m in found] == ["u", "v"]
    assert found[0].score > found[1].score


def test_turns_beside_those_that_fit_are_found_too(journal: Journal) -> None:
    said = ["What is your favourite drink?", "Tea, with milk.", "I see.", "Bye."]
    journal.memories.keep([new(t, str(n), thread="talk") for n, t in enumerate(said)])
    journal.memories.keep([new("Coffee.", "other", thread="another")])
    assert told(journal, "favourite drinks") == said[:2]
    journal.memories.erase("", "s", ["1"])
    assert told(journal, "favourite drinks") == said[:1]


def test_a_recall_takes_three_statements(world: World, journal: Journal) -> None:
    said = [f"shoes of size {n}" for n in range(400)]
    journal.memories.keep([new(t, str(n), thread="talk") for n, t in enumerate(said)])
    asking: list[str] = []
    engine = journal.memories.engine
    event.listen(engine, "before_cursor_execute", lambda *of: asking.append(of[2]))
    assert len(told(journal, "shoes", budget_tokens=300)) == 30
    assert len(asking) == 3
    assert len(told(journal, "shoes", run_id="r")) == 100
    assert len(asking) < 9  # more than one page of texts


@pytest.mark.databases("postgres")
def test_what_has_become_everybodys_in_between_is_told_once(
    world: World, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = expand(journal, "r", plan("one", "two", kind="first", keep=True))
    learn(journal, one, new("shoes", run_id="r"))
    root = claimed(journal, "r")
    if world.engine.dialect.name == "sqlite":  # what is read there is of one moment
        assert told(journal, run_id="r") == ["shoes"]
        return
    ended = before(monkeypatch, weighing, "scores", lambda: learn(journal, root))
    assert told(journal, run_id="r") == ["shoes"]
    assert ended == [True]
    assert two.id


def test_what_others_keep_in_between_is_not_taken_for_its_own(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor its own for theirs: it has no word of the question."""
    journal.memories.keep([new("shoes of size 1", "1")])
    own = [new("umbrella", "own", run_id="r")]

    def keep() -> int:
        return journal.memories.keep([new("shoes of size 2", "2")])

    kept = before(monkeypatch, weighing, "scores", keep)
    found = told(journal, own=own, run_id="r")
    assert kept == [1]
    assert "umbrella" not in found
    assert "shoes of size 1" in found


def test_what_does_not_fit_is_passed_over(journal: Journal) -> None:
    journal.memories.keep([new("shoe", "1", tokens=90), new("shoe red", "2", tokens=20)])
    assert told(journal, "shoe", budget_tokens=50) == ["shoe red"]
    assert told(journal, "shoe", budget_tokens=10) == []
    assert told(journal, "umbrella") == []


def test_scripts_without_spaces(journal: Journal) -> None:
    journal.memories.keep([new("彼女は東京に住んでいます。", "1"), new("大阪は遠い。", "2")])
    assert [m.id for m in journal.memories.recall(asked("東京"))] == ["1"]


def test_what_a_step_has_just_learned_is_seen_by_it(journal: Journal) -> None:
    journal.memories.keep([new("shoes of size 42", "1")])
    own = [new("shoes of size 43", "2", replaces="1", run_id="r")]
    assert told(journal, own=own, run_id="r") == ["shoes of size 43"]
    assert told(journal, space="nowhere", own=own) == ["shoes of size 43"]
    assert told(journal) == ["shoes of size 42"]


def test_pages_have_all(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall, "PAGE_ROWS", 25)
    monkeypatch.setattr(recall, "_PAGE", recall._PAGE.limit(25))
    texts, found, place = filled(journal), list[str](), -1
    while True:
        page, more = journal.memories.page("", "s", place)
        found += [m.text for m in page]
        if more is None:
            break
        place = more
    assert found == texts
    assert journal.memories.page("", "nowhere", -1) == ([], None)


def test_spaces_are_apart_whatever_is_done(world: World, journal: Journal) -> None:
    """Ids of other spaces are given to each verb; the spaces of 20 tenants, against a model."""
    chance, count = random.Random(11), costly(200, part=4)
    spaces = [(f"t{n % 20}", f"s{n // 20}") for n in range(count)]
    known: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    ids: list[str] = []

    def write(place: tuple[str, str], n: int) -> None:
        replaced = chance.choice(ids) if ids and chance.random() < 0.3 else None
        about: dict[str, Any] = {"tenant": place[0], "space": place[1], "replaces": replaced}
        made = new(f"shoe {place[0]} {place[1]} {n}", f"m{n}", **about)
        if chance.random() < 0.3:
            claim = claimed(journal, f"r{n}", step(f"r{n}", tenant=place[0]))
            learn(journal, claim, made)
        else:
            journal.memories.keep([made])
        known[place].pop(replaced or "", None)
        known[place][made.id] = made.text
        ids.append(made.id)

    for n in range(count + costly(60, part=2)):
        place = spaces[n] if n < count else chance.choice(spaces)
        if n < count or chance.random() < 0.6:
            write(place, n)
        else:
            some = chance.sample(ids, 3)
            mine = [i for i in some if i in known[place]]
            everywhere = {m.id for m in everything(journal, *place)}
            assert journal.memories.erase(*place, some) == len(everywhere & {*some})
            for gone in mine:
                del known[place][gone]
    for tenant, space in spaces:
        live = known[tenant, space]
        found = journal.memories.recall(asked("shoe", tenant=tenant, space=space, run_id="r1"))
        assert {m.id: m.text for m in found} == live
        page = everything(journal, tenant, space)
        assert {m.id for m in page if m.until is None} == set(live)
        assert all(m.text.startswith(f"shoe {tenant} {space} ") for m in page)
    assert journal.memories.erase("t1", "s1") > 0
    assert journal.memories.recall(asked("shoe", tenant="t1", space="s2")) != []
    assert everything(journal, "t2", "s1") != []


class TestEncrypted:
    @pytest.fixture
    def world(self, journal_url: str) -> Any:
        made = World(journal_url, seals_of([fernet_key("one")]))
        yield made
        made.close()

    def test_neither_words_nor_texts_stand_there(self, world: World, journal: Journal) -> None:
        journal.memories.keep([new("umbrella shoes", "1"), new("more umbrellas", "2", space="t")])
        with world.engine.connect() as c:
            rows = [c.execute(select(m.__table__)).all() for m in (MemoryRow, MemorySpace)]
            terms = c.execute(select(MemoryTerm.term)).scalars().all()
        assert "umbrella" not in str([rows, terms])
        assert len(set(terms)) == len(terms) == 3  # the same word is another one in each space
        assert told(journal, "umbrellas") == ["umbrella shoes"]
        assert journal.memories.erase("", "s", ["1"]) == 1

    def test_one_that_cannot_be_read_is_listed_as_such(
        self, world: World, journal: Journal
    ) -> None:
        journal.memories.keep([new("umbrella", "1"), new("shoes", "2")])
        broken = {"$enc": f"{key_id(fernet_key('one'))}:gAAAAABbroken"}
        with world.engine.begin() as c:
            c.execute(update(MemoryRow).where(MemoryRow.id == "1").values(data=broken))
        first, other = everything(journal, "", "s")
        assert first.text.startswith("(unreadable: ")
        assert other.text == "shoes"

    def test_what_was_there_before_there_were_keys_is_found_too(
        self, world: World, journal_url: str, journal: Journal
    ) -> None:
        plain = World(journal_url)
        try:
            plain.journal("plain@here").memories.keep([new("umbrella", "1")])
            journal.memories.keep([new("umbrellas", "2")])
            assert told(journal, "umbrella") == ["umbrellas", "umbrella"]
            with pytest.raises(UnreadableValueError):
                told(plain.journal("other@here"), "umbrella")
        finally:
            plain.close()
