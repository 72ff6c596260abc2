"""Vectors of memories beside their words, on both databases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection, func, select, update

from app.journal import Journal
from app.journal.memory import vectors
from app.journal.memory.copied import copied
from app.journal.schema.models import MemoryVector
from app.journal.schema.rows import NewMemory, TextVector
from celery_agents.contracts.memory import MemoryPolicy
from tests.unit.app.journal.memory.test_keeping import asked, learn, new, told
from tests.unit.app.journal.support import OnPostgres, World, claimed, step

SHOES, DOGS, TEA = np.eye(3, dtype=np.float32)


def made(of: Any, model: str = "m") -> TextVector:
    row = np.asarray(of, dtype=np.float32)
    return TextVector(model, (row / np.linalg.norm(row)).tobytes())


def found(journal: Journal, of: Any, question: str = "?", **more: Any) -> list[str]:
    vector = made(of, more.pop("model", "m"))
    return [m.text for m in journal.memories.recall(asked(question, vector=vector, **more))]


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


def test_the_nearest_are_found_however_much_is_nearer_that_may_not_be_told(
    journal: Journal,
) -> None:
    """What is over, or has less trust than is asked for, takes nobody's place."""
    wanted = {f"boots {n}" for n in range(20)}
    kept = [new(text, vector=made(TEA + SHOES)) for text in sorted(wanted)]
    kept += [new(f"lies {n}", trust=1, vector=made(TEA)) for n in range(1_300)]
    journal.memories.keep(kept)
    assert not wanted & {*found(journal, TEA)}
    assert {*found(journal, TEA, trust=2)} == wanted
    assert {*found(journal, TEA, "lies boots", trust=2)} == wanted
    # The words alone, of which more are in the others.
    more = [new(f"boots boots boots {n}", trust=1) for n in range(400)]
    journal.memories.keep(more)
    assert {*told(journal, "boots", trust=2)} == wanted
    journal.memories.keep([new("", f"no {n}", replaces=f"lies {n}") for n in range(1_300)])
    assert {*found(journal, TEA)} == wanted
    assert len(journal.memories.mirrors._mirrors) == 1
    assert [m.rows for m in journal.memories.mirrors._mirrors.values()] == [20]


