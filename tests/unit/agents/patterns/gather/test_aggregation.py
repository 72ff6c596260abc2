from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.patterns.gather.aggregation import (
    best,
    concatenate,
    mean,
    median,
    merge_dicts,
    merge_lists,
)
from celery_agents.contracts.outcome import Outcome, State


def outcomes(*values: Any) -> list[Outcome]:
    """Members a, b, c, …; an ellipsis is one that failed."""
    return [
        Outcome(state=State.FAILED, member=name)
        if value is ...
        else Outcome(state=State.SUCCEEDED, member=name, value=value)
        for name, value in zip("abcdefgh", values, strict=False)
    ]


def left_out(found: Any) -> dict[str, str]:
    return {one.member: one.why for one in found.skipped}


def test_objects_merge_deeply_and_clashes_are_told() -> None:
    found = merge_dicts(
        outcomes(
            {"x": 1, "deep": {"p": 1, "q": [1]}},
            ...,
            {"y": 2, "deep": {"p": 2, "q": [1], "r": {}}},
            "no object",
            {"x": True, "deep": 5},
        )
    )
    assert found.value == {"x": 1, "deep": {"p": 1, "q": [1]}, "y": 2}
    assert {clash.path: dict(clash.values) for clash in found.conflicts} == {
        ("x",): {"a": 1, "e": True},
        ("deep",): {
            "a": {"p": 1, "q": [1]},
            "c": {"p": 2, "q": [1], "r": {}},
            "e": 5,
        },
    }
    assert left_out(found) == {"b": "no_answer", "d": "wrong_type"}
    assert found.used == ("a", "c", "e")


def test_deep_clashes_name_their_path() -> None:
    found = merge_dicts(outcomes({"d": {"p": 1, "q": 1}}, {"d": {"p": 2, "q": 1, "r": 3}}))
    assert found.value == {"d": {"p": 1, "q": 1, "r": 3}}
    assert [clash.path for clash in found.conflicts] == [("d", "p")]


def test_lists_merge_in_the_order_of_first_appearance() -> None:
    found = merge_lists(outcomes([3, 1, 3], [{"k": 1, "l": 2}, 1], 7, [{"l": 2, "k": 1}, True]))
    assert found.value == [3, 1, {"k": 1, "l": 2}, True]
    assert left_out(found) == {"c": "wrong_type"}


@pytest.mark.parametrize(
    ("values", "weights", "middle", "average"),
    [
        ((1, 2, 10), None, 2, 13 / 3),
        ((1, 2, 3, 10), None, 2.5, 4),
        ((0.1, 0.2, 0.3), None, 0.2, 0.2),
        ((1, 2, 10), {"a": 1, "b": 1, "c": 4}, 10, 43 / 6),
        ((1, 2, 10), {"a": "1/3", "b": "1/3", "c": "2/3"}, 6, 5.75),
        ((5,), None, 5, 5),
    ],
)
def test_mean_and_median(values: Any, weights: Any, middle: float, average: float) -> None:
    assert median(outcomes(*values), weights).value == middle
    assert mean(outcomes(*values), weights).value == pytest.approx(average, rel=1e-15)


def test_what_is_no_number_is_left_out() -> None:
    members = outcomes(1, "2", True, float("nan"), ..., 10**400, 3, 4)
    for aggregate in (mean, median):
        found = aggregate(members, {"a": 1, "g": 1})
        assert found.value == 2
        assert left_out(found) == {
            "b": "wrong_type",
            "c": "wrong_type",
            "d": "wrong_type",
            "e": "no_answer",
            "f": "wrong_type",
            "h": "no_weight",
        }


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=8))
def test_both_lie_between_the_extremes(values: list[float]) -> None:
    for aggregate in (mean, median):
        found: Any = aggregate(outcomes(*values)).value
        assert min(values) <= found <= max(values)


def test_texts_are_joined() -> None:
    found = concatenate(outcomes("one", 2, "three"), separator=" | ")
    assert (found.value, left_out(found)) == ("one | three", {"b": "wrong_type"})


def test_the_best_by_a_judges_scores() -> None:
    members = outcomes("x", "y", ..., "z", "w")
    found = best(members, {"a": 1, "b": 3, "c": 9, "d": 3, "e": float("nan")})
    assert (found.value, found.used) == ("y", ("a", "b", "d"))
    assert left_out(found) == {"c": "no_answer", "e": "no_score"}


@pytest.mark.parametrize("aggregate", [merge_dicts, merge_lists, mean, median, concatenate])
def test_nothing_to_use_is_none(aggregate: Any) -> None:
    for members in ([], outcomes(...), outcomes(None)):
        found = aggregate(members)
        assert (found.value, found.used, len(found.skipped)) == (None, (), len(members))
    assert best([], {}).value is None


def test_members_without_a_name_still_have_one() -> None:
    twice = [Outcome(state=State.SUCCEEDED, agent="m", value=n) for n in (1, 3)]
    assert mean(twice).used == ("m", "m#2")
