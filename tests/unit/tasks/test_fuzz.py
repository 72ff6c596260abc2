"""What a message may hold, at random: a request or InvalidPayloadError, and soon.

A share of the cases runs with the suite; ``AGENTS_FUZZ_CASES=20000`` sets how many there are.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from itertools import cycle
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from agents.models.strict import strict_form
from agents.patterns.vote import ballot, electorate
from agents.patterns.vote.pattern import advance, close
from agents.plan import Expand, MemberState
from agents.schema import problem
from celery_agents import names
from celery_agents.contracts.ask import Ask, StepOptions
from celery_agents.contracts.fallback import FallbackPolicy
from celery_agents.contracts.gather import Gather
from celery_agents.contracts.mapping import Map
from celery_agents.contracts.outcome import Outcome, State
from celery_agents.contracts.patterns import Fallback, Vote
from celery_agents.contracts.vote import BALLOTS_MAX, VotePolicy
from celery_agents.errors import InvalidPayloadError
from celery_agents.values import jsonable
from tests.support.cpu import soon
from tests.support.drawn import costly

CASES = int(os.environ.get("AGENTS_FUZZ_CASES") or costly(1_000, part=3))
#: Seconds of CPU that one case may take; a loop would stand still for as long.
MOST_S = 0.2
MEMBERS: dict[str, type[StepOptions]] = {names.ASK: Ask, names.FALLBACK: Fallback}
CONTRACTS: list[type[StepOptions]] = [Ask, Fallback, Vote, Gather, Map]
MODELS: list[type[BaseModel]] = [*CONTRACTS, FallbackPolicy, VotePolicy]
#: Contracts' own words, so that options are often nearly right.
WORDS = sorted(
    {name for one in MODELS for name in one.model_fields}
    | {"kind", "agent", "samples", "weight", "name", "sizes", "max", "records", "threshold", "k"}
)
VALUES = [
    *(
        "a",
        "b",
        "",
        "\0",
        "\ud800",
        "x" * 2_000,
        "1/3",
        "1/99999999999999",
        "50%",
        "@round",
        "person",
    ),
    *("plurality", "weighted", "majority", "supermajority", "unanimous", "instant_runoff", "borda"),
    *("schulze", "approval", "reliability", "confidence", "seeded", "lead", "none", "exact"),
    *(0, 1, 2, 7, 1000, -1, 10**6, 10**30, 10**400, 0.5, 1e-300, 1e300, float("nan"), True, None),
]
KEYWORDS = ["type", "enum", "const", "properties", "required", "items", "anyOf", "oneOf", "$ref"]
KEYWORDS += ["minimum", "maximum", "additionalProperties", "$defs", "a"]
SAID = [
    "#",
    "#/a",
    "#/$defs/a",
    "#/items",
    "object",
    "array",
    "string",
    "integer",
    "a",
    0,
    1.5,
    None,
]

leaves = st.sampled_from(VALUES)
json_like = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4)
    ),
    max_leaves=12,
)
schemas = st.recursive(
    st.sampled_from(SAID),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYWORDS), inner, max_size=5)
    ),
    max_leaves=25,
)
voters = st.lists(
    st.sampled_from(["a", "b"])
    | st.fixed_dictionaries(
        {"agent": st.sampled_from(["a", "b"])},
        optional={"samples": st.integers(-1, 1001), "weight": leaves},
    ),
    min_size=1,
    max_size=4,
)
options = st.dictionaries(st.sampled_from(WORDS), json_like, max_size=5)
votes = st.fixed_dictionaries(
    {"voters": voters},
    optional={
        "rule": leaves,
        "choices": st.lists(st.sampled_from(["x", "y", "z", "w"]), unique=True) | leaves,
        "tie": leaves,
        "stop": leaves,
        "waves": leaves | st.lists(st.integers(0, 3), max_size=3),
        "weights": leaves,
        "quorum": leaves,
        "deliberation": st.integers(-1, 21),
        "min_consensus": leaves,
    },
)
CHOICES = ["x", "y", "z"]
few_voters = st.lists(
    st.fixed_dictionaries(
        {"agent": st.sampled_from("ab")}, optional={"samples": st.integers(1, 3)}
    ),
    min_size=1,
    max_size=4,
)
supervisors = st.fixed_dictionaries(
    {"kind": st.just("supervisor"), "agent": st.just("a")},
    optional={"backups": st.integers(0, 200).map(lambda n: ["b"] * n)},
)
#: So nearly right that most are taken.
likely_votes = st.fixed_dictionaries(
    {"voters": few_voters, "escalate": st.sampled_from(["none", "person", "a"]) | supervisors},
    optional={
        "choices": st.just(CHOICES),
        "rule": st.sampled_from(["plurality", "majority", "unanimous", "approval", "borda"]),
        "tie": st.sampled_from(["stated", "seeded", "supervisor", "fail"]),
        "stop": st.sampled_from(["none", "exact"]),
        "waves": st.lists(st.integers(1, 3), min_size=1, max_size=3),
        "deliberation": st.integers(0, 3),
        "min_consensus": st.sampled_from([0, "1/3", 1]),
        "voter_timeout_s": st.sampled_from([1e-3, 1.0]),
        "instructions": st.sampled_from(["", "be brief"]),
    },
)
likely_answers = (
    st.sampled_from([*CHOICES, None, "?"]) | st.lists(st.sampled_from(CHOICES), max_size=3) | leaves
)
SOME = settings(
    max_examples=CASES // 4,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def bounded(work: Callable[[], Any]) -> Any:
    """What it gives, or None where it refuses; whatever else it raises is a fault."""

    def refusing() -> Any:
        try:
            return work()
        except InvalidPayloadError:
            return None

    return soon(refusing, MOST_S)


@SOME
@given(st.sampled_from(CONTRACTS), st.lists(json_like, max_size=2), options)
def test_options_of_every_verb(contract: type[StepOptions], args: Any, kwargs: Any) -> None:
    request = bounded(lambda: contract.from_message(args, kwargs))
    if request is not None:
        soon(request.message_options, MOST_S)


@SOME
@given(schemas, schemas)
def test_schemas_and_answers(schema: Any, value: Any) -> None:
    request = bounded(lambda: Ask.from_message([], {"agent": "a", "answer_schema": schema}))
    if isinstance(schema, dict):  # also those of rows that are older than their check
        found = bounded(lambda: problem(value, schema))
        bounded(lambda: strict_form(schema))
        assert found is None or len(found) < 2_000
    if request is not None and request.answer_schema is not None:
        problem(value, request.answer_schema)  # one that was taken is not malformed


@SOME
@given(votes, st.lists(json_like, max_size=8))
def test_a_vote_that_is_taken_is_not_refused_as_it_closes(kwargs: Any, answers: list[Any]) -> None:
    request = bounded(lambda: Vote.from_message(["q"], kwargs).within(BALLOTS_MAX))
    if request is None:
        return
    asked = electorate(request)
    heard = [soon(partial(ballot, request, v, a), MOST_S) for v, a in zip(asked, answers)]  # noqa: B905
    soon(lambda: close(request, asked, heard), MOST_S)


@SOME
@given(likely_votes, st.lists(likely_answers, max_size=8))
def test_a_vote_that_is_taken_comes_to_its_end(kwargs: Any, answers: list[Any]) -> None:
    request = bounded(lambda: Vote.from_message(["q"], kwargs))
    if request is not None:
        assert played(request, answers).state.final


def played(request: Vote, answers: list[Any]) -> Outcome:
    """The end of a vote whose members, none of which is refused, give these answers in turn."""
    members: list[MemberState] = []
    said = cycle([jsonable(a) for a in answers] or [None])
    while isinstance(found := advance(request, members), Expand):
        before = {m.key for m in members}
        new = [m for m in found.members if m.key not in before]
        assert new
        for m in new:
            if not m.waits:
                MEMBERS[m.task].from_message([m.input], m.options, known=True)
            outcome = Outcome(state=State.SUCCEEDED, value=next(said))
            members.append(MemberState(key=m.key, state=outcome.state, outcome=outcome))
    return found


@SOME
@given(st.sampled_from(CONTRACTS), options, st.integers(2, 2_000))
def test_deep_and_wide_values(contract: type[StepOptions], kwargs: Any, size: int) -> None:
    deep: Any = 1
    for _ in range(size):
        deep = [deep]
    odds: list[Any] = [deep, [{}] * size, "x" * size]
    for odd in odds:
        for name in ("input", "voters", "candidates", "answer_schema", "choices"):
            bounded(partial(contract.from_message, [], {**kwargs, name: odd}))


@pytest.mark.parametrize("contract", CONTRACTS)
def test_the_fuzz_reaches_requests(contract: type[StepOptions]) -> None:
    """The words that are drawn from make whole requests, too."""
    whole = {"agent": "a", "candidates": ["a"], "voters": ["a"], "agents": ["a"], "input": [1]}
    assert set(whole) <= set(WORDS)
    told = {k: v for k, v in whole.items() if k in contract.model_fields}
    if "agent" in told:  # a map has one of them, or several
        told.pop("agents", None)
    assert bounded(lambda: contract.from_message([], told)) is not None
