from __future__ import annotations

from typing import Any

import pytest

from celery_agents import Client
from celery_agents.contracts.gather import Gather
from celery_agents.contracts.patterns import Vote
from celery_agents.contracts.vote import BALLOTS_MAX, MOST_BALLOTS
from celery_agents.errors import InvalidPayloadError

NOWHERE = "redis://127.0.0.1:1"
PRIMES = [n for n in range(10_000, 11_000) if all(n % d for d in range(2, 110))]


def vote(voters: Any, **more: Any) -> Vote:
    return Vote.from_message(["q"], {"voters": voters, **more})


@pytest.mark.parametrize(
    ("voters", "more", "ballots"),
    [
        (["a", "b"], {}, 2),
        ([{"agent": "a", "samples": 7}, "b"], {}, 8),
        (["a", "b", "c"], {"deliberation": 4}, 15),
        ([{"agent": "a", "samples": 50}], {"waves": {"sizes": [2], "max": 6}}, 6),
        ([{"agent": "a", "samples": 50}], {"waves": 3, "deliberation": 1}, 100),
    ],
)
def test_ballots_are_voters_by_samples_by_rounds(voters: Any, more: Any, ballots: int) -> None:
    request = vote(voters, **more)
    assert request.ballots == ballots
    assert request.within(ballots) is request
    with pytest.raises(InvalidPayloadError, match=rf"{ballots} ballots .* is {ballots - 1} "):
        request.within(ballots - 1)


@pytest.mark.parametrize(
    ("voters", "more"),
    [
        ([{"agent": "a", "samples": 1000}] * 11, {}),
        ([{"agent": "a", "samples": 1000}] * 1000, {}),
        ([{"agent": "a", "samples": 900}], {"deliberation": 20}),
    ],
)
def test_no_setting_allows_more_than_a_vote_can_count(voters: Any, more: Any) -> None:
    with pytest.raises(InvalidPayloadError, match=f"at most {MOST_BALLOTS:,}"):
        vote(voters, **more)


def test_gatherings_have_the_same_bounds() -> None:
    many = [{"agent": "a", "samples": 600}, {"agent": "b", "samples": 600}]
    with pytest.raises(InvalidPayloadError, match=r"1,200 .* the limit is 1,000"):
        Gather.from_message(["q"], {"agents": many}).within(BALLOTS_MAX)
    with pytest.raises(InvalidPayloadError, match="at most"):
        Gather.from_message(["q"], {"agents": many * 10})


def test_the_client_refuses_at_the_call() -> None:
    many = [{"agent": "a", "samples": 501}, {"agent": "b", "samples": 500}]
    with Client(NOWHERE) as agents, pytest.raises(InvalidPayloadError, match="ballots_max"):
        agents.vote.s(many, "q")
    with Client(NOWHERE, ballots_max=1001) as agents:
        assert agents.vote.s(many, "q")
    with Client(NOWHERE, ballots_max=1) as agents, pytest.raises(InvalidPayloadError):
        agents.gather.s(["a", "b"], "q")


@pytest.mark.parametrize(
    "weights",
    [
        [f"1/{10**14 - 1 - 2 * n}" for n in range(1000)],
        [f"1/{prime}" for prime in PRIMES],
        [1e-300],
    ],
)
def test_weights_without_a_common_measure_are_refused(weights: list[Any]) -> None:
    voters = [{"agent": f"v{n}", "weight": weight} for n, weight in enumerate(weights)]
    with pytest.raises(InvalidPayloadError, match="common denominator"):
        vote(voters, rule="weighted")
    with pytest.raises(InvalidPayloadError, match="common denominator"):
        Gather.from_message(["q"], {"agents": voters, "how": "mean"})


def test_weights_as_people_write_them() -> None:
    weights = [*(f"1/{n}" for n in range(1, 100)), 0.1, "66.6%", 1e-9, "0.123456789012345"]
    assert vote([{"agent": f"v{n}", "weight": w} for n, w in enumerate(weights)])


def test_records_of_reliability_are_counts() -> None:
    records = {"a": [10**40, 10**40]}
    with pytest.raises(InvalidPayloadError, match="weights"):
        vote(["a"], weights={"kind": "reliability", "records": records})
