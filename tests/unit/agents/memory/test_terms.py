from __future__ import annotations

import pytest

from agents.memory.terms import check_language, keyed, terms_of
from celery_agents.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "language", "terms"),
    [
        ("Her shoes are of size 43.", "english", {"shoe": 1, "size": 1, "43": 1}),
        ("Running, ran and runs", "english", {"run": 2, "ran": 1}),
        ("Running, ran and runs", "", {"running": 1, "ran": 1, "and": 1, "runs": 1}),
        ("Die Häuser", "german", {"die": 1, "haus": 1}),
        ("who is it", "english", {"who": 1, "is": 1, "it": 1}),  # nothing else is asked
        ("東京都に", "english", {"東京": 1, "京都": 1, "都に": 1}),
        ("語", "english", {"語": 1}),
        ("a" * 60 + " b", "", {"a" * 40: 1, "b": 1}),
        ("", "english", {}),
        (" ".join(["x"] * 300), "english", {"x": 255}),
    ],
)
def test_terms(text: str, language: str, terms: dict[str, int]) -> None:
    assert terms_of(text, language) == terms


def test_a_language_without_stems_is_refused() -> None:
    check_language("finnish")
    with pytest.raises(ConfigurationError, match=r"none of .*english"):
        check_language("klingon")


def test_keyed_terms_tell_words_apart_and_keys() -> None:
    first, second = b"1" * 32, b"2" * 32
    assert keyed("shoe", first) == keyed("shoe", first)
    assert len({keyed("shoe", first), keyed("shoe", second), keyed("sock", first)}) == 3
    assert len(keyed("shoe", first)) == 24
