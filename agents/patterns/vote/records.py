"""Records of voters: how often each was right, by people's verdicts and by decisions.

A wrong decision does not say which answer was right, and to judge by right ones alone would flatter
everybody. So each voter is judged by the probability that its option was right: among the others by
what all voters have said, as reliable as they are known to be (A. Dawid, A. Skene, "Maximum
likelihood estimation of observer error-rates using the EM algorithm", 1979).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from celery_agents.contracts.patterns import Vote
from celery_agents.contracts.verdicts import VoterRecord, VoterRecords
from celery_agents.contracts.vote import Decision, Reliability

#: Before the tenant, in the key of the memo.
PREFIX = "voters:"
#: Decisions that count as verdicts, where there are few of those: what most say is mostly right.
_DECISIONS = 10
#: No voter is taken to be surer than that, nor less sure than that.
_SUREST = 0.99
#: A voter's agent with how right it was, of one answer.
Credits = dict[str, list[float]]


def measured(request: Vote) -> bool:
    """Return whether a vote goes by measured records: by reliability, and it is told none."""
    return isinstance(request.weights, Reliability) and not request.weights.records


def weighed(request: Vote, known: VoterRecords) -> Vote:
    """The vote with the records of its voters."""
    agents = {v.agent for v in request.voters} & known.voters.keys()
    records = {agent: _counts(known.voters[agent]) for agent in sorted(agents)}
    return request.model_copy(update={"weights": Reliability(records=records)})


def _counts(record: VoterRecord) -> tuple[int, int]:
    """Right answers of judged ones, with a few decisions in place of missing verdicts."""
    few = min(record.decided, max(_DECISIONS - round(record.judged), 0))
    share = record.agreed / record.decided if record.decided else 0.0
    judged = round(record.judged) + few
    return min(round(record.right + share * few), judged), judged


def decided(known: VoterRecords, request: Vote, decision: Decision) -> VoterRecords:
    """The records after a decision."""
    told = {**known.voters}
    for agent, option in _said(request, decision):
        before = told.get(agent, VoterRecord())
        agreed = before.agreed + (option == decision.option)
        told[agent] = before.model_copy(update={"agreed": agreed, "decided": before.decided + 1})
    return VoterRecords(voters=told)


def credits_of(
    known: VoterRecords, request: Vote, decision: Decision, *, right: bool, answer: str | None
) -> Credits:
    """How right each voter was, once somebody says whether the decision was, or what was."""
    said = _said(request, decision)
    truth = _truth(known, request, decision, right=right, answer=answer)
    given: Credits = {}
    for agent, option in said:
        share = truth.get(option, 0.0)
        if not truth and option != decision.option:
            continue  # nobody knows: its option is one of those that may be right
        sums = given.setdefault(agent, [0.0, 0.0])
        sums[0] += share
        sums[1] += 1.0
    return given


def credited(known: VoterRecords, given: Mapping[str, list[float]], times: int) -> VoterRecords:
    """The records with a verdict's credits, or (-1) without them."""
    told = {**known.voters}
    for agent, (right, judged) in given.items():
        before = told.get(agent, VoterRecord())
        sums = max(before.right + times * right, 0.0), max(before.judged + times * judged, 0.0)
        told[agent] = before.model_copy(update={"right": sums[0], "judged": sums[1]})
    return VoterRecords(voters=told)


def _said(request: Vote, decision: Decision) -> list[tuple[str, str]]:
    """Agents with the options that they put first."""
    agents = {v.key: v.agent for v in request.voters}
    first = [(b.voter, b.option or (b.ranking or ("",))[0]) for b in decision.ballots]
    return [(agents[key], option) for key, option in first if option and key in agents]


def _truth(
    known: VoterRecords, request: Vote, decision: Decision, *, right: bool, answer: str | None
) -> dict[str, float]:
    """The probability of each option to be the right one; none where nothing can be said."""
    if right and decision.option is not None:
        return {decision.option: 1.0}
    if answer is not None:
        return {answer: 1.0}
    others = [option for option in request.choices or () if option != decision.option]
    said = _said(request, decision)
    weights = {o: prod(_likely(known, a, s == o, len(others)) for a, s in said) for o in others}
    whole = sum(weights.values())  # 0: so many voters that nothing is left of it
    return {option: weight / whole for option, weight in weights.items()} if whole else {}


def _likely(known: VoterRecords, agent: str, hit: bool, wrong: int) -> float:
    right, judged = _counts(known.voters.get(agent, VoterRecord()))
    sure = min((right + 2) / (judged + 3), _SUREST)
    return sure if hit else (1 - sure) / wrong
