"""Mapping, step by step: all inputs or a wave after the other, then the results in numbers.

Members are counted by the journal: of ten thousand outcomes not one is read here.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from agents.patterns.members import ask_member, panel_member
from agents.plan import Expand, JoinPolicy, Member, PageOfMembers, Tally
from celery_agents import names
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.mapping import Map, MapFailure, MapResult
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State, Usage
from celery_agents.errors import (
    AllCandidatesFailedError,
    InvalidPayloadError,
    StepCancelledError,
)


def resumed(request: Map, earlier: Map) -> Map:
    """An earlier map to be resumed: as it was asked, but for what the new request says.

    Raises:
        InvalidPayloadError: that does not go with the rest of it.
    """
    said = request.model_fields_set - {"input", "resumes"}
    told = {name: getattr(request, name) for name in said}
    if said & {"wave", "max_concurrent"}:
        told = {"wave": None, "max_concurrent": None, **told}
    if request.agent or request.agents or request.each is not None:
        told = {"agent": "", "agents": (), "assign": "round_robin", "each": None, **told}
    made = earlier.model_copy(update=told)
    if (wrong := made.wrong) is not None:
        raise InvalidPayloadError(f"Map: {wrong}.")
    return made


def advance(
    request: Map,
    tally: Tally,
    *,
    remaining_s: float | None = None,
    answered: Mapping[int, Outcome] = MappingProxyType({}),
) -> Expand | Outcome:
    """The next wave, or the end.

    ``answered``: what an earlier run that this one resumes has of inputs, by their places; they are
    not asked again, and have cost this run nothing.

    It fails when nothing succeeded, and with ``on_failure`` "stop" when not everything did.

    Raises:
        InvalidPayloadError: there is no list of inputs.
    """
    if request.input is None:
        raise InvalidPayloadError("A map needs a list of inputs.")
    stops = request.on_failure == "stop"
    broken = stops and tally.succeeded < tally.total
    late = remaining_s is not None and remaining_s <= 0
    if tally.total < len(request.input) and not broken and not late:
        members = _wave(request, request.input, tally.total, answered)
        return Expand(members=members, join=_join(request, remaining_s))
    return ended(request, tally)


@dataclass(frozen=True, slots=True)
class EarlierAnswers:
    """The answers that an earlier run has: how many before a page, and by places those of it."""

    passed: int = 0
    answered: Mapping[int, Outcome] = field(default_factory=dict)


def page_of(
    request: Map,
    start: int,
    inputs: Sequence[JsonValue],
    before: EarlierAnswers,
    *,
    remaining_s: float | None = None,
) -> Expand:
    """The members for a page of the inputs, which begins at a place."""
    turn = start - before.passed
    end = start + len(inputs)
    return Expand(
        members=_members(_Wanted(request), enumerate(inputs, start), before.answered, turn),
        join=_join(request, remaining_s),
        page=PageOfMembers(
            start=start,
            expected=request.count,
            turn=turn,
            more=end < request.count,
        ),
    )


def _join(request: Map, remaining_s: float | None) -> JoinPolicy:
    return JoinPolicy(
        kind="unbroken" if request.on_failure == "stop" else "all",
        timeout_s=remaining_s,
        max_concurrent=request.max_concurrent,
    )


def ended(request: Map, tally: Tally) -> Outcome:
    """The end of a map, by what came of its inputs."""
    stops = request.on_failure == "stop"
    result = _result(request.count, tally)
    enough = result.count if stops else min(result.count, 1)
    if result.succeeded < enough:
        return _failed(result, tally, stops=stops)
    return Outcome(state=State.SUCCEEDED, value=result.compact(), usage=tally.usage)


def _wave(
    request: Map, inputs: Sequence[JsonValue], start: int, answered: Mapping[int, Outcome]
) -> tuple[Member, ...]:
    """Members for the next inputs. Their keys are the inputs' places."""
    end = len(inputs) if request.wave is None else start + request.wave
    return _members(_Wanted(request), enumerate(inputs[start:end], start), answered, 0)


