"""Sampled answers: as they were published, or drawn."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean

from bench.samples import SAMPLES, Question, drawn, published, questions


def test_published_answers_are_the_letters_behind_the_last_the_answer_is(tmp_path: Path) -> None:
    texts = ["A: 'y', 'a'. The answer is Yajo.", "yajo", "The answer is x. So the answer is ya-jo"]
    line = {"question": "Q", "answer": "yajo", "generated_answer": [*texts, "The answer is 7."]}
    path = tmp_path / "answers.jsonl"
    path.write_text(f"{json.dumps(line)}\n")
    assert published(path) == [Question("yajo", ["yajo", "yajo", "yajo", "none"])]


def test_drawn_ones_are_as_right_and_as_split_as_the_published_ones() -> None:
    found = drawn(500)
    assert found == drawn(500)
    assert found != drawn(500, seed=1)
    shares = [question.answers.count(question.right) / SAMPLES for question in found]
    assert 0.77 <= mean(shares) <= 0.84
    assert 0.05 <= mean(share < 0.1 for share in shares) <= 0.2
    assert 0.65 <= mean(share >= 0.9 for share in shares) <= 0.85


def test_other_orders_have_the_same_answers_to_the_same_questions() -> None:
    given, other = questions(20), questions(20, 1)
    assert other == questions(20, 1) != questions(20, 2)
    assert [one.right for one in other] == [one.right for one in given]
    assert [sorted(one.answers) for one in other] == [sorted(one.answers) for one in given]
    assert [one.answers for one in other] != [one.answers for one in given]
