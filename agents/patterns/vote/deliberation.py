"""Rounds in which voters see the others' ballots and may change theirs."""

from __future__ import annotations

from collections.abc import Sequence

from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.vote import Ballot, VotePolicy


def another_round(
    policy: VotePolicy, rounds: int, before: Sequence[Ballot] | None, after: Sequence[Ballot]
) -> bool:
    """Return whether the voters are asked once more, after ``rounds`` rounds of deliberation.

    ``before`` are the ballots of the round before ``after``, None when there was none. It ends
    with the policy's last round, when no voter changed its vote, or when all cast ballots agree.
    """
    if rounds >= policy.deliberation:
        return False
    voices = {ballot.choices for ballot in after if ballot.abstained is None}
    return len(voices) > 1 and (before is None or _votes(before) != _votes(after))


def others(ballots: Sequence[Ballot], voter: str) -> list[dict[str, JsonValue]]:
    """Return the others' votes, confidences and reasons, without their names, to show a voter."""
    return [
        ballot.model_dump(
            mode="json",
            include={"option", "ranking", "approvals", "confidence", "reason"},
            exclude_none=True,
        )
        for ballot in ballots
        if ballot.voter != voter and ballot.abstained is None
    ]


def _votes(ballots: Sequence[Ballot]) -> dict[str, tuple[str, ...]]:
    return {ballot.voter: ballot.choices for ballot in ballots}
