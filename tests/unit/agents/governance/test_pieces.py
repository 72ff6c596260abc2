from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.governance.pieces import TOKENS, pieces

#: Texts of all scripts, halves of surrogate pairs among them.
texts = st.text(st.characters(exclude_categories=[]) | st.sampled_from("aA0. \nя中ह"), max_size=80)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        (" ", {}),
        ("two words", {"word": 2}),
        ("internationally", {"word": 1, "long": 2}),
        ("camelCase", {"word": 1, "long": 1, "case": 1}),
        ("f(12)\n    x", {"word": 2, "sign": 2, "digit": 2, "line": 1, "gap": 2}),
        ("é", {"latin": 1}),
        ("наука", {"cyrillic": 5}),
        ("λόγος", {"greek": 5}),
        ("שלום", {"hebrew": 4}),
        ("سلام", {"arabic": 4}),
        ("नमस्ते", {"indic": 6}),
        ("漢字かな", {"han": 2, "kana": 2}),
        ("한국", {"hangul": 2}),
        ("“…”", {"signs3": 3}),
        ("🎉", {"emoji": 1}),
        ("\ud83c", {"hangul": 1}),  # half of a pair takes three bytes, as those do
    ],
)
def test_pieces(text: str, found: dict[str, int]) -> None:
    assert pieces(text) == found


@given(texts, texts)
def test_more_text_has_no_fewer_pieces_of_any_kind(before: str, after: str) -> None:
    whole = pieces(before + after)
    for part in (pieces(before), pieces(after)):
        assert all(whole.get(kind, 0) >= number for kind, number in part.items())


@given(texts)
def test_every_kind_has_its_tokens(text: str) -> None:
    assert pieces(text).keys() <= TOKENS.keys()


@pytest.mark.parametrize("unit", ["a", "aA", "a ", "  ", "\n ", ".", "0", "я", "🎉é", "\x00"])
def test_hostile_texts_take_time_that_grows_with_them_alone(unit: str) -> None:
    """Some hundredths of a second of CPU for a megabyte; at its square it would be hours."""
    began = time.thread_time()
    found = pieces(unit * (1_000_000 // len(unit)))
    assert time.thread_time() - began < 5
    assert sum(found.values()) > 100_000
