"""A vote, step by step: waves of voters, deliberation, a decision, or whoever it escalates to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from agents.patterns.members import let_go
from agents.patterns.vote import (
    Deadlock,
    Decided,
    Undecided,
    electorate,
    missing,
    next_wave,
    panel,
    verdict,
)
from agents.patterns.vote.escalation import ASKED, escalation, settled
from agents.plan import Expand, MemberState
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State, Usage
from celery_agents.contracts.patterns import Vote
from celery_agents.contracts.vote import Ballot, Decision, NoEscalation, Seeded, Voter
from celery_agents.errors import NoDecisionError


def advance(
    request: Vote, members: Sequence[MemberState], *, remaining_s: float | None = None
) -> Expand | Outcome:
    """The next wave or round, the decision, or the turn of whom it escalates to.

    A vote without a decision is a failed outcome of kind ``no_decision`` with the tally.
    ``remaining_s`` is what is left of the vote's time.
    """
    request = seeded(request)
    usage = sum((m.outcome.usage for m in members if m.outcome is not None), Usage())
    asked = panel.asked(request, members)
    heard = panel.ballots(request, members)
    word = next((m for m in members if m.key in ASKED), None)
    late = remaining_s is not None and remaining_s <= 0
    if word is None and not late:
        more = _more_voices(request, members, asked, heard, remaining_s)
        if more is not None:
            return more
    found = close(request, asked, heard)
    rounds = panel.rounds(request, members)
    waves = panel.waves(request, members)
    known = found.decision.model_copy(update={"rounds": rounds, "waves": waves})
    if isinstance(found, Decided):
        return _decided(known, usage)
    if word is not None:
        return _by_whom_was_asked(request, known, word, usage)
    if isinstance(request.escalate, NoEscalation):
        return _failed(known, usage)
    if late:
        return _failed(known, usage, f"no time was left for the {request.escalate.kind}")
    return escalation(request, known, remaining_s)


def _more_voices(
    request: Vote,
    members: Sequence[MemberState],
    asked: Sequence[Voter],
    heard: Sequence[Ballot],
    remaining_s: float | None,
) -> Expand | None:
    """The next wave, or the next round; None when there is none."""
    in_time = panel.waves_in(remaining_s, request, members)
    if wave := next_wave(request, heard, asked, in_time=in_time):
        return panel.wave(request, wave, remaining_s)
    return panel.next_round(request, members, heard, remaining_s)


def _by_whom_was_asked(request: Vote, known: Decision, word: MemberState, usage: Usage) -> Outcome:
    if (decision := settled(request, known, word)) is not None:
        return _decided(decision, usage)
    how = "answer in time" if let_go(word) else "decide"
    return _failed(known, usage, f"the {ASKED[word.key]} did not {how}")


def decided(request: Vote, members: Sequence[MemberState]) -> bool:
    """Return whether the rest of the voters cannot matter (the join policy ``decided``)."""
    request = seeded(request)
    heard = panel.ballots(request, members)
    keys = {b.voter for b in heard}
    return _stands(request, heard, [v for v in electorate(request) if v.key not in keys])


def seeded(request: Vote) -> Vote:
    """The vote with a seed for its ties: without one of its own, drawn from the question.

    Else the same option would win the ties of all questions.
    """
    if not isinstance(request.tie, Seeded) or request.tie.seed:
        return request
    digest = hashlib.sha256(json.dumps(request.input, sort_keys=True).encode()).hexdigest()
    return request.model_copy(update={"tie": Seeded(seed=digest[:16])})


def close(request: Vote, asked: Sequence[Voter], heard: list[Ballot]) -> Decided | Deadlock:
    """The verdict, when nobody else will be asked or waited for."""
    keys = {b.voter for b in heard}
    silent = [v for v in asked if v.key not in keys]
    known = {v.key for v in asked}
    never = [v for v in electorate(request) if v.key not in known]
    if silent and not _stands(request, heard, [*silent, *never]):
        # Nobody let them go: their time ran out.
        found = verdict(request, [*heard, *(missing(v) for v in silent)], ())
    else:
        let_go = [Ballot(voter=v.key, abstained="skipped") for v in silent]
        found = verdict(request, [*heard, *let_go], never)
        if isinstance(found, Undecided):
            found = verdict(request, [*heard, *let_go], ())
    assert not isinstance(found, Undecided)  # nobody is outstanding
    return found


def _stands(request: Vote, heard: list[Ballot], rest: list[Voter]) -> bool:
    return not isinstance(verdict(request, heard, rest), Undecided)


def _decided(decision: Decision, usage: Usage) -> Outcome:
    told = decision.model_copy(update={"usage": usage})
    return Outcome(state=State.SUCCEEDED, value=told.compact(), usage=usage)


def _failed(known: Decision, usage: Usage, why: str | None = None) -> Outcome:
    reason = f"{known.deadlock}; {why}" if why else known.deadlock
    error = NoDecisionError(
        f"The vote ended without a decision ({reason}).", {"decision": known.compact()}
    )
    return Outcome(state=State.FAILED, error=ErrorInfo.of(error), usage=usage)
