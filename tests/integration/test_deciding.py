"""Fallbacks, votes, gatherings and their joins, with a real worker and with faults."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery.result import AsyncResult
from sqlalchemy import func, select

from app.journal.schema.models import Event, Step
from celery_agents import RetryPolicy
from celery_agents.errors import (
    AllCandidatesFailedError,
    ConfigurationError,
    InvalidPayloadError,
    NoDecisionError,
)
from tests.integration.harness import FAST, SOON_S, Stack, eventually
from tests.support.drawn import is_full
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.databases("sqlite")

BOTH = {"AGENTS_MODULES": json.dumps(["tests.support.agents", "tests.support.voters"])}


@pytest.fixture(scope="module")
def panel(
    shared_broker: RedisServer, _migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """A worker with the voters; nothing here harms it."""
    directory = tmp_path_factory.mktemp("panel")
    url = f"sqlite:///{directory / 'journal.db'}"
    made = Stack(shared_broker.fresh_url(), url, directory, {**FAST, **BOTH})
    made.redis.flushdb()
    made.worker()
    made.worker(
        ["--pool", "threads", "--concurrency", "2", "-Q", "shop"], app="tests.support.sample_app"
    )
    yield made
    made.close()


def _ended(stack: Stack, step_id: str) -> dict[str, str]:
    """The states of a step's members, once all have ended."""

    def states() -> dict[str, str] | None:
        found = {key: row.state for key, row in stack.members(step_id).items()}
        return None if set(found.values()) & {"ready", "running", "waiting"} else found

    return eventually(states, "all members to end") or {}


# -- fallback


def test_the_first_success_of_a_race_wins_and_the_others_are_cancelled(panel: Stack) -> None:
    run = panel.client.fallback(["quick", "hangs", "fails_late"], "x", strategy="parallel")
    assert run.get(timeout=SOON_S) == "x"  # 50 ms of work; the others would take much longer
    states = _ended(panel, run.id)
    assert states == {"quick": "succeeded", "hangs": "cancelled", "fails_late": "cancelled"}


def test_a_wholly_failed_chain_carries_the_error_of_each(panel: Stack) -> None:
    run = panel.client.fallback(["bad", "refused", "nobody"], "no reason")
    with pytest.raises(AllCandidatesFailedError) as failure:
        run.get(timeout=SOON_S)
    errors = failure.value.details["errors"]
    assert {key: error["kind"] for key, error in errors.items()} == {
        "bad": "agent_failed",
        "refused": "agent_failed",
        "nobody": "unknown_agent",
    }


def test_a_default_stands_in_for_a_failed_chain(panel: Stack) -> None:
    run = panel.client.fallback(["bad"], "x", default={"value": None})
    assert run.get(timeout=SOON_S) is None


def test_candidates_wait_for_the_errors_that_they_are_for(panel: Stack) -> None:
    candidates: list[str | dict[str, Any]] = [
        "bad",
        {"agent": "noop", "on": ["timeout"]},
        {"agent": "shout", "on": []},
    ]
    assert panel.client.fallback(candidates, "x").get(timeout=SOON_S) == "X"


def test_the_whole_chain_ends_in_its_time(panel: Stack) -> None:
    run = panel.client.fallback(["hangs", "noop"], "x", timeout_s=2)
    with pytest.raises(AllCandidatesFailedError):
        run.get(timeout=SOON_S)
    assert _ended(panel, run.id) == {"hangs": "cancelled"}


def test_a_hedge_starts_beside_a_slow_candidate(panel: Stack) -> None:
    run = panel.client.fallback(
        ["hangs", "noop"], "x", strategy="hedged", hedge={"delay_s": 0.2, "share": 1.0}
    )
    assert run.get(timeout=SOON_S) == "x"
    assert _ended(panel, run.id) == {"hangs": "cancelled", "noop": "succeeded"}
    assert [e["data"] for e in panel.events(run.id, "expanded")] == [{"hedge": "noop"}]


def test_no_hedge_beyond_its_share(panel: Stack) -> None:
    run = panel.client.fallback(
        ["sleeps", "noop"],
        "x",
        strategy="hedged",
        hedge={"delay_s": 0.1, "share": 0.0},
        work="unhedged",
    )
    assert run.get(timeout=SOON_S) == "late"
    assert _ended(panel, run.id) == {"sleeps": "succeeded"}


def test_adaptive_learns_across_runs(panel: Stack) -> None:
    runs = [
        panel.client.fallback(
            ["refused", "noop"], "x", strategy="adaptive", work="learning", retry=RetryPolicy()
        )
        for _ in range(20)
    ]
    assert [r.get(timeout=SOON_S) for r in runs] == ["x"] * 20
    later = panel.client.fallback(["refused", "noop"], "x", strategy="adaptive", work="learning")
    later.get(timeout=SOON_S)
    tried = [len(panel.members(r.id)) for r in [*runs, later]]
    assert sum(tried) < 2 * len(tried)  # the one that always fails is not always asked first


