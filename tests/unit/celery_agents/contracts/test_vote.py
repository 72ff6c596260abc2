from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from celery_agents.contracts.vote import Ballot, Exact, Quorum, VotePolicy, exact, unique_keys


def policy(**more: Any) -> VotePolicy:
    return VotePolicy.model_validate({"voters": ["a", "b", "c"], **more})


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (0.1, Fraction(1, 10)),
        ("2/3", Fraction(2, 3)),
        ("66.5%", Fraction(133, 200)),
        (" 3 ", Fraction(3)),
        (1e-7, Fraction(1, 10**7)),
        (2, Fraction(2)),
    ],
)
def test_exact(written: Any, value: Fraction) -> None:
    assert exact(written) == value


@pytest.mark.parametrize(
    "written", ["", "1/0", "a", "1e9", "1.5/2", True, None, float("nan"), float("inf"), "9" * 99]
)
def test_not_a_number(written: Any) -> None:
    with pytest.raises(ValueError, match="is not a number"):
        exact(written)


@given(st.fractions(min_value=0, max_denominator=10**6))
def test_exact_numbers_survive_json(value: Fraction) -> None:
    adapter: TypeAdapter[Fraction] = TypeAdapter(Exact)
    text = adapter.dump_json(value)
    if value.numerator < 10**15:
        assert adapter.validate_json(text) == value


WRITTEN = st.one_of(
    st.floats(min_value=0, max_value=1e15),
    st.from_regex(r"[0-9]{1,15}(\.[0-9]{1,15}|/0*[1-9][0-9]{0,9})?%?", fullmatch=True),
)


@given(WRITTEN)
@example(5e-324)
@example("936.011287504840934")
def test_whatever_is_read_is_written_so_that_it_is_read(written: Any) -> None:
    adapter: TypeAdapter[Fraction] = TypeAdapter(Exact)
    value = adapter.validate_python(written)
    assert adapter.validate_json(adapter.dump_json(value)) == value


def test_voters_are_unique_ballots() -> None:
    found = policy(voters=["gpt", {"agent": "gpt"}, {"agent": "x", "samples": 3, "weight": "1/2"}])
    assert [v.key for v in found.voters] == ["gpt", "gpt#2", "x", "x#2", "x#3"]
    assert [v.agent for v in found.voters] == ["gpt", "gpt", "x", "x", "x"]
    assert {v.weight for v in found.voters[2:]} == {Fraction(1, 2)}
    assert VotePolicy.model_validate(found.model_dump(mode="json")) == found


def test_keys_that_cannot_be_made_unique_are_refused() -> None:
    with pytest.raises(ValueError, match="unique"):
        unique_keys(["a", "a#2", "a"])


RULES: list[Any] = [
    "plurality",
    "weighted",
    "majority",
    "supermajority",
    {"kind": "supermajority", "threshold": "3/4"},
    "unanimous",
    "instant_runoff",
    "borda",
    "schulze",
    "approval",
]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("small", [True, False])
def test_policies_survive_json(rule: Any, small: bool) -> None:
    found = policy(
        rule=rule,
        choices=["x", "y"],
        weights={"kind": "reliability", "records": {"a": [3, 4]}},
        quorum="2/3",
        tie={"kind": "seeded", "seed": "7"},
        waves=[2, 1],
        min_consensus=0.6,
        escalate="boss",
        conflict="data",
        timeout_s=60,
    )
    dumped = found.model_dump(mode="json", exclude_defaults=small)
    assert VotePolicy.model_validate(dumped) == found
    assert VotePolicy.model_validate_json(found.model_dump_json(exclude_defaults=small)) == found


@pytest.mark.parametrize(
    ("field", "short", "full"),
    [
        ("rule", "majority", {"kind": "majority"}),
        ("stop", "lead", {"kind": "lead", "k": 3}),
        ("weights", "confidence", {"kind": "confidence", "temperature": 1}),
        ("tie", "fail", {"kind": "fail"}),
        ("escalate", "boss", {"kind": "supervisor", "agent": "boss"}),
        ("escalate", "person", {"kind": "person"}),
        ("quorum", 2, {"count": 2}),
        ("quorum", "50%", {"share": "1/2"}),
        ("waves", 2, {"sizes": [2]}),
        ("waves", [2, 1], {"sizes": [2, 1], "max": None}),
    ],
)
def test_short_forms(field: str, short: Any, full: Any) -> None:
    assert policy(**{field: short}) == policy(**{field: full})


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"voters": []}, "at least 1"),
        ({"rule": "guess"}, "guess"),
        ({"rule": {"kind": "supermajority", "threshold": "1/2"}}, "greater than"),
        ({"rule": "borda"}, "needs choices"),
        ({"rule": "schulze", "choices": [str(i) for i in range(101)]}, "at most 100"),
        ({"rule": "approval", "stop": "lead"}, "single options"),
        ({"tie": "supervisor"}, "escalate"),
        ({"escalate": {"kind": "supervisor", "agent": "a", "backups": ["b"] * 100}}, "at most 99"),
        ({"choices": ["a", "a"]}, "differ"),
        ({"quorum": 0}, "greater than"),
        ({"quorum": 1.5}, "less than"),
        ({"waves": []}, "at least 1"),
        ({"weights": {"kind": "reliability", "records": {"a": [5, 4]}}}, "5 right answers of 4"),
        ({"voters": [{"agent": "a", "weight": -1}]}, "greater than"),
        ({"voters": [{"agent": "a", "wieght": 1}]}, "wieght"),
        ({"quorom": 1}, "quorom"),
    ],
)
def test_mistakes_are_told(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        policy(**more)


@pytest.mark.parametrize(
    ("quorum", "voters", "needed"),
    [(1, 9, 1), (3, 9, 3), ("1/2", 9, 5), ("100%", 9, 9), (0.5, 4, 2), ("1/3", 1, 1)],
)
def test_quorum(quorum: Any, voters: int, needed: int) -> None:
    assert Quorum.model_validate(quorum).needed(voters) == needed


@pytest.mark.parametrize(
    "fields",
    [{}, {"option": "a", "abstained": "broken"}, {"option": "a", "ranking": ["a"]}],
)
def test_a_ballot_has_one_voice(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="a ballot is"):
        Ballot.model_validate({"voter": "v", **fields})
