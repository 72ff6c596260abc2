from __future__ import annotations

import pytest

from agents.patterns.vote import another_round, ballot, others
from celery_agents.contracts.vote import Ballot, VotePolicy

POLICY = VotePolicy.model_validate({"voters": ["x", "y", "z"], "deliberation": 2})


def said(options: str) -> list[Ballot]:
    return [ballot(POLICY, v, o) for v, o in zip(POLICY.voters, options, strict=True)]


@pytest.mark.parametrize(
    ("rounds", "before", "after", "again"),
    [
        (0, None, "aab", True),
        (0, None, "aaa", False),
        (1, "aab", "abb", True),
        (1, "aab", "aab", False),
        (2, "aab", "abb", False),
    ],
)
def test_rounds_end(rounds: int, before: str | None, after: str, again: bool) -> None:
    old = None if before is None else said(before)
    assert another_round(POLICY, rounds, old, said(after)) == again


def test_the_order_of_arrival_is_no_change() -> None:
    assert not another_round(POLICY, 1, said("aab"), said("aab")[::-1])


def test_voters_see_reasons_without_names_and_not_their_own() -> None:
    full = ballot(POLICY, POLICY.voters[0], {"option": "a", "confidence": 0.5, "reason": "since"})
    silent = Ballot(voter="z", abstained="failed", reason="broke")
    shown = others([full, *said("abb")[1:2], silent], "y")
    assert shown == [{"option": "a", "confidence": 0.5, "reason": "since"}]
