from __future__ import annotations

import json

import pytest

from app.journal import Journal
from app.journal.queries import reads
from tests.unit.app.journal.support import (
    DONE,
    FAILED,
    SOON,
    TIRED,
    World,
    claimed,
    expand,
    plan,
    step,
)


def test_a_run_as_a_tree(world: World, journal: Journal) -> None:
    a, b = expand(journal, "p", plan("a", "b"))
    claimed(journal, "another", step("another"))
    journal.finish(a, FAILED).result(SOON)
    journal.postpone(b, delay_s=5, error=TIRED).result(SOON)
    tree = journal.run_tree("p")
    assert tree is not None
    assert (tree["id"], tree["task"], tree["state"]) == ("p", "agents.vote", "waiting")
    assert tree["created_at"] == pytest.approx(world.clock(), abs=60)
    assert (tree["finished_at"], tree["usage"]) == (None, None)
    by_id = {s["id"]: s for s in tree["steps"]}
    assert list(by_id) == ["p", a.id, b.id]
    assert [s["parent_id"] for s in tree["steps"]] == [None, "p", "p"]
    assert by_id[a.id]["state"] == "failed"
    assert by_id[a.id]["error"] == {"kind": "agent_failed", "message": "no"}
    assert by_id[b.id]["error"] == {"kind": "unavailable", "message": "busy"}
    assert by_id[b.id]["attempts"] == 1
    assert tree["steps_left_out"] == 0
    json.dumps(tree)  # it crosses the wire


def test_a_finished_run_tells_its_cost(journal: Journal) -> None:
    journal.finish(claimed(journal, "s", step()), DONE).result(SOON)
    tree = journal.run_tree("s")
    assert tree is not None
    assert (tree["state"], tree["usage"]) == ("succeeded", {"calls": 1, "cost_usd": 0.5})
    assert tree["steps"][0]["usage"] == {"calls": 1, "cost_usd": 0.5}
    assert tree["finished_at"] >= tree["created_at"]


def test_a_run_tells_its_session_and_its_bounds(journal: Journal) -> None:
    options = {"agent": "a", "session": "chat", "max_depth": 0, "max_cost": 0.5, "timeout_s": 9}
    claimed(journal, "s", step(payload={"args": ["hello"], "kwargs": options}))
    tree = journal.run_tree("s")
    assert tree is not None
    assert (tree["session"], tree["bounds"]) == ("chat", {"max_depth": 0, "max_cost": 0.5})
    claimed(journal, "t", step("t"))
    plain = journal.run_tree("t")
    assert plain is not None
    assert (plain["session"], plain["bounds"]) == (None, {})


def test_a_run_tells_whose_end_it_waits_for(journal: Journal) -> None:
    first = claimed(journal, "a", step("a", tenant="acme"))
    journal.sessions.hold(first, "chat", 9).result(SOON)
    journal.sessions.hold(claimed(journal, "b", step("b", tenant="acme")), "chat", 9).result(SOON)

    def waits() -> list[str | None]:
        trees = [journal.run_tree(run_id) for run_id in "ab"]
        return [tree["steps"][0].get("waits_for") for tree in trees if tree is not None]

    assert waits() == [None, "session chat, held by a"]
    journal.cancel("b")
    assert waits() == [None, None]


def test_no_such_run(journal: Journal) -> None:
    assert journal.run_tree("s") is None


def test_a_run_that_was_cancelled_before_its_row(journal: Journal) -> None:
    journal.cancel("s")
    tree = journal.run_tree("s")
    assert tree is not None
    assert tree["state"] == "cancelled"


def test_a_tree_is_cut_where_it_is_too_big_to_show(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reads, "TREE_LIMIT", 3)
    expand(journal, "p", plan(*"abcdef"))
    tree = journal.run_tree("p")
    assert tree is not None
    assert (len(tree["steps"]), tree["steps_left_out"]) == (3, 4)
    assert tree["state"] == "waiting"


def test_states_and_events(journal: Journal) -> None:
    claimed(journal, "s", step())
    journal.postpone(claimed(journal, "t", step("t")), delay_s=1, error=TIRED).result(SOON)
    journal.cancel("t")
    assert journal.read(reads.step_states) == {"running": 1, "cancelled": 1}
    told = journal.read(lambda c: reads.events(c, "t"))
    assert [e["kind"] for e in told] == ["retry", "cancel"]
    assert told[0].keys() == {"at", "step_id", "kind", "data"}


def test_a_read_does_not_wait_for_a_writer(world: World, journal: Journal) -> None:
    claimed(journal, "s", step())
    with world.engine.begin() as c:
        c.exec_driver_sql("UPDATE steps SET priority = 9")
        assert journal.run_tree("s") is not None
