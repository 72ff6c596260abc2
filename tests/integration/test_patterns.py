"""Fallbacks and votes with real workers: who wins, who is let go, what it all comes to."""

from __future__ import annotations

from pathlib import Path

import pytest

from celery_agents import Candidate, Client, RetryPolicy
from celery_agents.contracts.fallback import Strategy
from celery_agents.errors import (
    AllCandidatesFailedError,
    ConfigurationError,
    NoDecisionError,
)
from tests.integration.harness import SOON_S, Stack, eventually

pytestmark = pytest.mark.databases("sqlite")

SUPERVISOR = "@supervisor"  # its key beside the voters'
ONCE = RetryPolicy(max_attempts=1)


class TestFallback:
    def test_first_that_works(self, client: Client, stack: Stack) -> None:
        run = client.fallback(["refused", "bad", "shout", "noop"], "please")
        assert run.get(timeout=SOON_S) == "PLEASE"
        assert list(stack.members(run.id)) == ["refused", "bad", "shout"]
        outcome = run.outcome()
        assert outcome is not None
        assert outcome.agent == "shout"
        parts = [m.finished_at - m.started_at for m in stack.members(run.id).values()]
        assert outcome.duration_s is not None
        assert sum(parts) * 0.9 <= outcome.duration_s < 60  # one after another, all within it

    def test_stated_priority_comes_first(self, client: Client, stack: Stack) -> None:
        candidates = [Candidate(agent="noop", priority=2), Candidate(agent="shout", priority=1)]
        run = client.fallback(candidates, "a")
        assert run.get(timeout=SOON_S) == "A"
        assert list(stack.members(run.id)) == ["shout"]

    def test_timeout_of_a_candidate(self, client: Client) -> None:
        candidates = [Candidate(agent="hangs", timeout_s=0.5), Candidate(agent="shout")]
        assert client.fallback(candidates, "a").get(timeout=SOON_S) == "A"

    def test_race_cancels_the_loser(self, client: Client, stack: Stack) -> None:
        run = client.fallback(["hangs", "refused", "slow_yes"], "?", strategy="parallel")
        assert run.get(timeout=SOON_S) == "yes"
        eventually(lambda: stack.members(run.id)["hangs"].finished_at)
        members = stack.members(run.id)
        assert members["hangs"].state in {"cancelled", "skipped"}
        assert members["refused"].state == "failed"

    @pytest.mark.parametrize("strategy", ["sequential", "parallel"])
    def test_all_failed_tells_each_error(self, client: Client, strategy: Strategy) -> None:
        run = client.fallback(["refused", "bad", "keyless"], "because", strategy=strategy)
        with pytest.raises(AllCandidatesFailedError, match="because") as caught:
            run.get(timeout=SOON_S)
        errors = caught.value.details["errors"]
        assert {k: e["kind"] for k, e in errors.items()} == {
            "refused": "agent_failed",
            "bad": "agent_failed",
            "keyless": "missing_key",
        }

    def test_default(self, client: Client) -> None:
        run = client.fallback(["refused"], "x", default={"value": None})
        assert run.get(timeout=SOON_S) is None

    @pytest.mark.parametrize("strategy", ["parallel", "hedged"])
    @pytest.mark.parametrize("agent", ["pay", "charging"])  # "charging" has a tool with effects
    def test_effects_are_not_raced(
        self, client: Client, stack: Stack, agent: str, strategy: Strategy
    ) -> None:
        run = client.fallback([agent, "shout"], 5, strategy=strategy)
        with pytest.raises(ConfigurationError, match=f"'{agent}' has effects"):
            run.get(timeout=SOON_S)
        assert stack.members(run.id) == {}

    def test_effects_one_after_another(self, client: Client) -> None:
        assert client.fallback(["pay", "shout"], 5).get(timeout=SOON_S) == "paid 5"

    def test_chain_with_a_deadline(self, client: Client) -> None:
        run = client.fallback(["hangs", "shout"], "x", timeout_s=1, retry=ONCE)
        with pytest.raises(AllCandidatesFailedError):
            run.get(timeout=SOON_S)


class TestVote:
    def test_decided_without_the_hanging(self, client: Client, stack: Stack) -> None:
        voters = ["yes", "no", "hangs", "yes", "hangs", "yes", "no", "yes", "yes"]
        run = client.vote(voters, "?", rule="majority")
        decision = run.get(timeout=SOON_S)
        assert (decision.option, decision.decided_by) == ("yes", "rule")
        assert decision.tally["yes"] == 5
        eventually(lambda: all(m.finished_at for m in stack.members(run.id).values()))
        states = {m.state for k, m in stack.members(run.id).items() if k.startswith("hangs")}
        assert states <= {"cancelled", "skipped"}
        assert stack.state(run.id) == "succeeded"

    def test_the_whole_count(self, client: Client) -> None:
        decision = client.vote(["yes", "no", "yes"], "?", stop="none").get(timeout=SOON_S)
        assert decision.tally == {"yes": 2, "no": 1}
        assert [b.option for b in decision.ballots] == ["yes", "no", "yes"]

    def test_timeout_closes_it(self, client: Client) -> None:
        voters = ["yes", "yes", "hangs", "hangs", "hangs"]
        decision = client.vote(voters, "?", timeout_s=4).get(timeout=SOON_S)
        assert (decision.option, decision.abstentions) == ("yes", {"missing": 3})
        run = client.vote(voters, "?", timeout_s=1, quorum={"count": 3})
        with pytest.raises(NoDecisionError, match="quorum"):
            run.get(timeout=SOON_S)

    def test_supervisor_decides_a_split(self, client: Client, stack: Stack) -> None:
        run = client.vote(
            ["yes", "no"], "?", choices=["yes", "no"], rule="majority", escalate="supervisor"
        )
        decision = run.get(timeout=SOON_S)
        assert (decision.option, decision.decided_by) == ("no", "supervisor")
        assert list(stack.members(run.id)) == ["yes", "no", SUPERVISOR]
        assert stack.events(run.id, "expanded")

    def test_no_supervisor_no_decision(self, client: Client) -> None:
        with pytest.raises(NoDecisionError) as caught:
            client.vote(["yes", "no"], "?").get(timeout=SOON_S)
        assert caught.value.details["decision"]["tally"] == {"yes": 1, "no": 1}

    def test_failed_voters_abstain(self, client: Client) -> None:
        run = client.vote(["yes", "yes", "refused", "nobody"], "?", stop="none", retry=ONCE)
        decision = run.get(timeout=SOON_S)
        assert decision.abstentions == {"failed": 2}


class TestNested:
    def test_supervisor_is_a_fallback(self, client: Client, stack: Stack) -> None:
        run = client.vote(
            ["yes", "no"],
            "?",
            choices=["yes", "no"],
            escalate={"kind": "supervisor", "agent": "refused", "backups": ["supervisor"]},
        )
        decision = run.get(timeout=SOON_S)
        assert (decision.option, decision.decided_by) == ("no", "supervisor")
        tree = stack.members(stack.members(run.id)[SUPERVISOR].id)
        assert list(tree) == ["refused", "supervisor"]
        status = run.status()
        assert status is not None
        assert len(status["steps"]) == 6

    def test_patterns_in_a_chain(self, client: Client, counted: Path) -> None:
        vote = client.vote.s(["yes", "no", "yes"], "?")
        fallback = client.fallback.s(["refused", "noop"])
        count = client.ask.s("count", {"path": str(counted), "value": "end"})
        count.immutable = True
        assert (vote | fallback | count).apply_async().get(timeout=SOON_S) == "end"
        assert len(set(counted.read_text().splitlines())) == 1
