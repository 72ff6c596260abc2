"""Lessons of sizes: they go where the counts go, and their margin says how much is known."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.governance.pieces import TOKENS, Pieces, pieces
from agents.governance.sizes import OUTPUT_TOKENS, Observed, Sizes
from tests.support.drawn import costly

counts = st.dictionaries(st.sampled_from(sorted(TOKENS)), st.integers(1, 10**6), max_size=6)
told = st.builds(Observed, counts, st.integers(0, 10**7), st.integers(0, 10**5))
lessons = st.lists(told, max_size=20)


def taught(seen: list[Observed]) -> Sizes:
    sizes = Sizes()
    for one in seen:
        sizes = sizes.after(one)
    return sizes


@settings(max_examples=costly(100, part=3))
@given(lessons, counts, counts)
def test_more_text_is_never_estimated_smaller(
    seen: list[Observed], some: Pieces, more: Pieces
) -> None:
    sizes = taught(seen)
    whole = {kind: some.get(kind, 0) + more.get(kind, 0) for kind in {*some, *more}}
    assert sizes.likely(whole) >= sizes.likely(some)
    assert sizes.most(whole) >= sizes.most(some)


@settings(max_examples=costly(100, part=3))
@given(lessons, st.text(min_size=1, max_size=50))
def test_no_text_has_no_tokens(seen: list[Observed], text: str) -> None:
    sizes = taught(seen)
    assert 1 <= sizes.likely(pieces(text)) <= sizes.most(pieces(text))


@settings(max_examples=costly(100, part=3))
@given(lessons)
def test_whatever_a_provider_counts_lessons_stay_sane_and_come_back_from_json(
    seen: list[Observed],
) -> None:
    sizes = taught(seen)
    assert Sizes.read(sizes.compact()) == sizes
    assert sizes.calls == len(seen)
    assert 0 < sizes.noise < 10
    for factor, variance in sizes.kinds.values():
        assert 0.05 <= factor <= 20
        assert 0 < variance <= 0.36
    assert len(sizes.outputs) <= 64
    assert len(sizes.model_dump_json()) < 3_000


def request(rng: random.Random) -> Pieces:
    """Words, digits and signs in a mixture of its own."""
    size = 10 ** rng.uniform(1, 3.5)
    shares = {"word": rng.random(), "long": rng.random(), "digit": rng.random() / 2}
    return {kind: max(1, int(size * share)) for kind, share in shares.items()}


#: What a vocabulary makes of each kind, of which nobody tells.
SECRET = {"word": 1.3, "long": 0.9, "digit": 0.4, "cyrillic": 1.6}


def counted(found: Pieces, rng: random.Random) -> int:
    return round(sum(SECRET[k] * n for k, n in found.items()) * math.exp(rng.gauss(0, 0.05))) + 5


def test_after_fifty_requests_estimates_are_close_and_seldom_exceeded() -> None:
    rng = random.Random(1)
    sizes = Sizes()
    ratios = []
    for number in range(1_050):
        found = request(rng)
        real = counted(found, rng)
        if number >= 50:
            ratios.append(sizes.most(found) / real)
        sizes = sizes.after(Observed(found, real, 100))
    assert sum(ratio < 1 for ratio in ratios) <= 10  # 1 in 100
    assert sorted(ratios)[500] <= 1.3


def test_what_was_never_seen_has_a_wide_margin() -> None:
    rng = random.Random(2)
    sizes = Sizes()
    for _ in range(50):
        found = request(rng)
        sizes = sizes.after(Observed(found, counted(found, rng), 1))

    def margin(found: Pieces) -> float:
        return sizes.most(found) / sizes.likely(found)

    known, new = {"word": 1_000, "long": 300}, {"cyrillic": 1_000}
    assert margin(known) < 1.4
    assert margin(new) > 2
    for _ in range(10):
        sizes = sizes.after(Observed(new, 1_600, 1))
    assert margin(new) < 1.5
    assert sizes.likely(new) == pytest.approx(1_600, rel=0.1)


def test_a_provider_that_changes_its_vocabulary_is_followed() -> None:
    sizes = Sizes()
    found = {"word": 1_000}
    for real in [800] * 200 + [1_200] * 40:
        sizes = sizes.after(Observed(found, real, 1))
    assert sizes.likely(found) == pytest.approx(1_200, rel=0.1)


def test_an_answer_is_as_long_as_95_of_100_newest_ones() -> None:
    sizes = Sizes()
    assert sizes.output(None) == OUTPUT_TOKENS
    assert sizes.output(30) == 30
    for tokens in [9_999, *range(1, 65)]:  # the first one is older than the 64 newest
        sizes = sizes.after(Observed({"word": 1}, 1, tokens))
    assert sizes.output(None) == 61
    assert sizes.output(30) == 30


def test_who_has_written_to_a_cache_is_known_to() -> None:
    sizes = Sizes()
    assert not sizes.writes_cache
    sizes = sizes.after(Observed({"word": 1}, 10, 1, cache_write=5))
    assert sizes.after(Observed({"word": 1}, 10, 1)).writes_cache
