"""Answers in a process's memory."""

from __future__ import annotations

import pytest

from agents.caching.local import ANSWER_MAX, LocalAnswers


@pytest.fixture
def answers() -> LocalAnswers:
    pytest.importorskip("theine")
    return LocalAnswers(100, clock=iter(range(100)).__next__)


def test_an_answer_is_kept_and_confirmed(answers: LocalAnswers) -> None:
    assert answers.get("k") is None
    answers.put("k", "said", 5, 60)
    known = answers.get("k")
    assert known is not None
    assert (known.text, known.until, known.confirmed_at) == ("said", 5, 0)
    answers.confirm("k", 5)
    assert known.confirmed_at == 1


@pytest.mark.parametrize("until", [0, 6])
def test_one_that_redis_does_not_have_is_gone(answers: LocalAnswers, until: int) -> None:
    answers.put("k", "said", 5, 60)
    answers.confirm("k", until)
    assert answers.get("k") is None
    answers.confirm("k", until)


def test_a_large_or_an_old_one_is_not_kept(answers: LocalAnswers) -> None:
    answers.put("large", "x" * (ANSWER_MAX + 1), 5, 60)
    answers.put("old", "said", 5, 0)
    assert (answers.get("large"), answers.get("old")) == (None, None)