def test_weighted_draws_by_its_seed(panel: Stack) -> None:
    run = panel.client.fallback(["noop", "shout"], "x", strategy="weighted", seed="1")
    assert run.get(timeout=SOON_S) in {"x", "X"}
    assert len(panel.members(run.id)) == 1


def test_agents_with_effects_are_not_raced(panel: Stack) -> None:
    run = panel.client.fallback(["pay", "noop"], 1, strategy="parallel")
    with pytest.raises(ConfigurationError, match="cannot be raced"):
        run.get(timeout=SOON_S)
    assert panel.members(run.id) == {}


# -- votes


def test_a_majority_does_not_wait_for_voters_that_hang(panel: Stack) -> None:
    run = panel.client.vote([*["yes"] * 7, "hangs", "hangs"], "?")  # these take an hour
    decision = run.get(timeout=SOON_S)
    assert decision.option == "yes"
    assert decision.stopped_by == "exact"
    states = _ended(panel, run.id)
    assert states["hangs"] in {"cancelled", "skipped"}
    assert states["hangs#2"] in {"cancelled", "skipped"}


def test_waves_ask_no_more_than_is_needed(panel: Stack) -> None:
    voters = [{"agent": "yes", "samples": 20}]
    run = panel.client.vote(voters, "?", stop="adaptive_consistency", waves=4)
    decision = run.get(timeout=SOON_S)
    assert (decision.option, decision.samples_used, decision.samples_saved) == ("yes", 4, 16)
    assert len(panel.members(run.id)) == 4


def test_a_stop_rule_chooses_its_waves(panel: Stack) -> None:
    voters: list[Any] = ["no", {"agent": "yes", "samples": 39}]
    run = panel.client.vote(voters, "?", stop="adaptive_consistency")
    decision = run.get(timeout=SOON_S)
    assert (decision.option, decision.samples_used, decision.waves) == ("yes", 7, 2)  # 3-1, 6-1
    assert len(panel.members(run.id)) == 7


def test_a_split_goes_to_the_supervisor_and_its_backup(panel: Stack) -> None:
    run = panel.client.vote(
        ["yes", "no"],
        "?",
        choices=["yes", "no"],
        escalate={"kind": "supervisor", "agent": "bad", "backups": ["supervisor"]},
    )
    decision = run.get(timeout=SOON_S)
    assert (decision.option, decision.decided_by) == ("no", "supervisor")


def test_a_split_without_escalation_fails_with_its_tally(panel: Stack) -> None:
    with pytest.raises(NoDecisionError) as failure:
        panel.client.vote(["yes", "no"], "?").get(timeout=SOON_S)
    assert failure.value.details["decision"]["tally"] == {"no": 1, "yes": 1}


def test_a_vote_closes_in_its_time_with_the_ballots_that_are_there(panel: Stack) -> None:
    run = panel.client.vote(["yes", "hangs", "hangs"], "?", timeout_s=4)
    decision = run.get(timeout=SOON_S)
    assert decision.option == "yes"
    assert decision.abstentions == {"missing": 2}


def test_deliberation_changes_minds(panel: Stack) -> None:
    run = panel.client.vote(["yes", "yes", "swayed"], "?", rule="unanimous", deliberation=3)
    decision = run.get(timeout=SOON_S)
    assert (decision.option, decision.rounds) == ("yes", 1)


def test_a_person_decides_without_holding_a_slot(panel: Stack) -> None:
    run = panel.client.vote(["yes", "no"], "?", choices=["yes", "no"], escalate="person")
    eventually(lambda: "@person" in panel.members(run.id), "the vote to wait for a person")
    assert panel.members(run.id)["@person"].state == "waiting"
    assert panel.state(run.id) == "waiting"
    eventually(lambda: not panel.messages(run.id))
    with pytest.raises(InvalidPayloadError, match="not one of"):
        panel.client.runs.approve(run.id, "perhaps")
    panel.client.runs.approve(run.id, "no")
    decision = run.get(timeout=SOON_S)
    assert (decision.option, decision.decided_by) == ("no", "person")
    with pytest.raises(InvalidPayloadError, match="waits for a person"):
        panel.client.runs.approve(run.id, "yes")


def test_a_waiting_approval_can_be_cancelled(panel: Stack) -> None:
    run = panel.client.vote(["yes", "no"], "?", escalate="person")
    eventually(lambda: "@person" in panel.members(run.id))
    run.cancel()
    eventually(lambda: panel.state(run.id) == "cancelled")
    assert panel.members(run.id)["@person"].state == "cancelled"


# -- gathering


