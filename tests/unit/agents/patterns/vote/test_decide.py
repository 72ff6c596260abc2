"""`decided` against every completion, brute force; verdicts, waves, quorum, escalation."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.patterns.vote import (
    Deadlock,
    Decided,
    Undecided,
    ballot,
    decided,
    next_wave,
    outstanding,
    settled_by,
    verdict,
)
from agents.patterns.vote.report import standing
from celery_agents.contracts.outcome import Usage
from celery_agents.contracts.vote import Ballot, VotePolicy, Voter
from tests.support.drawn import costly

SINGLE = ["plurality", "majority", {"kind": "supermajority", "threshold": "2/3"}, "unanimous"]
RANKED = ["borda", "instant_runoff", "schulze"]
Case = tuple[VotePolicy, list[Ballot], list[Voter], Sequence[str]]
TIES = ["stated", {"kind": "seeded", "seed": "x"}, "fail"]


def policy_of(rule: Any, voters: Any, **more: Any) -> VotePolicy:
    return VotePolicy.model_validate({"rule": rule, "voters": voters, **more})


def answers(policy: VotePolicy, options: Sequence[str]) -> list[Any]:
    """Every answer that can make a difference, None for an abstention."""
    if policy.rule.ballot == "option":
        return [*options, None]
    if policy.rule.ballot == "approvals":
        return [
            list(s) for n in range(len(options) + 1) for s in itertools.combinations(options, n)
        ]
    return [list(s) for n in range(len(options) + 1) for s in itertools.permutations(options, n)]


def end(policy: VotePolicy, ballots: Sequence[Ballot]) -> str | None:
    now = standing(policy, ballots)
    return None if now.deadlock else now.winner


def completions(
    policy: VotePolicy, ballots: list[Ballot], remaining: list[Voter], options: Sequence[str]
) -> set[str | None]:
    """How the vote ends under every completion."""
    ends: set[str | None] = set()
    for hand in itertools.product(answers(policy, options), repeat=len(remaining)):
        extra = [ballot(policy, v, a) for v, a in zip(remaining, hand, strict=True)]
        ends.add(end(policy, [*ballots, *extra]))
    return ends


@st.composite
def votes(
    draw: st.DrawFn,
    rules: list[Any],
    *,
    most_remaining: int = 3,
    open_choices: bool = False,
    options: tuple[str, ...] = ("b", "a", "c"),
) -> Case:
    rule = draw(st.sampled_from(rules))
    cast = draw(st.integers(0, 6))
    left = draw(st.integers(1, most_remaining))
    weights = st.sampled_from([1, 1, 1, 2, "1/2", 0.1, "4/3"])
    equal = draw(st.booleans())
    voters = [
        {"agent": f"v{i}", "weight": 1 if equal else draw(weights)} for i in range(cast + left)
    ]
    names = options[: draw(st.integers(1 if not open_choices else 2, len(options)))]
    policy = policy_of(
        rule,
        voters,
        choices=None if open_choices else names,
        tie=draw(st.sampled_from(TIES)),
        quorum=draw(st.sampled_from([1, 1, 2, 4, "1/2", "100%"])),
        min_consensus=draw(st.sampled_from([0, 0, "1/2", "2/3"])),
    )
    said = [draw(st.sampled_from(answers(policy, names))) for _ in range(cast)]
    ballots = [ballot(policy, v, a) for v, a in zip(policy.voters, said, strict=False)]
    return policy, ballots, list(policy.voters[cast:]), names


@given(votes([*SINGLE, "approval"]))
@settings(max_examples=costly(400), deadline=None)
def test_decided_is_exact_for_choices(case: Case) -> None:
    policy, ballots, remaining, options = case
    assert decided(policy, ballots, remaining) == (
        len(completions(policy, ballots, remaining, options)) == 1
    )


@given(votes(SINGLE, open_choices=True))
@settings(max_examples=costly(300), deadline=None)
def test_decided_is_exact_when_any_option_may_still_be_named(case: Case) -> None:
    policy, ballots, remaining, _ = case
    named = {one.option for one in ballots if one.option}
    # "!" goes before every word in the alphabet, so the stated order is covered; for a seeded
    # draw some unwritten name goes first, so there only one direction is checked.
    ends = completions(policy, ballots, remaining, [*named, "!", "~"])
    if policy.tie.kind == "seeded":
        assert not decided(policy, ballots, remaining) or len(ends) == 1
    else:
        assert decided(policy, ballots, remaining) == (len(ends) == 1)


@given(votes(RANKED, most_remaining=2))
@settings(max_examples=costly(300), deadline=None)
def test_decided_is_never_wrong_for_rankings(case: Case) -> None:
    policy, ballots, remaining, options = case
    ends = completions(policy, ballots, remaining, options)
    if decided(policy, ballots, remaining):
        assert len(ends) == 1


@given(votes(RANKED, most_remaining=1, options=("b", "a", "c", "d")))
@settings(max_examples=costly(200), deadline=None)
def test_decided_is_exact_for_rankings_with_one_ballot_out(case: Case) -> None:
    policy, ballots, remaining, options = case
    if policy.min_consensus == 0 and policy.quorum.count == 1 and policy.quorum.share == 0:
        ends = completions(policy, ballots, remaining, options)
        assert decided(policy, ballots, remaining) == (len(ends) == 1)


@given(votes(["borda"], most_remaining=2))
@settings(max_examples=costly(200), deadline=None)
def test_borda_knows_a_certain_winner_exactly(case: Case) -> None:
    policy, ballots, remaining, options = case
    ends = completions(policy, ballots, remaining, options)
    if ends != {None}:
        assert decided(policy, ballots, remaining) == (len(ends) == 1)


@given(votes([*SINGLE, "approval", *RANKED], most_remaining=3), st.randoms(use_true_random=False))
@settings(max_examples=costly(300), deadline=None)
def test_a_verdict_stands_however_the_vote_goes_on(case: Case, rng: random.Random) -> None:
    policy, ballots, remaining, options = case
    early = verdict(policy, ballots, remaining)
    if isinstance(early, Undecided):
        return
    rest = [ballot(policy, v, rng.choice(answers(policy, options))) for v in remaining]
    late = verdict(policy, [*ballots, *rest])
    assert type(late) is type(early)
    assert late.decision.option == early.decision.option


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([0, 0.2, 0.9, 1])), max_size=5),
    st.integers(1, 3),
    st.sampled_from(SINGLE),
)
@settings(max_examples=costly(100, part=3), deadline=None)
def test_decided_holds_under_confidence_weights(said: Any, left: int, rule: Any) -> None:
    voters = [f"v{i}" for i in range(len(said) + left)]
    policy = policy_of(
        rule, voters, choices=["a", "b"], weights={"kind": "confidence", "temperature": 0.5}
    )
    ballots = [
        ballot(policy, v, {"option": o, "confidence": c})
        for v, (o, c) in zip(policy.voters, said, strict=False)
    ]
    remaining = policy.voters[len(said) :]
    possible: list[Any] = [{"option": o, "confidence": c} for o in "ab" for c in (0, 1)] + [None]
    ends = {
        end(policy, [*ballots, *(ballot(policy, v, a) for v, a in zip(remaining, hand))])  # noqa: B905
        for hand in itertools.product(possible, repeat=left)
    }
    assert decided(policy, ballots, remaining) == (len(ends) == 1)


def cast(policy: VotePolicy, *options: str | None) -> list[Ballot]:
    return [ballot(policy, v, o) for v, o in zip(policy.voters, options, strict=False)]


def test_nine_voters_majority_two_hang() -> None:
    policy = policy_of("majority", [f"v{i}" for i in range(9)])
    ballots = cast(policy, *"yyynyny")
    assert isinstance(verdict(policy, ballots[:6], outstanding(policy, ballots[:6])), Undecided)
    found = verdict(policy, ballots, outstanding(policy, ballots))
    assert isinstance(found, Decided)
    assert found.decision.option == "y"
    assert found.decision.stopped_by == "exact"
    assert (found.decision.samples_used, found.decision.samples_saved) == (7, 2)


@pytest.mark.parametrize(
    ("rule", "said", "more", "reason"),
    [
        ("majority", "aabb", {}, "threshold"),
        ("plurality", "aabb", {"tie": "fail"}, "tie"),
        ("plurality", "aabb", {"tie": "supervisor", "escalate": "boss"}, "tie"),
        ("plurality", "aaab", {"quorum": 5}, "quorum"),
        ("plurality", "aaab", {"min_consensus": "4/5"}, "consensus"),
        ("unanimous", "aaab", {}, "threshold"),
        ("plurality", [None] * 4, {}, "no_ballots"),
        ("plurality", [None] * 4, {"quorum": 3}, "no_ballots"),
    ],
)
def test_deadlocks_say_why(rule: Any, said: Any, more: dict[str, Any], reason: str) -> None:
    policy = policy_of(rule, list("vwxyz"), **more)
    ballots = [*cast(policy, *said), Ballot(voter="z", abstained="missing")]
    found = verdict(policy, ballots)
    assert isinstance(found, Deadlock)
    assert found.reason == reason
    assert found.decision.option is None
    assert found.decision.decided_by == "none"
    assert found.decision.deadlock == reason
    assert found.decision.abstentions["missing"] == 1


def test_a_hopeless_vote_deadlocks_before_all_are_in() -> None:
    policy = policy_of("unanimous", list("vwxyz"))
    found = verdict(policy, cast(policy, "a", "b"), policy.voters[2:])
    assert isinstance(found, Deadlock)
    assert found.decision.samples_saved == 3


def test_ties_by_stated_order_and_by_seed() -> None:
    stated = policy_of("plurality", list("vwxy"), choices=["z", "a"])
    found = verdict(stated, cast(stated, *"azaz"))
    assert isinstance(found, Decided)
    assert (found.decision.option, found.decision.decided_by) == ("z", "tie_break")
    winners = set()
    for seed in range(20):
        seeded = policy_of(
            "plurality", list("vwxy"), choices=["z", "a"], tie={"kind": "seeded", "seed": str(seed)}
        )
        one, again = (verdict(seeded, cast(seeded, *order)) for order in ("azaz", "zzaa"))
        assert isinstance(one, Decided)
        assert isinstance(again, Decided)
        assert one.decision.option == again.decision.option
        winners.add(one.decision.option)
    assert winners == {"a", "z"}


def test_weights_are_exact() -> None:
    voters = [{"agent": n, "weight": w} for n, w in zip("vwx", (0.1, 0.2, 0.3), strict=True)]
    policy = policy_of("plurality", voters, tie="fail")
    found = verdict(policy, cast(policy, "a", "a", "b"))
    assert isinstance(found, Deadlock)
    assert found.decision.scores == {"a": Fraction(3, 10), "b": Fraction(3, 10)}
    assert found.decision.model_dump(mode="json")["scores"] == {"a": "3/10", "b": "3/10"}


def test_waves_ask_more_only_when_undecided() -> None:
    policy = policy_of(
        "plurality", [{"agent": "m", "samples": 9}], waves={"sizes": [3, 2], "max": 8}, stop="none"
    )
    first = next_wave(policy, [], [])
    assert [v.key for v in first] == ["m", "m#2", "m#3"]
    assert next_wave(policy, cast(policy, "a", "b"), first) == []  # one is still out
    agreed = cast(policy, "a", "a", "b")
    assert next_wave(policy, agreed, first) == []
    found = verdict(policy, agreed, outstanding(policy, agreed))
    assert isinstance(found, Decided)
    assert found.decision.stopped_by == "wave"
    assert (found.decision.samples_used, found.decision.samples_saved) == (3, 5)

    policy = policy.model_copy(update={"tie": policy_of("plurality", ["x"], tie="fail").tie})
    split = [*cast(policy, "a", "b"), Ballot(voter="m#3", abstained="broken")]
    assert isinstance(verdict(policy, split, outstanding(policy, split)), Undecided)
    second = next_wave(policy, split, first)
    assert [v.key for v in second] == ["m#4", "m#5"]
    split = cast(policy, "a", "b", None, "b", "a")
    third = next_wave(policy, split, [*first, *second])
    assert len(third) == 2
    last = next_wave(policy, cast(policy, *"abcabcd"), [*first, *second, *third])
    assert [v.key for v in last] == ["m#8"]
    final = verdict(policy, cast(policy, *"abcabcdb"))
    assert isinstance(final, Decided)
    assert final.decision.option == "b"


def test_waves_with_exact_stop_go_on_until_certain() -> None:
    policy = policy_of("majority", [f"v{i}" for i in range(7)], waves=[3, 1])
    asked = next_wave(policy, [], [])
    for heard in (3, 4):
        ballots = cast(policy, *("a" * heard))
        found = verdict(policy, ballots, outstanding(policy, ballots))
        assert isinstance(found, Undecided if heard == 3 else Decided)
        asked += next_wave(policy, ballots, asked)
    assert len(asked) == 4


def test_without_waves_all_are_asked_at_once() -> None:
    policy = policy_of("majority", list("abc"))
    assert next_wave(policy, [], []) == list(policy.voters)
    assert next_wave(policy, [], policy.voters) == []


@pytest.mark.parametrize(
    ("stop", "said", "stops"),
    [
        ("adaptive_consistency", "aaa", False),
        ("adaptive_consistency", "aaaa", True),
        ({"kind": "lead", "k": 2}, "aba", False),
        ({"kind": "lead", "k": 2}, "abaa", True),
        ({"kind": "unanimous_window", "size": 3}, "abaa", False),
        ({"kind": "unanimous_window", "size": 3}, "abaaa", True),
        ("exact", "aaaaaaaaaa", False),
        ("none", "aaaaaaaaaa", False),
    ],
)
def test_stop_rules_end_the_vote_early(stop: Any, said: Any, stops: bool) -> None:
    policy = policy_of("plurality", [{"agent": "m", "samples": 40}], stop=stop)
    ballots = cast(policy, *said)
    found = verdict(policy, ballots, outstanding(policy, ballots))
    assert isinstance(found, Decided) == stops
    if isinstance(found, Decided):
        assert found.decision.stopped_by == policy.stop.kind
        assert found.decision.samples_saved == 40 - len(said)


def test_an_early_stop_still_needs_the_rule_and_the_quorum() -> None:
    more = {"stop": {"kind": "lead", "k": 2}}
    voters = [{"agent": "m", "samples": 20}]
    short = policy_of("majority", voters, **more)
    ballots = cast(short, *"aabc" + "aabcdd")  # the leader is 2 ahead, with 4 of 10
    assert isinstance(verdict(short, ballots, outstanding(short, ballots)), Undecided)
    quorum = policy_of("majority", voters, quorum="1/2", **more)
    ballots = cast(quorum, *"aaaa")
    assert isinstance(verdict(quorum, ballots, outstanding(quorum, ballots)), Undecided)


def test_skipped_ballots_keep_the_reason_why_the_vote_stopped() -> None:
    policy = policy_of("majority", list("vwxyz"))
    skipped = [Ballot(voter=v, abstained="skipped") for v in "yz"]
    found = verdict(policy, [*cast(policy, *"aaa"), *skipped])
    assert isinstance(found, Decided)
    assert found.decision.stopped_by == "exact"
    assert (found.decision.samples_used, found.decision.samples_saved) == (3, 2)


def test_costs_add_up_and_savings_are_estimated() -> None:
    policy = policy_of("majority", list("vwxyz"))
    ballots = [
        ballot(policy, v, "a", usage=Usage(calls=1, input_tokens=10, cost_usd=0.02))
        for v in policy.voters[:3]
    ]
    found = verdict(policy, ballots, policy.voters[3:])
    assert isinstance(found, Decided)
    assert found.decision.usage.input_tokens == 30
    assert found.decision.saved_cost_usd == pytest.approx(0.04)


def test_an_escalated_decision_keeps_what_the_vote_knew() -> None:
    policy = policy_of("majority", list("vwxy"), escalate="boss")
    found = verdict(policy, cast(policy, *"aabb"))
    assert isinstance(found, Deadlock)
    done = settled_by(
        policy, found.decision, "b", by="supervisor", reason="older", usage=Usage(calls=1)
    )
    assert (done.option, done.decided_by, done.deadlock) == ("b", "supervisor", "threshold")
    assert done.consensus == 0.5
    assert done.usage.calls == 1
    assert settled_by(policy, found.decision, "new", by="person").consensus == 0


def test_conflict_and_json_round_trip() -> None:
    policy = policy_of("majority", list("vwx"), conflict="resource")
    found = verdict(policy, cast(policy, *"aab"))
    assert isinstance(found, Decided)
    assert found.decision.conflict == "resource"
    text = found.decision.model_dump_json()
    assert type(found.decision).model_validate_json(text) == found.decision
