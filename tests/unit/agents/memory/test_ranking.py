from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents.memory.ranking import (
    PASSED_MAX,
    RankedPlace,
    SpaceNumbers,
    cut,
    essential,
    fused,
    ranked,
    score,
    with_neighbours,
)


def test_rare_terms_weigh_more_and_none_less_than_nothing() -> None:
    numbers = SpaceNumbers(memories=1_000, length=10_000)
    weights = [numbers.weight(having) for having in (0, 1, 10, 500, 1_000, 2_000)]
    assert weights == sorted(weights, reverse=True)
    assert weights[-1] >= 0
    assert numbers.usual == 10_000


def test_a_score_is_that_of_the_formula() -> None:
    numbers = SpaceNumbers(memories=3, length=12)
    weights = {"shoe": 100_000}
    # Of usual length, once: 1 / (1 + 0.63 + 0.27); longer ones less; twice more, not double.
    usual = score({"shoe": 1, "a": 3}, weights, numbers)
    assert usual == 100_000 * 100 // 190
    assert score({"shoe": 1, "a": 9}, weights, numbers) < usual
    assert usual < score({"shoe": 2, "a": 2}, weights, numbers) < 2 * usual
    assert score({"sock": 1}, weights, numbers) == 0


def test_neighbours_get_a_part() -> None:
    found = with_neighbours({("a", 1): 1_000, ("a", 2): 10, ("b", 0): 100})
    assert found == {
        ("a", 0): 300,
        ("a", 1): 1_003,
        ("a", 2): 310,
        ("a", 3): 3,
        ("b", -1): 30,
        ("b", 0): 100,
        ("b", 1): 30,
    }


def test_neighbours_stand_in_the_order_whether_their_places_are_known_or_not() -> None:
    scores, turns = {7: 1_000, 9: 300, 4: 300, 2: 50}, {7: ("a", 1), 2: ("a", 2)}
    found = ranked(scores, turns, 10)
    assert found == [
        RankedPlace(1_015, 7, None),
        RankedPlace(350, 2, None),
        RankedPlace(300, 9, None),
        RankedPlace(300, None, ("a", 0)),  # before the one that found it, and behind older ones
        RankedPlace(300, 4, None),
        RankedPlace(15, None, ("a", 3)),
    ]
    assert ranked(scores, turns, 2) == found[:2]
    assert [spot.turn for spot in ranked({1: 10}, {1: ("b", 0)}, 9)] == [None, ("b", 1)]


@given(st.lists(st.integers(1, 50)), st.integers(0, 200))
def test_cutting_keeps_the_budget_and_the_order(sizes: list[int], budget: int) -> None:
    kept = cut(enumerate(sizes), lambda one: one[1], budget)
    assert sum(size for _, size in kept) <= budget
    assert kept == sorted(kept)
    left = budget - sum(size for _, size in kept)
    passed = [size for n, size in enumerate(sizes) if (n, size) not in kept]
    assert all(size > left for size in passed[:PASSED_MAX])


def test_the_rarest_terms_find_and_one_always_does() -> None:
    assert essential({"a": 50, "b": 10, "c": 45}, 60) == ["b", "c"]
    assert essential({"a": 500}, 60) == ["a"]
    assert essential({}, 60) == []


def test_words_weigh_more_than_vectors_whatever_their_scales() -> None:
    assert fused({1: 50, 2: 25}, {2: 1_000, 3: 1_000, 4: 0}) == {
        1: 700_000,
        2: 650_000,
        3: 300_000,
        4: 0,
    }
    assert fused({}, {}) == {}