def test_gathering_merges_averages_joins_and_judges(panel: Stack) -> None:
    client = panel.client
    assert client.gather(["number", "number", "bad"], "abc", how="mean").get(SOON_S).value == 3.0
    assert client.gather(["noop", "noop"], {"a": 1}).get(SOON_S).value == {"a": 1}
    joined = client.gather(["noop", "shout"], "ab", how="concat", separator=" ").get(SOON_S)
    assert joined.value == "ab AB"
    best = client.gather(["number", "noop"], "long", how="best", judge="judge").get(SOON_S)
    assert best.value == "long"
    with pytest.raises(AllCandidatesFailedError):
        client.gather(["bad", "bad"], "x").get(SOON_S)


# -- canvas


def test_a_chain_through_patterns_ends_in_another_apps_task(panel: Stack) -> None:
    client = panel.client
    other = client.celery.signature("shop.answer", queue="shop")
    chain = client.ask.s("noop") | client.vote.s(["yes", "yes"]) | _option(client) | other
    result = chain.delay("?")
    last = AsyncResult(result.id, app=client.celery)
    assert "yes" in str(last.get(timeout=SOON_S))


def _option(client: Any) -> Any:
    """A decision is JSON for the next of a chain."""
    return client.ask.s("noop")


# -- faults


def test_votes_through_kills_and_wipes(
    own_broker: RedisServer, sqlite_journal_url: str, tmp_path: Path
) -> None:
    stack = Stack(own_broker.database_url(0), sqlite_journal_url, tmp_path, {**FAST, **BOTH})
    try:
        _votes_through_faults(stack, own_broker, votes=80 if is_full() else 48)
    finally:
        stack.close()


def _votes_through_faults(stack: Stack, broker: RedisServer, *, votes: int) -> None:
    """Faults come evenly over the first part of the work; its end waits for the last of them."""
    worker = stack.worker(name="victim@tests")
    voters = ["even", "even", "even", "contrary", "contrary"]
    after = stack.directory / "after"
    questions: list[dict[str, Any]] = [{"n": n} for n in range(votes)]
    questions[-1]["after"] = str(after)
    runs = stack.client.vote.many(voters, questions)
    steps = 6 * votes
    for fault in range(1, 6):
        eventually(lambda n=fault: _ends(stack) >= n * steps // 8, timeout_s=60)  # type: ignore[misc]
        if fault in {2, 4}:
            broker.wipe()
            stack.client.publish(r.message for r in runs if stack.row(r.id) is None)
        worker.kill()
        worker.start()
    after.touch()
    eventually(lambda: all(stack.state(r.id) == "succeeded" for r in runs), timeout_s=120)
    assert [stack.row(r.id).outcome["value"]["option"] for r in runs] == [
        "yes" if n % 2 == 0 else "no" for n in range(votes)
    ]
    assert stack.calls_made_twice() == 0
    assert runs[0].get(timeout=60).option == "yes"  # its result was wiped; waiting brings it back
    decided = stack.read(lambda c: c.execute(select(func.count()).select_from(Step)).scalar())
    assert decided == 6 * votes  # no member was made twice, whatever was expanded twice


def _ends(stack: Stack) -> int:
    query = select(func.count()).where(Step.finished_at.is_not(None))
    return int(stack.read(lambda c: c.execute(query).scalar_one()))


@pytest.mark.parametrize("lost", ["member", "body"])
def test_a_join_survives_the_loss_of_a_message(fast: Stack, lost: str) -> None:
    """The message is lost while no worker is there to take it."""
    fast.env.update(BOTH)
    worker = fast.worker()
    run = fast.client.vote(["sleeps", "sleeps"], "?")
    eventually(lambda: len(fast.members(run.id)) == 2 and fast.state(run.id) == "waiting")
    if lost == "member":
        worker.kill()
    else:
        fast.freeze(worker)  # members end elsewhere, below
        other = fast.worker(name="other@tests")
        eventually(lambda: fast.state(run.id) in {"ready", "running", "succeeded"})
        other.kill()
    fast.redis.flushdb()
    (worker.start if lost == "member" else worker.resume)()
    assert run.get(timeout=60).option == "late"


def test_a_revoked_member_does_not_stop_the_join(fast: Stack) -> None:
    fast.env.update(BOTH)
    fast.worker()
    run = fast.client.vote(["quick", "quick", "hangs"], "?", stop="none", timeout_s=600)
    eventually(lambda: "hangs" in fast.members(run.id))
    hanging = fast.members(run.id)["hangs"].id
    eventually(lambda: fast.state(hanging) == "running")
    fast.client.runs.cancel(hanging)
    decision = run.get(timeout=SOON_S)
    assert decision.option == "?"
    assert fast.state(hanging) == "cancelled"


def test_each_decision_is_expanded_and_fired_once(panel: Stack) -> None:
    run = panel.client.vote(["yes", "no", "yes"], "?", stop="none")
    run.get(timeout=SOON_S)
    fired = panel.read(
        lambda c: c.execute(
            select(func.count()).where(Event.step_id == run.id, Event.kind == "expanded")
        ).scalar()
    )
    assert fired == 0  # waves and votes tell nothing; escalations and hedges do
    assert panel.row(run.id).token == 2  # expanded under one claim, decided under the other
