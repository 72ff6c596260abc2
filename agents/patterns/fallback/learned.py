"""The lessons of a chain, as one small JSON value that all workers share."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from pydantic import ConfigDict, Field

from agents.patterns.fallback.adaptive import Arm, Memory, correct, learn, reward
from agents.patterns.fallback.hedge import Digest, Hedges, count_hedge, count_request, observe
from agents.plan import MemberState
from celery_agents.contracts.base import Contract
from celery_agents.contracts.fallback import Adaptive, Hedge
from celery_agents.contracts.outcome import State
from celery_agents.contracts.patterns import Fallback
from celery_agents.errors import BreakerOpenError, RateLimitedError


class _Kept(Contract):
    model_config = ConfigDict(extra="ignore")  # a later version may have written more


class CandidateRecord(_Kept):
    """One candidate's record: its two memories (see ``adaptive``), a digest of its latencies."""

    reward: float = 0.0
    trials: float = 0.0
    #: Of the rewards; None where an earlier version wrote, which kept none.
    squares: float | None = None
    at: int = 0
    #: The newest attempts: the sums of their rewards, of the squares, of the attempts.
    recent: tuple[float, float, float] = (0.0, 0.0, 0.0)
    latencies: dict[int, float] = Field(default_factory=dict)
    #: Of what people said that answers were worth: the sum, and how many.
    scores: float = 0.0
    scored: float = 0.0

    @property
    def expected(self) -> float:
        """The worth of an answer of which nobody says it (yet): as of those that were scored."""
        return (self.scores + 1) / (self.scored + 1)

    @property
    def arm(self) -> Arm:
        """The record as :mod:`adaptive` takes it.

        Without squares they count as those of a coin's sides, which vary most and tell least.
        """
        squares = self.reward if self.squares is None else self.squares
        return Arm(Memory(self.reward, squares, self.trials), Memory(*self.recent), self.at)

    def with_arm(self, arm: Arm) -> Self:
        """The record with what :mod:`adaptive` made of it."""
        known, recent = arm.known, arm.recent
        return self.model_copy(
            update={
                "reward": known.reward,
                "squares": known.squares,
                "trials": known.trials,
                "at": arm.at,
                "recent": (recent.reward, recent.squares, recent.trials),
            }
        )


class Learned(_Kept):
    """A chain's memory: how many requests it had, its hedges, its candidates."""

    requests: int = 0
    hedge_requests: float = 0.0
    hedges: float = 0.0
    candidates: dict[str, CandidateRecord] = Field(default_factory=dict)

    @classmethod
    def read(cls, data: dict[str, Any]) -> Self:
        """Read a memory from its JSON object."""
        return cls.model_validate(data)

    @property
    def arms(self) -> dict[str, Arm]:
        """The candidates' records, as :mod:`adaptive` takes them."""
        return {key: candidate.arm for key, candidate in self.candidates.items()}

    def digest(self, key: str) -> Digest:
        """Return the latencies of a candidate; none of an unknown one."""
        known = self.candidates.get(key)
        return Digest(known.latencies if known else {})

    def counts(self) -> Hedges:
        """Return the numbers of requests and hedges."""
        return Hedges(self.hedge_requests, self.hedges)


def with_experience(before: Learned, tried: Mapping[str, tuple[float, float]]) -> Learned:
    """The memory as if candidates had been tried so often here, too: where the like was asked.

    Each with a number of attempts, which need not be whole, and the sum of their rewards.
    """
    candidates = dict(before.candidates)
    for key, (trials, earned) in tried.items():
        one = candidates.get(key, CandidateRecord())
        known = (arm := one.arm).known
        more = Memory(known.reward + earned, known.squares + earned, known.trials + trials)
        candidates[key] = one.with_arm(replace(arm, known=more))
    return before.model_copy(update={"candidates": candidates})


def memo_key(request: Fallback) -> str:
    """Return the key of a chain's memory: the same candidates and sort of work share one."""
    names = "\0".join(sorted(c.key for c in request.candidates))
    digest = hashlib.sha256(names.encode()).hexdigest()[:16]
    return f"fallback:{request.work[:100]}:{digest}"


def with_request(before: Learned, request: Fallback) -> Learned:
    """The memory after one more request began."""
    counts = count_request(before.counts(), request.hedge)
    return before.model_copy(
        update={
            "requests": before.requests + 1,
            "hedge_requests": counts.requests,
            "hedges": counts.hedges,
        }
    )


def with_hedge(before: Learned) -> Learned:
    """The memory after one more hedge was started."""
    return before.model_copy(update={"hedges": count_hedge(before.counts()).hedges})


def with_attempts(
    before: Learned,
    members: Sequence[MemberState],
    *,
    at: int,
    adaptive: Adaptive,
    hedge: Hedge | None = None,
) -> Learned:
    """The memory after request number ``at`` ended with these members.

    One that was cancelled because another was faster says nothing of success, but its time so
    far counts as a latency: leaving it out would make slow candidates look fast.
    """
    candidates = dict(before.candidates)
    fading = (hedge or Hedge()).half_life
    for member in members:
        known = candidates.get(member.key, CandidateRecord())
        failed = _failed_as(member)
        if failed == BreakerOpenError.kind:  # it was not called: that says nothing new about it
            continue
        # To be refused takes no time, and tells none; but nobody was served.
        if member.elapsed_s is not None and failed != RateLimitedError.kind:
            digest = observe(Digest(known.latencies), member.elapsed_s, half_life=fading)
            known = known.model_copy(update={"latencies": dict(digest.weights)})
        candidates[member.key] = known
        if member.state in {State.SUCCEEDED, State.FAILED, State.DEAD}:
            arms = {key: candidate.arm for key, candidate in candidates.items()}
            earned = _earned(adaptive, member, known.expected)
            arms = learn(arms, member.key, earned, now=at, half_life=adaptive.half_life)
            candidates = {key: candidates[key].with_arm(arm) for key, arm in arms.items()}
    return before.model_copy(update={"candidates": candidates})


def with_score(
    before: Learned, member: MemberState, adaptive: Adaptive, *, was: float | None, score: float
) -> Learned:
    """The memory once somebody says what an answer was worth; ``was`` is what they said before."""
    candidates = dict(before.candidates)
    if (known := candidates.get(member.key)) is None:
        return before
    counted = known.expected if was is None else was
    earned = (_earned(adaptive, member, worth) for worth in (counted, score))
    arm = correct(known.arm, *earned)
    if was is None:
        sums = {"scores": known.scores * _KEPT + score, "scored": known.scored * _KEPT + 1}
    else:
        sums = {"scores": min(max(known.scores + score - was, 0.0), known.scored)}
    candidates[member.key] = known.with_arm(arm).model_copy(update=sums)
    return before.model_copy(update={"candidates": candidates})


#: Of earlier scores so much is kept with each that comes: some fifty count.
_KEPT = 0.98


def _failed_as(member: MemberState) -> str | None:
    error = member.outcome.error if member.outcome is not None else None
    return None if error is None else error.kind


def _earned(policy: Adaptive, member: MemberState, score: float = 1.0) -> float:
    return reward(
        policy,
        succeeded=member.state is State.SUCCEEDED,
        latency_s=member.elapsed_s or 0.0,
        cost_usd=member.outcome.usage.cost_usd if member.outcome else None,
        score=score,
    )
