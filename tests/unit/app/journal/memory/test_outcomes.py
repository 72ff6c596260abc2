"""Outcomes of steps that a space keeps to learn from, on both databases."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from app.journal import Journal
from celery_agents.contracts.experience import Experienced
from celery_agents.contracts.outcome import Outcome
from tests.unit.app.journal.memory.test_keeping import everything, is_exact, new
from tests.unit.app.journal.support import DONE, FAILED, SOON, OnPostgres, World, claimed, step


def ended(journal: Journal, run: str, outcome: Outcome, **more: Any) -> bool:
    claim = claimed(journal, run, step(run))
    told = Experienced(did=("lookup",), reward=float(outcome.ok), found=True)
    lesson = new(f"Which shoes, {run}?", agent="a", run_id=run, experience=told, **more)
    return journal.finish(claim, outcome, lesson=lesson).result(SOON).applied


@pytest.mark.databases("both")
def test_outcomes_are_kept_of_what_fails_too_and_judged_once(
    world: World, journal: Journal
) -> None:
    assert ended(journal, "good", DONE)
    assert ended(journal, "bad", FAILED)
    assert [m.experience.reward for m in everything(journal) if m.experience] == [1.0, 0.0]
    is_exact(world)
    store = journal.memories
    assert store.judge("good", "m1", right=False)
    assert store.judge("good", "m2", right=True)
    assert store.judge("good", "m1", right=False)  # it came again, behind another
    assert [one.reward for one in store.outcomes("", "s", "a")] == [1.0, 0.0]
    assert store.judge("bad", "m3", right=True)
    assert [one.reward for one in store.outcomes("", "s")] == [1.0, 1.0]
    assert not store.judge("unknown", "m4", right=True)
    assert store.outcomes("", "s", "b") == store.outcomes("t", "s") == []
    store.erase("", "s", [m.id for m in everything(journal)][:1])
    assert len(store.outcomes("", "s")) == 1
    store.erase("", "s")
    assert store.outcomes("", "s") == []


def test_what_a_run_had_read_is_told_and_a_claim_that_is_lost_keeps_nothing(
    world: World, journal: Journal
) -> None:
    claim = claimed(journal, "r", step("r"))
    journal.memories.distrust("r")
    lesson = new("Shoes?", run_id="r", experience=Experienced(reward=1.0))
    lost = replace(claim, token=claim.token + 1)
    assert not journal.finish(lost, DONE, lesson=lesson).result(SOON).applied
    assert everything(journal) == []
    assert journal.finish(claim, DONE, lesson=lesson).result(SOON).applied
    assert [m.trust for m in everything(journal)] == [1]
    is_exact(world)


class TestTerms(OnPostgres):
    def test_the_index_of_a_term_has_all_that_a_question_reads(self, world: World) -> None:
        told = text(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'pk_memory_terms'"
        )
        with world.engine.connect() as c:
            found = c.execute(told).scalar_one()
        assert found == "PRIMARY KEY (space_id, term, place) INCLUDE (times, length)"