def _members(
    wanted: _Wanted,
    inputs: Iterable[tuple[int, JsonValue]],
    answered: Mapping[int, Outcome],
    turn: int,
) -> tuple[Member, ...]:
    turns = itertools.count(turn)
    return tuple(
        wanted.ended(n, told, before)
        if (before := _free(answered, n)) is not None
        else wanted.asked(n, told, next(turns))
        for n, told in inputs
    )


class _Wanted:
    """Makes members, which share their options."""

    def __init__(self, request: Map) -> None:
        self._agents = request.agents or (request.agent,)
        #: So many begin at once. Who is asked about another input is decided at its turn.
        self._decided = request.max_concurrent if request.assign == "least_busy" else None
        if request.each is not None:
            panel = panel_member("", request.each, None, deadline_s=request.member_timeout_s)
            self._made: list[Member] = [panel]
        else:
            self._made = [_ask(request, agent) for agent in self._agents]
            self._made.append(_ask(request, None))

    def asked(self, place: int, told: JsonValue, turn: int) -> Member:
        """A member for the input of a place, which is the ``turn``-th of those to be asked."""
        made = self._made[self._whose(place, turn)]
        return made.model_copy(update={"key": str(place), "input": told})

    def ended(self, place: int, told: JsonValue, before: Outcome) -> Member:
        """A member that has ended in an earlier run, of whoever answered then."""
        made = self._made[-1]
        told_of = {"key": str(place), "input": told, "ended": before}
        if made.task == names.ASK and before.agent is not None:
            told_of |= {"agent": before.agent, "options": {**made.options, "agent": before.agent}}
        return made.model_copy(update=told_of)

    def _whose(self, place: int, turn: int) -> int:
        if len(self._made) == 1:
            return 0
        if self._decided is None:
            return place % len(self._agents)
        return turn % len(self._agents) if turn < self._decided else -1


def _ask(request: Map, agent: str | None) -> Member:
    member = ask_member(
        "",
        agent or "",
        None,
        retry=request.retry,
        deadline_s=request.member_timeout_s,
        timeout_s=None,
        instructions=request.instructions,
        choices=None if request.choices is None else list(request.choices),
        answer_schema=request.answer_schema,
        compensation=request.compensation,
    )
    if agent is not None:
        return member
    nobodys = {name: value for name, value in member.options.items() if name != "agent"}
    return member.model_copy(update={"agent": None, "options": nobodys})


def _free(answered: Mapping[int, Outcome], index: int) -> Outcome | None:
    found = answered.get(index)
    return None if found is None else found.model_copy(update={"usage": Usage()})


def _result(count: int, tally: Tally) -> MapResult:
    results = tally.values
    if results is not None:
        results = (*results, *[None] * (count - len(results)))
    return MapResult(
        count=count,
        succeeded=tally.succeeded,
        failed=tally.failed,
        skipped=count - tally.succeeded - tally.failed,
        results=results,
        failures=tuple(
            MapFailure(index=place, kind=error.kind, message=error.message)
            for place, error in tally.errors
        ),
    )


def _failed(result: MapResult, tally: Tally, *, stops: bool) -> Outcome:
    """Return a failed outcome, with the error of the first input that failed, or one for all."""
    told = {"map": result.model_copy(update={"results": None}).compact()}
    if stops and tally.errors:
        place, first = tally.errors[0]
        error = first.model_copy(
            update={
                "message": f"Input {place} of {result.count}: {first.message}",
                "details": {**first.details, **told},
            }
        )
    elif result.failed:
        text = f"None of {result.count} inputs succeeded, {result.failed} failed."
        error = ErrorInfo.of(AllCandidatesFailedError(text, told))
    else:
        text = f"{result.skipped} of {result.count} inputs were stopped, or never asked."
        error = ErrorInfo.of(StepCancelledError(text, told))
    return Outcome(state=State.FAILED, error=error, usage=tally.usage)
