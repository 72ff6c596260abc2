"""What SQLite is told for all writes of a kind. test_shots.py compares it with transactions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import NoResultFound

from app.journal.steps.claims import ClaimStep
from app.journal.steps.expansions import ExpandStep
from app.journal.steps.finishes import FinishStep
from tests.unit.app.journal.support import DONE, FAILED, SOON, World, claimed, expand, plan, step


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


class TestMembers:
    """Expansions and the ends of members, in the transaction of all else."""

    def test_an_expansion_is_written_with_what_else_there_is(self, sqlite_journal_url: str) -> None:
        world = World(sqlite_journal_url)
        journal = world.journal()
        claim = claimed(journal, "p", step("p", tenant="acme"))
        wanted = ExpandStep(claim, plan("x", "y", timeout_s=9, keep=True), journal.rules)
        new = ClaimStep("c", journal.me.id, journal.rules, step("c"))
        shots = [ExpandStep.shot([wanted]), ClaimStep.shot([new])]
        assert None not in shots
        written = journal._writer._final.shoot([s for s in shots if s is not None])
        assert set(written or ()) == {"p", "c"}
        rows = [world.row(new.id) for new in wanted.members]
        assert [(r.member, r.position, r.state, r.round) for r in rows] == [
            ("x", 0, "ready", 1),
            ("y", 1, "ready", 1),
        ]
        assert {(r.parent_id, r.run_id, r.tenant, r.queue) for r in rows} == {
            ("p", "p", "acme", "agents")
        }
        parent = world.row("p")
        assert (parent.state, parent.attempts, parent.worker_id) == ("waiting", 0, None)
        world.close()

    def test_one_that_has_a_join_takes_all_back(self, sqlite_journal_url: str) -> None:
        world = World(sqlite_journal_url)
        journal = world.journal()
        claim = claimed(journal, "p", step("p"))
        shot = ExpandStep.shot([ExpandStep(claim, plan("x"), journal.rules)])
        assert shot is not None
        assert journal._writer._final.shoot([shot])
        world.set("p", state="running")
        assert journal._writer._final.shoot([shot]) is None
        assert world.row("p").state == "running"
        world.close()

    @pytest.mark.parametrize(
        ("kind", "ends", "left"),
        [
            ("all", (DONE, FAILED), ()),
            ("first", (FAILED, FAILED), ()),
            ("unbroken", (DONE, DONE), ()),
            ("first", (DONE, FAILED), ("x", "y")),  # it fires by one of them
            ("unbroken", (FAILED, DONE), ("x", "y")),
            ("decided", (DONE, DONE), ("x", "y")),
        ],
    )
    def test_ends_that_decide_nothing_are_counted_and_fire_with_the_last(
        self, sqlite_journal_url: str, kind: str, ends: tuple[Any, ...], left: tuple[str, ...]
    ) -> None:
        world = World(sqlite_journal_url)
        journal = world.journal()
        asked = expand(journal, "p", plan("x", "y", kind=kind))
        finishes = [
            FinishStep(replace(c, policy="all"), end, journal.rules)  # whatever it looked up
            for c, end in zip(asked, ends, strict=True)
        ]
        shot = FinishStep.shot(finishes)
        assert shot is not None
        written = journal._writer._final.shoot([shot]) or {}
        told = {c.member for c in asked if c.id not in written}
        assert told == {*left}
        wakes = [
            w for n, c in enumerate(asked) if c.id in written for w in _wakes(shot, n, written)
        ]
        assert [w.id for w in wakes] == ([] if left else ["p"])
        assert world.row("p").state == ("waiting" if left else "ready")
        states = [world.row(c.id).state for c in asked]
        assert states == (["running"] * 2 if left else [end.state for end in ends])
        world.close()

    def test_an_end_of_another_claim_is_left(self, sqlite_journal_url: str) -> None:
        world = World(sqlite_journal_url)
        journal = world.journal()
        mine, theirs = expand(journal, "p", plan("x", "y"))
        world.set(theirs.id, token=7)
        shot = FinishStep.shot([FinishStep(c, DONE, journal.rules) for c in (mine, theirs)])
        assert shot is not None
        assert set(journal._writer._final.shoot([shot]) or ()) == {mine.id}
        assert world.row("p").state == "waiting"
        assert journal.finish(replace(theirs, token=7), DONE).result(SOON).wakes[0].id == "p"
        world.close()

    @pytest.mark.parametrize("kind", ["all", "any", "first", "unbroken"])
    def test_rows_are_those_that_transactions_write(
        self, sqlite_journal_url: str, kind: str
    ) -> None:
        world = World(sqlite_journal_url)
        journal = world.journal()
        for parent, quick in (("p", True), ("q", False)):
            journal._writer._final.shoots = quick
            for claim in expand(journal, parent, plan("x", "y", kind=kind, timeout_s=99)):
                end = FAILED if kind == "first" else DONE
                assert journal.finish(claim, end).result(SOON).applied
        quick_rows, rows = (_rows(world, parent) for parent in "pq")
        assert quick_rows == rows
        assert len(rows) == 1 + 1 + 2  # the step, its join, its members
        world.close()


def _rows(world: World, parent: str) -> list[dict[str, Any]]:
    """A step, its join and its members, without ids and times."""
    found: list[dict[str, Any]] = []
    for of in ("id", "parent_id"):
        query = text(f"SELECT * FROM steps WHERE {of} = :p ORDER BY position")
        found += _read(world, query, parent)
    found += _read(world, text("SELECT * FROM joins WHERE step_id = :p"), parent)
    own = {"id", "run_id", "parent_id", "step_id", "worker_id"}
    return [
        {n: v is not None if n.endswith("_at") or n in own else v for n, v in row.items()}
        for row in found
    ]


def _read(world: World, query: Any, parent: str) -> list[dict[str, Any]]:
    with world.engine.connect() as connection:
        return [dict(row) for row in connection.execute(query, {"p": parent}).mappings()]


def _wakes(shot: Any, place: int, written: Any) -> Any:
    return shot.result(place, written[shot.ids[place]]).wakes
