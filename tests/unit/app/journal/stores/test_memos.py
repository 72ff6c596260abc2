"""What people say of runs: the last one counts, and a message that comes again is none."""

from __future__ import annotations

from functools import partial
from typing import Any

from app.journal import Journal
from tests.unit.app.journal.support import claimed, step

Said = dict[str, Any]


def test_a_verdict_that_comes_again_behind_another_is_none(journal: Journal) -> None:
    claimed(journal, "r", step("r"))
    before: list[Said | None] = []

    def revise(right: bool, found: Said, was: Said | None) -> tuple[Said, Said]:
        before.append(was and {"right": was["right"]})
        return {"right": right, "times": found.get("times", 0) + 1}, {"right": right}

    for message, right in (("m1", False), ("m2", True), ("m1", False)):
        journal.memos.judge("voters:", "r", message, partial(revise, right))
    assert journal.memos.read("voters:") == {"right": True, "times": 2}
    assert before == [None, {"right": False}]


def test_a_score_that_comes_again_behind_another_is_none(journal: Journal) -> None:
    claimed(journal, "r", step("r"))
    before: list[float | None] = []

    def revise(found: Said, was: float | None) -> Said:
        before.append(was)
        return {"times": found.get("times", 0) + 1}

    for said in (("m1", 0.0), ("m2", 1.0), ("m1", 0.0)):
        journal.memos.score("solve", "r", said, revise)
    assert journal.memos.read("solve") == {"times": 2}
    assert before == [None, 0.0]
