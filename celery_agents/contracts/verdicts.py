"""Verdicts of people on decisions, and what they say of voters."""

from __future__ import annotations

from pydantic import Field

from celery_agents.contracts.base import Contract


class VoterRecord(Contract):
    """How an agent has voted."""

    #: Of so many ballots that people's verdicts judge, so many were right; of one that may be
    #: right, its probability.
    right: float = 0.0
    judged: float = 0.0
    #: Of so many decisions it was of that opinion so many times.
    agreed: int = 0
    decided: int = 0


class VoterRecords(Contract):
    """The records of a tenant's voters, by their agents."""

    voters: dict[str, VoterRecord] = Field(default_factory=dict)
