"""From answers to ballots. An answer that cannot be read is an abstention, never an error."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from agents.patterns.vote.options import match
from agents.patterns.vote.weights import weight
from agents.schema import ballot_schema
from agents.values import answer_in, json_in
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.outcome import Outcome, State, Usage
from celery_agents.contracts.vote import Abstention, Ballot, VotePolicy, Voter
from celery_agents.values import mended

_NUMBERING = re.compile(r"^\s*(?:\d+[.)]|[-*])\s+")
_SEPARATORS = {"ranking": re.compile(r"[>\n]"), "approvals": re.compile(r"[,;\n]")}
_KINDS_OF_SILENCE: dict[str, Abstention] = {"timeout": "missing", "bad_answer": "broken"}
_REASON_LIMIT = 2_000


def ballot(
    policy: VotePolicy, voter: Voter, answer: JsonValue, *, usage: Usage | None = None
) -> Ballot:
    """The ballot in an answer.

    An answer is ``{"option": …, "confidence": 0 to 1, "reason": …}`` (or ``ranking``, best first,
    or ``approvals``, as the rule asks), its JSON text, or the bare option or list. As text a
    ranking is "A > B > C" or one option a line, approvals are separated by commas. A null option
    or an empty list declines to vote.
    """
    parsed = _read(answer) if isinstance(answer, str) else answer
    fields: dict[str, Any] = parsed if isinstance(parsed, dict) else {policy.rule.ballot: parsed}
    confidence = _confidence(fields.get("confidence"))
    reason = fields.get("reason")
    voice = fields.get(policy.rule.ballot, ...)
    single = policy.rule.ballot == "option"
    chosen = _option(policy, voice) if single else _options(policy, voice)
    silence: Abstention | None = None
    if not chosen:
        silence = "broken" if chosen is None else "declined"
    said: dict[str, Any] = {"abstained": silence} if silence else {policy.rule.ballot: chosen}
    return Ballot(
        voter=voter.key,
        confidence=confidence,
        reason=mended(reason[:_REASON_LIMIT]) if isinstance(reason, str) else None,
        weight=weight(policy, voter, confidence),
        usage=usage or Usage(),
        **said,
    )


def ballot_of(policy: VotePolicy, voter: Voter, outcome: Outcome) -> Ballot:
    """The ballot in the outcome of the voter's step."""
    if outcome.ok:
        return ballot(policy, voter, outcome.value, usage=outcome.usage)
    why: Abstention = "failed"
    if outcome.state in {State.SKIPPED, State.CANCELLED}:
        why = "skipped"
    elif outcome.error is not None:
        why = _KINDS_OF_SILENCE.get(outcome.error.kind, "failed")
    reason = None if outcome.error is None else outcome.error.message
    return Ballot(voter=voter.key, abstained=why, reason=reason, usage=outcome.usage)


def missing(voter: Voter) -> Ballot:
    """The ballot of a voter who did not answer in time."""
    return Ballot(voter=voter.key, abstained="missing")


def answer_schema(policy: VotePolicy) -> dict[str, JsonValue]:
    """The JSON schema to ask a voter for, as structured output."""
    return ballot_schema(policy.choices, policy.rule.ballot)


def _read(text: str) -> JsonValue:
    """The object or list that a text is; else the text itself, of which 3.50 is no number."""
    if "{" in text or "[" in text:  # most ballots are a word, and trying them as JSON takes longer
        with suppress(ValueError):
            found = json_in(text)
            if isinstance(found, dict | list):
                return found
    return answer_in(text)


def _confidence(value: Any) -> float | None:
    """A confidence from 0 to 1; percent are understood, anything else is none stated."""
    text = value.strip().removesuffix("%") if isinstance(value, str) else value
    percent = isinstance(value, str) and value.strip().endswith("%")
    try:
        number = float(text) / (100 if percent else 1)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if 0 <= number <= 1 and not isinstance(value, bool) else None


def _option(policy: VotePolicy, voice: Any) -> str | None:
    """The option; "" when none is wanted, None when it cannot be read."""
    if voice is None:
        return ""
    return match(voice, policy.choices, policy.normalise)


def _options(policy: VotePolicy, voice: Any) -> tuple[str, ...] | None:
    """Different options in their order; () when none is wanted, None when they cannot be read."""
    if voice is None:
        return ()
    if isinstance(voice, str):
        parts = _SEPARATORS[policy.rule.ballot].split(voice)
        voice = [_NUMBERING.sub("", part) for part in parts if part.strip()]
    if not isinstance(voice, list):
        return None
    found = [match(one, policy.choices, policy.normalise) for one in voice]
    if None in found or len(set(found)) < len(found):
        return None
    return tuple(option for option in found if option is not None)
