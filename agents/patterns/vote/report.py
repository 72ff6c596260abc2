"""The standing of a vote by its ballots, and the decision that tells it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from agents.patterns.vote.consensus import consensus
from agents.patterns.vote.poll import Poll, Result, open_poll
from agents.patterns.vote.rules import tally
from celery_agents.contracts.outcome import Usage
from celery_agents.contracts.vote import Ballot, Deadlocked, DecidedBy, Decision, VotePolicy, Voter


@dataclass(frozen=True, slots=True)
class Interim:
    """The result if nobody else voted, and what keeps it from being an answer."""

    poll: Poll
    result: Result
    consensus: Fraction
    quorum: int
    deadlock: Deadlocked | None

    @property
    def winner(self) -> str | None:
        """The option that wins by the ballots so far."""
        return self.result.winner


def electorate(policy: VotePolicy) -> tuple[Voter, ...]:
    """Everybody who may be asked: all voters, or the first ``waves.max`` of them."""
    return policy.voters[: policy.waves.max] if policy.waves else policy.voters


def standing(policy: VotePolicy, ballots: Sequence[Ballot]) -> Interim:
    """Count, then hold the winner against quorum and least consensus."""
    poll = open_poll(policy, ballots)
    result = tally(policy, poll)
    quorum = policy.quorum.needed(len(electorate(policy)))
    agreement = consensus(policy, poll, result.winner)
    deadlock = result.deadlock
    if deadlock != "no_ballots" and poll.heads < quorum:
        deadlock = "quorum"
    elif deadlock is None and agreement < policy.min_consensus:
        deadlock = "consensus"
    return Interim(poll, result, agreement, quorum, deadlock)


def decision(
    policy: VotePolicy, ballots: Sequence[Ballot], now: Interim, *, stopped_by: str
) -> Decision:
    """The decision, or what is known when there is none, with all that it rests on."""
    stands = now.deadlock is None
    named = None if policy.rule.ballot == "approvals" else 1
    firsts = Counter(dict.fromkeys(now.poll.options, 0))
    for ballot in ballots:
        firsts.update(ballot.choices[:named])
    used = [b for b in ballots if b.abstained != "skipped" or b.usage.calls]
    usage = sum((ballot.usage for ballot in ballots), Usage())
    saved = max(len(electorate(policy)) - len(used), 0)
    by: DecidedBy = "tie_break" if now.result.tie_broken else "rule"
    return Decision(
        option=now.winner if stands else None,
        decided_by=by if stands else "none",
        rule=policy.rule.kind,
        stopped_by=stopped_by,
        deadlock=now.deadlock,
        leading=now.result.leading,
        consensus=float(now.consensus),
        tally=dict(firsts),
        scores=dict(now.result.scores),
        ballots=tuple(ballots),
        abstentions=dict(Counter(b.abstained for b in ballots if b.abstained is not None)),
        quorum=now.quorum,
        quorum_met=now.poll.heads >= now.quorum,
        samples_used=len(used),
        samples_saved=saved,
        usage=usage,
        saved_cost_usd=_saved(usage, used=len(used), saved=saved),
        conflict=policy.conflict,
    )


def settled_by(
    policy: VotePolicy,
    decision: Decision,
    option: str,
    *,
    by: DecidedBy,
    reason: str | None = None,
    usage: Usage | None = None,
) -> Decision:
    """The decision after an escalation: a supervisor or a person chose ``option``."""
    poll = open_poll(policy, decision.ballots)
    return decision.model_copy(
        update={
            "option": option,
            "decided_by": by,
            "reason": reason,
            "consensus": float(consensus(policy, poll, option)),
            "usage": decision.usage + (usage or Usage()),
        }
    )


def _saved(usage: Usage, *, used: int, saved: int) -> float | None:
    if usage.cost_usd is None or (not used and saved):
        return None
    return usage.cost_usd / used * saved if used else 0.0
