"""What SQLite is told for all writes of a kind. test_shots.py compares it with transactions."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import NoResultFound

from app.journal.steps.claims import ClaimStep
from app.journal.steps.finishes import FinishStep
from tests.unit.app.journal.support import DONE, SOON, World, claimed, step


class TestSQLite:
    """All in one transaction, or nothing."""

    def test_one_that_is_amiss_takes_all_back(self, sqlite_journal_url: str) -> None:
        world = World(sqlite_journal_url)
        journal = world.journal()
        mine, theirs = claimed(journal, "a", step("a")), claimed(journal, "b", step("b"))
        world.set("b", token=7)
        finish = FinishStep.shot([FinishStep(c, DONE, journal.rules) for c in (mine, theirs)])
        new = ClaimStep.shot([ClaimStep("c", journal.me.id, journal.rules, step("c"))])
        assert finish is not None
        assert new is not None
        assert journal._writer._final.shoot([finish, new]) is None
        assert [world.row(i).state for i in "ab"] == ["running"] * 2
        with pytest.raises(NoResultFound):
            world.row("c")
        world.set("b", token=theirs.token)
        assert set(journal._writer._final.shoot([finish, new]) or ()) == {"a", "b", "c"}
        assert [world.row(i).state for i in "abc"] == ["succeeded", "succeeded", "running"]
        world.close()

    def test_claims_take_what_is_ready_and_leave_the_rest(self, sqlite_journal_url: str) -> None:
        world = World(sqlite_journal_url)
        journal = world.journal()
        for step_id in "abc":
            journal.insert(step(step_id)).result(SOON)
        world.set("b", state="waiting")
        asked = [ClaimStep(i, journal.me.id, journal.rules) for i in "abc"]
        shot = ClaimStep.shot(asked)
        assert shot is not None
        written = journal._writer._final.shoot([shot]) or {}
        assert set(written) == {"a", "c"}
        assert [world.row(i).state for i in "abc"] == ["running", "waiting", "running"]
        (taken,) = [shot.result(n, written["a"]) for n, o in enumerate(asked) if o.step_id == "a"]
        assert (taken.id, taken.token, taken.attempt) == ("a", 1, 1)
        assert taken.payload == step("a").payload
        world.close()

    def test_text_stays_as_it_is(self, sqlite_journal_url: str) -> None:
        world = World(sqlite_journal_url)
        journal = world.journal()
        odd = 'ü \U0001f600 "quoted" \\n {"json": [1]} null 1e5'
        claim = claimed(journal, odd, step(odd, payload={"args": [odd], "kwargs": {}}, agent=odd))
        assert journal.finish(claim, DONE).result(SOON).applied
        row = world.row(odd)
        assert (row.agent, row.payload["args"], row.state) == (odd, [odd], "succeeded")
        world.close()