def test_a_mirror_of_what_is_mostly_over_is_read_anew(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memories that come and go do not fill a process, though no question comes upon them."""
    monkeypatch.setattr(vectors, "PORTION", 10)
    monkeypatch.setattr(vectors, "NEAREST", 1)
    monkeypatch.setattr(vectors, "ENOUGH", 1)
    journal.memories.keep([new("tea", vector=made(TEA))])
    for n in range(6):
        some = [f"shoes {n} {m}" for m in range(10)]
        journal.memories.keep([new(text, vector=made(SHOES)) for text in some])
        assert found(journal, TEA)[0] == "tea"
        journal.memories.erase("", "s", some)
        (mirror,) = journal.memories.mirrors._mirrors.values()
        assert mirror.rows <= 42  # twice what is there, and a portion


@pytest.mark.parametrize("most", [0, 400, 10**9])
def test_what_a_mirror_has_no_room_for_is_compared_all_the_same(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(vectors, "PORTION", 10)
    monkeypatch.setattr(vectors, "TOGETHER", 4)
    chance = np.random.default_rng(1)
    texts = [f"text {n}" for n in range(75)]
    rows = dict(zip(texts, chance.standard_normal((75, 3)), strict=True))
    journal.memories.keep([new(text, vector=made(row)) for text, row in rows.items()])
    monkeypatch.setattr(vectors, "MIRRORED_BYTES", most)
    for n in range(3):
        cosines = {text: float(row_of(row) @ SHOES) for text, row in rows.items()}
        wide = max(cosines.values()) - min(cosines.values())
        got = [cosines[text] for text in found(journal, SHOES)[:30]]
        # Ranks are in thousandths.
        assert got == pytest.approx(sorted(cosines.values())[:-31:-1], abs=2 * wide / 1_000)
        (mirror,) = journal.memories.mirrors._mirrors.values()
        assert mirror.bytes <= most + 10 * SHOES.nbytes
        # Others come, and one that was there is made anew.
        some = [f"more {n} {m}" for m in range(3)]
        rows |= dict(zip(some, chance.standard_normal((3, 3)), strict=True))
        journal.memories.keep([new(text, vector=made(rows[text])) for text in some])
        nearest = max(cosines, key=cosines.__getitem__)
        rows[nearest] = -SHOES
        journal.memories.embed("", "s", {nearest: made(-SHOES)})


def row_of(of: Any) -> Any:
    return np.frombuffer(made(of).data, dtype=np.float32)


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("portion", [1, 2, 4_096])
def test_those_that_were_written_as_json_are_read(
    world: World, journal: Journal, monkeypatch: pytest.MonkeyPatch, portion: int, place: int
) -> None:
    monkeypatch.setattr(vectors, "PORTION", portion)
    journal.memories.keep([new("boots", vector=made(SHOES)), new("tea", vector=made(TEA))])
    earlier = {"data": {"vector": made(SHOES).told()[1]}, "vector": None}
    with world.engine.begin() as c:
        c.execute(update(MemoryVector).where(MemoryVector.place == place).values(earlier))
    assert found(journal, SHOES if place == 0 else TEA)[0] == ["boots", "tea"][place]
    (mirror,) = journal.memories.mirrors._mirrors.values()
    assert (mirror.rows, mirror.last) == (2, 1)


@pytest.mark.parametrize("portion", [1, 2, 3, 4_096])
def test_those_of_several_lengths_are_read_a_portion_at_a_time(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, portion: int
) -> None:
    monkeypatch.setattr(vectors, "PORTION", portion)
    rows = [SHOES, np.ones(5), DOGS, TEA, np.ones(2), SHOES + TEA]
    journal.memories.keep([new(f"{n}", vector=made(row)) for n, row in enumerate(rows)])
    assert found(journal, TEA) == ["3", "5", "2", "0"]
    (mirror,) = journal.memories.mirrors._mirrors.values()
    assert (mirror.rows, mirror.last) == (6, 5)


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


def test_a_question_measures_no_mirror_but_its_own(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process may have as many spaces as there are people; what they have in sum is known."""
    measured, plain = list[Any](), vars(vectors._Mirror)["bytes"].fget

    def bytes_of(mirror: Any) -> int:
        measured.append(mirror)
        return int(plain(mirror))

    monkeypatch.setattr(vectors._Mirror, "bytes", property(bytes_of))
    mirrors = journal.memories.mirrors
    for n in range(20):
        space = f"s{n}"
        text = new(space, space=space, policy=MemoryPolicy(space=space), vector=made(SHOES))
        journal.memories.keep([text])
        measured.clear()
        assert found(journal, SHOES, space=space) == [space]
        assert {*map(id, measured)} == {id(mirrors._mirrors[next(reversed(mirrors._mirrors))])}
    assert mirrors._bytes == sum(m.bytes + 1_024 for m in mirrors._mirrors.values())
    monkeypatch.setattr(vectors, "MIRRORED_BYTES", 5 * (1_024 + SHOES.nbytes))
    assert found(journal, SHOES, space="s0") == ["s0"]
    assert len(mirrors._mirrors) == len(mirrors._sizes) == 5
    assert mirrors._bytes == sum(m.bytes + 1_024 for m in mirrors._mirrors.values())


class TestAnOutage(OnPostgres):
    @pytest.mark.parametrize("portion", [1, 4_096])
    def test_a_connection_that_breaks_off_amid_vectors_is_tried_again(
        self,
        world: World,
        journal: Journal,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        portion: int,
    ) -> None:
        """By its COPY, too; and words alone do not count meanwhile."""
        monkeypatch.setattr(vectors, "PORTION", portion)
        journal.memories.keep([new(f"{n}", vector=made(SHOES + n * TEA)) for n in range(6)])
        newer, cut, copies = vectors._newer, list[int](), list[bool]()

        def cuts(connection: Connection, *about: Any) -> Any:
            if not cut:
                driver: Any = connection.connection.driver_connection
                cut.append(driver.get_backend_pid())
                with world.engine.connect() as other:
                    assert other.scalar(select(func.pg_terminate_backend(cut[0])))
            return newer(connection, *about)

        def noted(connection: Connection, about: dict[str, Any]) -> Any:
            told = copied(connection, about)
            copies.append(told is not None)
            return told

        monkeypatch.setattr(vectors, "_newer", cuts)
        monkeypatch.setattr(vectors, "copied", noted)
        assert found(journal, SHOES) == [f"{n}" for n in range(6)]
        assert cut
        assert all(copies)
        assert bool(copies) is (portion == 1)
        assert "backend has failed" not in caplog.text
