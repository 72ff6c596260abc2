"""Which votes are decided on the loop itself."""

from __future__ import annotations

from typing import Any

import pytest

from celery_agents.contracts.patterns import Vote
from tasks.vote import BRIEF, vote

VOTERS = {"voters": [{"agent": "a", "samples": BRIEF}]}


def asked(**more: Any) -> Vote:
    return Vote.from_message(["?"], {**VOTERS, **more})


def test_one_of_few_ballots_is_brief() -> None:
    assert vote.is_brief(asked())


@pytest.mark.parametrize(
    "more",
    [
        {"voters": [{"agent": "a", "samples": BRIEF + 1}]},
        {"rule": "schulze", "choices": ["x", "y"]},  # each pair of options is compared
        {"weights": "reliability"},  # the records of its voters are read
    ],
)
def test_any_other_is_not(more: dict[str, Any]) -> None:
    assert not vote.is_brief(asked(**more))
