"""Runs, found by what people ask for, on both databases."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event, text

from agents.plan import Expand
from app.journal import Journal
from app.journal.queries import details, pages, reads
from app.journal.queries.pages import PageOfRun
from app.journal.stores.overview import Overview
from celery_agents.contracts.outcome import Outcome, State, Usage
from celery_agents.contracts.watching import MemberProgress, RunFilter, RunPage
from celery_agents.errors import InvalidPayloadError
from tests.support.large_map import grow
from tests.unit.app.journal.support import (
    DONE,
    FAILED,
    SOON,
    TIRED,
    World,
    claimed,
    expand,
    member,
    plan,
    step,
)

LATER_S = 600.0


def find(journal: Journal, **wanted: Any) -> RunPage:
    return Overview(journal.engine).runs(RunFilter(**wanted))


def ids(journal: Journal, **wanted: Any) -> list[str]:
    return [run.id for run in find(journal, **wanted).runs]


def reasons(journal: Journal, **wanted: Any) -> dict[str, str | None]:
    return {run.id: run.why for run in find(journal, **wanted).runs}


def finish(journal: Journal, run_id: str, outcome: Outcome = DONE, **more: Any) -> None:
    journal.finish(claimed(journal, run_id, step(run_id, **more)), outcome).result(SOON)
    journal.settle(run_id).result(SOON)


def costing(usd: float) -> Outcome:
    return Outcome(state=State.SUCCEEDED, value="v", usage=Usage(calls=1, cost_usd=usd))


def ago(seconds: float) -> Callable[[Any], Any]:
    return lambda now: now - seconds


def test_by_state_and_by_what_failed(world: World, journal: Journal) -> None:
    finish(journal, "good")
    finish(journal, "bad", FAILED)
    claimed(journal, "busy", step("busy"))
    expand(journal, "group", plan("a"))
    journal.cancel("gone")
    assert ids(journal) == ["gone", "group", "busy", "bad", "good"]
    assert ids(journal, failed=True) == ["bad"]
    assert ids(journal, state="failed") == ["bad"]
    assert ids(journal, state="running") == ["busy"]
    assert ids(journal, state="waiting") == ["group"]
    assert ids(journal, state="cancelled") == ["gone"]
    (bad,) = find(journal, failed=True).runs
    assert (bad.state, bad.agent, bad.error) == ("failed", "a", "agent_failed: no")
    (good,) = find(journal, state="succeeded").runs
    assert (good.usage, good.error, good.why) == (DONE.usage, None, None)


@pytest.mark.databases("both")
def test_by_agent_in_any_step_tenant_and_age(world: World, journal: Journal) -> None:
    finish(journal, "own", agent="gpt")
    finish(journal, "other", tenant="acme")
    parent = claimed(journal, "group", step("group", task="agents.vote", agent=None))
    journal.expand(parent, Expand(members=(member("1", agent="a"),))).result(SOON)
    assert ids(journal, agent="gpt") == ["own"]
    assert ids(journal, agent="a") == ["group", "other"]
    assert ids(journal, tenant="acme") == ["other"]
    assert ids(journal, since_s=60.0) == ["group", "other", "own"]
    with world.engine.begin() as c:
        c.execute(text("UPDATE runs SET created_at = created_at - 100 WHERE id = 'own'"))
    assert ids(journal, since_s=60.0) == ["group", "other"]


@pytest.mark.parametrize("order", ["time", "cost"])
@pytest.mark.databases("both")
def test_pages_leave_nothing_out_and_tell_nothing_twice(journal: Journal, order: Any) -> None:
    for n in range(7):
        finish(journal, f"r{n}", costing([0.5, 0.0, 0.25][n % 3]))
    claimed(journal, "open", step("open"))
    found: list[str] = []
    after = None
    while True:
        page = find(journal, order=order, limit=3, after=after)
        found += [run.id for run in page.runs]
        after = page.more
        if after is None:
            break
    if order == "time":
        assert found == ["open", *(f"r{n}" for n in reversed(range(7)))]
    else:  # of runs that have ended
        assert found == ["r6", "r3", "r0", "r5", "r2", "r4", "r1"]


@pytest.mark.parametrize("after", ["x", "bnVsbA==", "WzEsIDJd", "WzFlOTk5LCAieCJd"])
def test_a_place_that_is_none(journal: Journal, after: str) -> None:
    with pytest.raises(InvalidPayloadError, match="after"):
        find(journal, after=after)


def test_what_runs_is_not_stuck(world: World, journal: Journal) -> None:
    claimed(journal, "busy", step("busy"))
    journal.postpone(claimed(journal, "later", step("later")), delay_s=90, error=TIRED).result(SOON)
    expand(journal, "group", plan("a", "b", timeout_s=500))
    journal.insert(step("fresh")).result(SOON)
    told = reasons(journal)
    assert told["busy"] is None
    assert told["later"] in {"it goes on in 90 s, after unavailable"} | {
        f"it goes on in {s} s, after unavailable" for s in range(80, 91)
    }
    assert told["group"] == "0 of 2 members have ended"
    assert told["fresh"] is not None
    assert told["fresh"].startswith("no worker has taken it for ")
    assert ids(journal, stuck=True) == []


@pytest.mark.databases("both")
def test_what_is_stuck_and_why(world: World, journal: Journal) -> None:
    dead = world.journal("worker@dead")
    claimed(dead, "orphan", step("orphan"))
    world.end_lease(dead, ago_s=LATER_S)
    journal.insert(step("queued")).result(SOON)
    world.set("queued", ready_at=ago(LATER_S))
    claimed(journal, "overdue", step("overdue"))
    world.set("overdue", deadline_at=ago(LATER_S))
    journal.finish(claimed(journal, "unsettled", step("unsettled")), DONE).result(SOON)
    world.set("unsettled", finished_at=ago(LATER_S))
    expand(journal, "late", plan("a", timeout_s=500))
    world.set_join("late", deadline_at=ago(LATER_S))
    claimed(journal, "fine", step("fine"))
    expected = {
        "orphan": "its worker is gone, its lease ended 10 min ago",
        "queued": "no worker has taken it for 10 min",
        "overdue": "it runs 10 min past its deadline",
        "unsettled": "its result is not stored for 10 min",
        "late": "its members' deadline passed 10 min ago",
    }
    assert reasons(journal, stuck=True) == expected
    assert {**reasons(journal), "fine": None} == {**expected, "fine": None}


def test_a_member_that_is_stuck_is_told_of_its_run(world: World, journal: Journal) -> None:
    dead = world.journal("worker@dead")
    expand(dead, "group", plan("a"))
    world.end_lease(dead, ago_s=LATER_S)
    told = "its worker is gone, its lease ended 10 min ago"
    assert reasons(journal, stuck=True) == {"group": told}
    tree = journal.run_tree("group")
    assert tree is not None
    assert [s["why"] for s in tree["steps"]] == ["0 of 1 members have ended", told]


def test_what_waits_for_a_person(world: World, journal: Journal) -> None:
    wish = member("who", task="agents.approval", input={"choices": None}, options={}, waits=True)
    parent = claimed(journal, "p", step("p", task="agents.vote", agent=None))
    journal.expand(parent, Expand(members=(wish,))).result(SOON)
    finish(journal, "s")
    row = next(r for r in find(journal, waiting=True).runs)
    assert (row.id, row.why) in {("p", f"a person is asked for {s} s") for s in range(20)}
    assert ids(journal, waiting=True) == ["p"]


def test_progress_counts_without_reading(journal: Journal) -> None:
    members = expand(journal, "p", plan("a", "b", "c", "d"))
    journal.finish(members[0], DONE).result(SOON)
    journal.finish(members[1], FAILED).result(SOON)
    found = Overview(journal.engine).progress("p")
    assert found is not None
    assert (found.total, found.succeeded, found.failed, found.running) == (4, 1, 1, 2)
    assert found.done == 2
    assert found.left_s == pytest.approx(found.elapsed_s)
    assert Overview(journal.engine).progress("nobody") is None


def test_progress_over_waves(journal: Journal) -> None:
    one, two = expand(journal, "p", plan("a", "b"))
    journal.finish(one, FAILED).result(SOON)
    journal.finish(two, DONE).result(SOON)
    expand(journal, "p", plan("c", "d", "e"))
    found = Overview(journal.engine).progress("p")
    assert found is not None
    assert (found.total, found.succeeded, found.failed, found.running) == (5, 1, 1, 3)


def test_progress_of_a_join_that_ended_early(journal: Journal) -> None:
    parent = claimed(journal, "p", step("p", task="agents.fallback", agent=None))
    made = journal.expand(parent, plan("a", "b", "c", kind="first")).result(SOON).members
    journal.finish(claimed(journal, made[0].id), DONE).result(SOON)
    found = Overview(journal.engine).progress("p")
    assert found is not None
    assert (found.succeeded, found.failed, found.running, found.skipped) == (1, 0, 0, 2)


@pytest.mark.parametrize(
    ("counts", "left_s"),
    [
        ({"total": 10}, None),
        ({"total": 10, "succeeded": 5}, 5.0),
        ({"total": 4, "failed": 4}, 0.0),
    ],
)
def test_time_that_is_left(counts: dict[str, int], left_s: float | None) -> None:
    given: dict[str, Any] = {"step_id": "s", "state": State.WAITING, "elapsed_s": 5.0, **counts}
    assert MemberProgress(**given).left_s == left_s


def test_details_of_a_vote(journal: Journal) -> None:
    (one,) = expand(journal, "p", plan("a"))
    journal.start_call(one, 0, "tool:search", "f", "k").result(SOON)
    journal.finish_call(one, 0, {"value": 1}, cost_usd=0.25).result(SOON)
    said = "the key is sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCD"
    ballots = [{"voter": "a", "option": "x", "reason": said}]
    journal.finish(one, DONE.model_copy(update={"value": said})).result(SOON)
    decided = Outcome(state=State.SUCCEEDED, value={"option": "x", "ballots": ballots})
    journal.finish(claimed(journal, "p"), decided).result(SOON)
    found = Overview(journal.engine).run("p")
    assert found is not None
    (call,) = found["calls"]
    assert (call["name"], call["step_id"], call["cost_usd"]) == ("tool:search", one.id, 0.25)
    assert found["votes"]["p"]["option"] == "x"
    assert "answers" not in found
    asked = Overview(journal.engine).run("p", answers=True)
    assert asked is not None
    assert asked["answers"].keys() == {"p", one.id}
    assert "sk-proj-abc" not in json.dumps(asked)
    assert Overview(journal.engine).run("nobody") is None


def test_a_large_answer_is_not_read(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(journal, "s")
    monkeypatch.setattr(details, "ANSWER_CHARACTERS", 3)
    found = Overview(journal.engine).run("s", answers=True)
    assert found is not None
    assert found["answers"] == {}


MEMBERS = 20_000


def grown(world: World, number: int) -> None:
    """Give the step ``p`` so many members, half of which have ended."""
    grow(world.engine, "p", number)
    world.set_join("p", expected=number, done=number // 2, succeeded=number // 2)


def test_a_map_of_20000_is_shown_from_few_rows(world: World, journal: Journal) -> None:
    """In processor time, which a busy machine does not stretch."""
    (one,) = expand(journal, "p", plan("0"))
    journal.postpone(one, delay_s=500).result(SOON)
    grown(world, MEMBERS)
    took, read = list[float](), list[dict[str, Any]]()

    @event.listens_for(journal.engine, "before_cursor_execute")
    def begins(*_: Any) -> None:
        took[-1] -= time.thread_time()

    @event.listens_for(journal.engine, "after_cursor_execute")
    def ends(*_: Any) -> None:
        took[-1] += time.thread_time()

    for _ in range(5):
        took.append(0.0)
        found = Overview(journal.engine).run("p")
        assert found is not None
        read.append(found)
    found = read[0]
    (progress,) = found["progress"]
    assert (progress["total"], progress["done"]) == (MEMBERS, MEMBERS // 2)
    assert len(found["steps"]) == reads.SHOWN_OF_LARGE
    assert found["steps_left_out"] == MEMBERS + 1 - reads.SHOWN_OF_LARGE
    assert found["steps"][0]["id"] == "p"
    assert min(took) < 0.05


def test_the_page_of_a_map_of_20000_reads_no_member_that_it_does_not_show(
    world: World, journal: Journal
) -> None:
    """It is asked for again and again while a map runs; what it counts, its join has counted."""
    (one,) = expand(journal, "p", plan("0"))
    journal.postpone(one, delay_s=500).result(SOON)
    grown(world, MEMBERS)
    told = list[str]()
    event.listen(journal.engine, "before_cursor_execute", lambda *about: told.append(about[2]))
    found = journal.read(lambda c: pages.run_page(c, PageOfRun(run_id="p")))
    before = journal.read(lambda c: pages.pulse(c, "p"))
    assert found is not None
    assert found["counts"] == {"succeeded": MEMBERS // 2, "ready": MEMBERS // 2}
    assert len(found["steps"]) == pages.MEMBERS
    counting = [sql for sql in told if "count(" in sql and "run_id" in sql]
    assert all("LIMIT" in sql for sql in counting)
    world.set_join("p", done=MEMBERS // 2 + 1, succeeded=MEMBERS // 2 + 1)
    assert journal.read(lambda c: pages.pulse(c, "p")) != before
