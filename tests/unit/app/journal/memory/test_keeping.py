"""Memories as steps and clients keep them, on both databases."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from sqlalchemy import event, func, select

from app.journal import Journal
from app.journal.memory.weighing import MemoryQuestion
from app.journal.schema.models import MemoryRow, MemorySpace, MemoryTerm
from app.journal.schema.rows import Claimed, NewMemory, derived_id
from celery_agents.contracts.memory import MemoryPolicy, MemoryRecord
from tests.support.drawn import costly
from tests.support.spaces import check_spaces
from tests.unit.app.journal.support import (
    DONE,
    FAILED,
    SOON,
    OnPostgres,
    World,
    before,
    claimed,
    expand,
    meanwhile,
    plan,
    step,
)

POLICY = MemoryPolicy(space="s")


def new(text: str, id: str = "", **more: Any) -> NewMemory:  # noqa: A002 - a field's name
    given: dict[str, Any] = {"tenant": "", "space": "s", "tokens": 10, "policy": POLICY}
    return NewMemory(id=id or text[:36], text=text, **given | more)


def learn(journal: Journal, claim: Claimed, *new: NewMemory, outcome: Any = DONE) -> bool:
    return journal.finish(claim, outcome, memories=new).result(SOON).applied


def asked(question: str = "shoes", **more: Any) -> MemoryQuestion:
    given: dict[str, Any] = {"tenant": "", "space": "s", "budget_tokens": 1_000}
    return MemoryQuestion(question=question, language="english", **given | more)


def told(journal: Journal, question: str = "shoes", **more: Any) -> list[str]:
    return [memory.text for memory in journal.memories.recall(asked(question, **more))]


def everything(journal: Journal, tenant: str = "", space: str = "s") -> list[MemoryRecord]:
    return journal.memories.page(tenant, space, -1)[0]


def is_exact(world: World) -> None:
    """Terms are those of the texts, and the numbers of each space are those of its rows."""
    with world.engine.connect() as c:
        check_spaces(c)


def test_what_a_run_has_learned_is_everybodys_once_it_has_succeeded(
    world: World, journal: Journal
) -> None:
    claim = claimed(journal, "r", step("r"))
    assert told(journal) == []
    assert learn(journal, claim, new("Her shoes are of size 43."))
    assert told(journal, "Which shoe size?") == ["Her shoes are of size 43."]
    (memory,) = everything(journal)
    assert (memory.run_id, memory.until) == (None, None)
    is_exact(world)


def test_a_run_that_fails_leaves_none(world: World, journal: Journal) -> None:
    learn(journal, claimed(journal, "r", step("r")), new("shoes"), outcome=FAILED)
    assert told(journal) == []
    with world.engine.connect() as c:
        assert c.execute(select(func.count()).select_from(MemoryRow)).scalar() == 0


def test_a_worker_that_comes_too_late_keeps_nothing(world: World, journal: Journal) -> None:
    late = claimed(journal, "r", step("r"))
    world.end_lease(journal)
    other = world.journal("other@here")
    newer = claimed(other, "r")
    assert not learn(journal, late, new("old shoes"))
    assert learn(other, newer, new("new shoes"))
    assert told(other) == ["new shoes"]
    is_exact(world)


def test_members_share_what_they_have_learned_within_their_run(
    world: World, journal: Journal
) -> None:
    one, two = expand(journal, "r", plan("one", "two"))
    learn(journal, one, new("shoes of one", run_id="r"))
    assert told(journal) == []
    assert told(journal, run_id="other") == []
    assert told(journal, run_id="r") == ["shoes of one"]
    assert everything(journal) == []
    learn(journal, two, new("shoes of two", run_id="r"))
    assert set(told(journal, run_id="r")) == {"shoes of one", "shoes of two"}
    is_exact(world)
    root = claimed(journal, "r")
    assert journal.finish(root, DONE).result(SOON).applied
    assert set(told(journal)) == {"shoes of one", "shoes of two"}
    is_exact(world)


def test_a_team_that_fails_leaves_what_only_it_sees(world: World, journal: Journal) -> None:
    one, _ = expand(journal, "r", plan("one", "two", kind="first"))
    learn(journal, one, new("shoes", run_id="r"))
    journal.finish(claimed(journal, "r"), FAILED).result(SOON)
    assert told(journal) == []
    assert told(journal, run_id="r") == ["shoes"]
    is_exact(world)


def test_who_ends_behind_its_root_shares_at_once(world: World, journal: Journal) -> None:
    one, two = expand(journal, "r", plan("one", "two", kind="first", keep=True))
    journal.finish(one, DONE).result(SOON)
    journal.finish(claimed(journal, "r"), DONE).result(SOON)
    assert learn(journal, two, new("late shoes", run_id="r"))
    assert told(journal) == ["late shoes"]
    is_exact(world)


class TestAtOnce(OnPostgres):
    def test_a_root_that_ends_while_a_member_does_publishes_what_that_has_learned(
        self, world: World, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from app.journal.memory import keeping

        one, two = expand(journal, "r", plan("one", "two", kind="first", keep=True))
        journal.finish(one, DONE).result(SOON)
        root = claimed(other := world.journal("other@here"), "r")
        ending = before(
            monkeypatch,
            keeping,
            "keep",
            lambda: meanwhile(world, lambda: other.finish(root, DONE).result(SOON)).__enter__(),
        )
        learn(journal, two, new("shoes", run_id="r"))
        (found,) = ending
        for _ in range(1_000):
            if found:
                break
            threading.Event().wait(0.01)
        assert found[0].applied
        assert told(journal) == ["shoes"]
        is_exact(world)


def test_an_id_stands_once(world: World, journal: Journal) -> None:
    assert journal.memories.keep([new("shoes", "1"), new("shoes", "1")]) == 1
    assert journal.memories.keep([new("shoes", "1")]) == 0
    assert told(journal) == ["shoes"]
    is_exact(world)


@pytest.mark.databases("both")
def test_turns_go_on_and_are_looked_up_at_the_end_of_an_index(
    world: World, journal: Journal
) -> None:
    asking: list[tuple[str, Any]] = []
    listen = event.listen
    listen(journal.memories.engine, "before_cursor_execute", lambda *of: asking.append(of[2:4]))
    journal.memories.keep([new("shoes 1", thread="a"), new("shoes 2", thread="a"), new("hat")])
    journal.memories.keep([new("shoes 3", thread="a"), new("coat"), new("b", thread="b")])
    found = {m.text: m.turn for m in everything(journal)}
    assert found == {"shoes 1": 0, "shoes 2": 1, "shoes 3": 2, "hat": 0, "coat": 0, "b": 0}
    looked = [(text, about) for text, about in asking if "ORDER BY memories.space_id DESC" in text]
    assert len(looked) == 3  # those of no thread have no turn
    with world.engine.connect() as c:
        if c.dialect.name == "sqlite":
            plan = c.exec_driver_sql(f"EXPLAIN QUERY PLAN {looked[0][0]}", looked[0][1]).all()
            assert "ix_memories_turn (space_id=? AND thread=?)" in str(plan)
            assert len(plan) == 1
        else:
            c.exec_driver_sql("SET LOCAL enable_seqscan = off")
            plan = c.exec_driver_sql(f"EXPLAIN {looked[0][0]}", looked[0][1]).all()
            assert "ix_memories_turn" in str(plan)
            assert "Sort" not in str(plan)


def test_one_that_is_replaced_is_over_and_still_there(world: World, journal: Journal) -> None:
    journal.memories.keep([new("shoes of size 42", "1")])
    claim = claimed(journal, "r", step("r"))
    learn(journal, claim, new("shoes of size 43", "2", replaces="1"))
    assert told(journal) == ["shoes of size 43"]
    old, newer = everything(journal)
    assert (old.id, newer.replaces) == ("1", "1")
    assert old.until is not None
    assert newer.until is None
    is_exact(world)


def test_one_that_is_forgotten_by_an_agent_is_over_when_its_run_succeeds(
    world: World, journal: Journal
) -> None:
    journal.memories.keep([new("shoes", "1")])
    one, _ = expand(journal, "r", plan("one", "two", kind="first"))
    learn(journal, one, new("", "2", replaces="1", run_id="r"))
    assert told(journal) == ["shoes"]
    assert told(journal, run_id="r") == []
    journal.finish(claimed(journal, "r"), DONE).result(SOON)
    assert told(journal) == []
    assert [m.id for m in everything(journal)] == ["1"]
    is_exact(world)


def test_beyond_its_capacity_the_least_and_oldest_goes(world: World, journal: Journal) -> None:
    policy = MemoryPolicy(space="s", capacity_tokens=1_000)
    for n in range(12):
        journal.memories.keep(
            [new(f"shoes {n}", tokens=100, policy=policy, importance=0.25 if n == 5 else 1.0)]
        )
        is_exact(world)
    kept = set(told(journal, budget_tokens=10_000))
    assert kept == {f"shoes {n}" for n in range(12)} - {"shoes 5", "shoes 0"}


def test_a_smaller_capacity_holds_from_the_next_memory_on(world: World, journal: Journal) -> None:
    journal.memories.keep([new(f"shoes {n}", tokens=500) for n in range(6)])
    less = MemoryPolicy(space="s", capacity_tokens=1_000)
    journal.memories.keep([new("more shoes", tokens=500, policy=less)])
    assert set(told(journal, budget_tokens=10_000)) == {"shoes 5", "more shoes"}
    is_exact(world)


def test_fifty_writers_never_exceed_the_capacity(world: World) -> None:
    policy = MemoryPolicy(space="s", capacity_tokens=1_000)
    journals = [world.journal(f"w{n}@here") for n in range(5)]
    writing = costly(50, part=3)
    seen, over = list[int](), threading.Event()

    def watch() -> None:
        while not over.is_set():
            with world.engine.connect() as c:
                rows = select(func.sum(MemoryRow.tokens)).where(MemoryRow.state == "live")
                seen.append(c.execute(rows).scalar() or 0)
            time.sleep(0.01)

    def write(n: int) -> None:
        for m in range(4):
            run = f"r{n}-{m}"
            claim = claimed(journals[n % 5], run, step(run))
            learn(journals[n % 5], claim, new(f"shoes {run}", tokens=90, policy=policy))

    watcher = threading.Thread(target=watch)
    writers = [threading.Thread(target=write, args=(n,)) for n in range(writing)]
    for thread in [watcher, *writers]:
        thread.start()
    for thread in writers:
        thread.join()
    over.set()
    watcher.join()
    assert max(seen) <= 1_000
    assert len(everything(journals[0])) == 4 * writing
    assert len(told(journals[0], budget_tokens=10_000)) == 11
    is_exact(world)


def test_what_is_erased_is_gone(world: World, journal: Journal) -> None:
    journal.memories.keep([new(f"shoes {n}", str(n)) for n in range(4)])
    journal.memories.keep([new("newer shoes", "5", replaces="1")])
    assert journal.memories.erase("", "s", ["1", "2", "none"]) == 2
    assert {m.id for m in everything(journal)} == {"0", "3", "5"}
    is_exact(world)
    one, _ = expand(journal, "r", plan("one", "two", kind="first"))
    learn(journal, one, new("shoes of the run", run_id="r"))
    assert journal.memories.erase("", "s") == 4
    with world.engine.connect() as c:
        for model in (MemoryRow, MemorySpace, MemoryTerm):
            assert c.execute(select(func.count()).select_from(model)).scalar() == 0
    journal.finish(claimed(journal, "r"), DONE).result(SOON)
    assert everything(journal) == []
    assert derived_id("r", "one") != "r"


def test_a_root_with_nothing_to_publish_ends_by_the_short_way(
    world: World, journal: Journal
) -> None:
    claim = claimed(journal, "r", step("r"))
    journal.finish(claim, DONE).result(SOON)
    assert world.row("r").remembers is False


def test_what_a_run_keeps_that_has_read_others_words_is_trusted_least(
    world: World, journal: Journal
) -> None:
    one, two = expand(journal, "r", plan("one", "two"))
    learn(journal, one, new("shoes of one", run_id="r"))
    assert not journal.memories.untrusted("r")
    journal.memories.distrust("r")
    assert journal.memories.untrusted("r")
    denying = POLICY.model_copy(update={"write_untrusted": "deny"})
    others = [
        new("shoes of two", run_id="r"),
        new("shoes of three", run_id="r", vouched=True),
        new("shoes of four", run_id="r", policy=denying),
    ]
    learn(journal, two, *others)
    learn(journal, claimed(journal, "r"))
    wanted = {"shoes of one": 2, "shoes of two": 1, "shoes of three": 2}
    assert {m.text: m.trust for m in everything(journal)} == wanted
    assert set(told(journal, trust=2)) == wanted.keys() - {"shoes of two"}
    is_exact(world)


@pytest.mark.parametrize(("trust", "ended"), [(1, False), (2, True)])
def test_what_others_may_have_written_ends_nothing_that_is_trusted_more(
    journal: Journal, trust: int, ended: bool
) -> None:
    ids = [derived_id("r", str(n)) for n in range(3)]
    journal.memories.keep([new("his shoes", ids[0], trust=3), new("her shoes", ids[1], trust=1)])
    replacing = [
        new(f"new shoes {n}", derived_id("s", str(n)), trust=trust, replaces=ids[n])
        for n in range(2)
    ]
    journal.memories.keep(replacing)
    over = {m.text for m in everything(journal) if m.until is not None}
    assert over == ({"his shoes", "her shoes"} if ended else {"her shoes"})
