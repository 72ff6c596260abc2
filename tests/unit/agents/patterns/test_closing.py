"""How long it takes to close a vote: near-linear in its ballots under every rule."""

from __future__ import annotations

import random
from functools import cache
from itertools import product
from typing import Any

import pytest

from agents.patterns.vote import electorate
from agents.patterns.vote.pattern import close
from agents.patterns.vote.stop import leads_with_probability
from celery_agents.contracts.patterns import Vote
from celery_agents.contracts.vote import Ballot
from tests.support.cpu import cpu_s
from tests.support.drawn import in_turn

#: Seconds of CPU, twice what is promised: of a machine that does other things too. Before each
#: voter was known by its key it took more than a minute.
MOST_S = 2.0
BALLOTS = 10_000
RULES: list[Any] = [
    "plurality",
    "weighted",
    "majority",
    {"kind": "supermajority", "threshold": "3/4"},
    "unanimous",
    "instant_runoff",
    "borda",
    "schulze",
    "approval",
]


def panel(**more: Any) -> Vote:
    voters = [{"agent": f"a{n}", "samples": 1000} for n in range(BALLOTS // 1000)]
    return Vote.from_message(["q"], {"voters": voters, **more})


def cast(request: Vote, count: int, options: list[str]) -> list[Ballot]:
    voters = tuple(v.key for v in electorate(request)[:count])
    return ballots(request.rule.ballot, voters, tuple(options))


@cache
def ballots(kind: str, voters: tuple[str, ...], options: tuple[str, ...]) -> list[Ballot]:
    """The same for all rules that count such ballots: making them is a quarter of the time."""
    rng = random.Random(7)

    def voice() -> Any:
        one = kind == "option"
        return rng.choice(options) if one else tuple(rng.sample(options, len(options)))

    return [Ballot(voter=voter, **{kind: voice()}) for voter in voters]


def seconds(request: Vote, heard: list[Ballot]) -> float:
    asked = electorate(request)
    return cpu_s(lambda: close(request, asked, heard), MOST_S)


@pytest.mark.parametrize(
    ("rule", "tie", "silent"),
    [
        (rule, *how)
        for n, rule in enumerate(RULES)
        for how in in_turn([*product(("stated", "fail"), (0, 500))], n, part=4)
    ],
    ids=str,
)
def test_ten_thousand_ballots_are_closed_in_a_second(rule: Any, tie: str, silent: int) -> None:
    """By each rule, with all that were asked or without some of them."""
    options = [f"o{n}" for n in range(8)]
    request = panel(rule=rule, choices=options, tie=tie)
    heard = cast(request, BALLOTS, options)
    assert seconds(request, heard[: BALLOTS - silent]) < MOST_S


@pytest.mark.parametrize("rule", ["plurality", "majority", "approval"])
def test_as_many_options_as_ballots(rule: str) -> None:
    request = panel(rule=rule)
    heard = [
        Ballot(voter=v.key, **{request.rule.ballot: f"o{n}" if rule != "approval" else (f"o{n}",)})
        for n, v in enumerate(electorate(request)[: BALLOTS - 100])
    ]
    assert seconds(request, heard) < MOST_S


@pytest.mark.parametrize(
    "stop", ["adaptive_consistency", {"kind": "lead", "k": 9000}, "unanimous_window", "none"]
)
def test_every_stop_rule(stop: Any) -> None:
    options = ["x", "y"]
    request = panel(rule="plurality", choices=options, stop=stop, waves=1)
    assert seconds(request, cast(request, BALLOTS - 1, options)) < MOST_S


def test_a_long_lead_is_as_exact_as_a_short_one() -> None:
    assert leads_with_probability(0, 0) * 2 == 1
    assert leads_with_probability(4, 1) * 2**6 == 1 + 6 + 15 + 20 + 15
    assert leads_with_probability(3000, 3000) * 2 == 1
