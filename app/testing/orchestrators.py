"""Patterns and flows driven by a test: ends of members go in, what they want next comes out.

Nothing runs beside them: no broker, no agents, no time but that of the test. What decides is the
code that decides in production.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from agents.flows.history import Line
from agents.flows.instance import Instance
from agents.flows.pattern import advance as advance_flow
from agents.flows.pattern import begun, dropped, next_due
from agents.patterns.fallback import pattern as fallbacks
from agents.patterns.gather import pattern as gathers
from agents.patterns.vote import pattern as votes
from agents.plan import Expand, Member, MemberState
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.gather import Gather
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State, Usage
from celery_agents.contracts.patterns import Fallback, Vote
from celery_agents.errors import AgentFailedError, AgentsError, ConfigurationError

#: The end of a member as a test tells it: a value, or an error.
End = Any
_STEP_ID = "01900000-0000-7000-8000-000000000000"
#: The time at which flows begin: 2026-01-01.
_BEGIN_S = 1_767_225_600.0


class _Kind(NamedTuple):
    request: Any
    advance: Callable[..., Expand | Outcome]
    decided: Callable[..., bool] = lambda *_: False


_KINDS: Mapping[str, _Kind] = {
    "vote": _Kind(Vote, votes.advance, votes.decided),
    "fallback": _Kind(Fallback, lambda *a, **k: fallbacks.advance(*a, step_id=_STEP_ID, **k)),
    "gather": _Kind(Gather, gathers.advance),
}


def outcome_of(end: End) -> Outcome:
    """The outcome that a test means: a value, or an error or its class."""
    if isinstance(end, type) and issubclass(end, AgentsError):
        end = end()
    if isinstance(end, AgentsError):
        return Outcome(state=State.FAILED, error=ErrorInfo.of(end), usage=Usage(calls=1))
    return Outcome(state=State.SUCCEEDED, value=end, usage=Usage(calls=1))


class OrchestratorTester:
    """A vote, fallback or gather whose members a test answers.

    Args:
        pattern: ``vote``, ``fallback`` or ``gather``.
        input: the question.
        **options: those of the client's verb, ``voters`` say.

    Raises:
        ConfigurationError: there is no such pattern here.
        InvalidPayloadError: an option is wrong.
    """

    def __init__(self, pattern: str, input: JsonValue = None, **options: Any) -> None:  # noqa: A002 - as of a client
        if pattern not in _KINDS:
            known = ", ".join(_KINDS)
            raise ConfigurationError(f"{pattern!r} is none of {known}: use the fixture agents.")
        self._kind = _KINDS[pattern]
        self.request = self._kind.request.from_message((input,), options)
        #: How it ended; None: it waits.
        self.outcome: Outcome | None = None
        self._members: dict[str, Member] = {}
        self._states: dict[str, MemberState] = {}
        self._plan = Expand()
        self._round = 0
        self._go_on(None)

    @property
    def wanted(self) -> list[Member]:
        """The members that have not ended, in order: their ``key``, ``agent``, ``input``."""
        if self.outcome is not None:
            return []
        return [self._members[s.key] for s in self._states.values() if not s.state.final]

    def answer(self, **ends: End) -> OrchestratorTester:
        """Let members end, by their keys: with a value, or an error or its class.

        Raises:
            ConfigurationError: nobody of that key is wanted.
        """
        return self.answer_all(ends)

    def answer_all(self, ends: Mapping[str, End]) -> OrchestratorTester:
        """The same, for keys that are no names; those that are not wanted any more are let go."""
        known = [member.key for member in self.wanted]
        if unknown := [key for key in ends if key not in self._states]:
            raise ConfigurationError(f"Nobody waits for {unknown}; it wants {known}.")
        for key, end in ends.items():
            if self.outcome is None and not self._states[key].state.final:
                self._end(key, outcome_of(end))
                if self._fires:
                    self._go_on(None)
        return self

    def run(self, ends: Mapping[str, End] | Callable[[Member], End]) -> Outcome:
        """Answer all that it wants until it has ended: by keys, or by a function of the member.

        Raises:
            ConfigurationError: it wants somebody of whom nothing is said.
        """
        while self.outcome is None:
            member = self.wanted[0]
            if callable(ends):
                end = ends(member)
            elif member.key in ends:
                end = ends[member.key]
            else:
                raise ConfigurationError(f"It wants {member.key}; nothing is said of that.")
            self.answer_all({member.key: end})
        return self.outcome

    def time_out(self) -> OrchestratorTester:
        """Let its time be over."""
        self._go_on(0.0)
        return self

    def _end(self, key: str, outcome: Outcome) -> None:
        state = MemberState(
            key=key, state=outcome.state, outcome=outcome, elapsed_s=0.0, round=self._round
        )
        self._states[key] = state

    @property
    def _fires(self) -> bool:
        """True when the join of its members lets it go on."""
        states = list(self._states.values())
        kind = self._plan.join.kind
        succeeded = any(s.outcome is not None and s.outcome.ok for s in states)
        failed = any(s.outcome is not None and not s.outcome.ok for s in states)
        return (
            all(s.state.final for s in states)
            or kind == "any"
            or (kind == "first" and succeeded)
            or (kind == "unbroken" and failed)
            or (kind == "decided" and self._kind.decided(self.request, states))
        )

    def _go_on(self, left_s: float | None) -> None:
        if not self._plan.join.keep:
            for key, one in self._states.items():
                if not one.state.final:
                    self._states[key] = one.model_copy(update={"state": State.SKIPPED})
        states = list(self._states.values())
        try:
            found = self._kind.advance(self.request, states, remaining_s=left_s)
        except AgentsError as error:
            found = Outcome(state=State.FAILED, error=ErrorInfo.of(error))
        if isinstance(found, Outcome):
            self.outcome = found
            return
        self._round += 1
        self._plan = found
        for member in found.members:
            self._members[member.key] = member
            about: Any = {"key": member.key, "state": State.READY, "round": self._round}
            self._states[member.key] = MemberState(**about)


class FlowTester:
    """A flow whose questions a test answers, by its own clock.

    After each event the flow is also replayed from its history by new code: one that goes another
    way then (it asks a clock, a database, a random number of its own) fails the test.

    Args:
        flow: the function, marked or not.
        input: of the run.
    """

    def __init__(self, flow: Callable[[Any, Any], Any], input: JsonValue = None) -> None:  # noqa: A002 - as of a client
        self._code, self._input = flow, input
        self._instance = Instance(_STEP_ID)
        self._members: dict[str, Member] = {}
        self._signals = 0
        self.now_s = _BEGIN_S
        #: The lines of its history.
        self.history: list[Line] = []
        #: Entries of streams.
        self.emitted: list[tuple[str, str, Any]] = []
        #: How it ended; None: it waits.
        self.outcome: Outcome | None = None
        self._tell(Line("started", "", self.now_s, {"version": 1}))

    @property
    def wanted(self) -> list[Member]:
        """The questions that are open, in order: their ``key``, ``agent``, ``input``."""
        return [] if self.outcome is not None else list(self._members.values())

    def answer(self, key: str, end: End) -> FlowTester:
        """Let a question end, by its key or the name of its agent.

        Raises:
            ConfigurationError: none of these is open.
        """
        found = next((m.key for m in self.wanted if key in {m.key, m.agent}), None)
        if found is None:
            known = [(m.key, m.agent) for m in self.wanted]
            raise ConfigurationError(f"Nobody waits for {key!r}; it wants {known}.")
        del self._members[found]
        outcome = outcome_of(end)
        value = outcome.value if outcome.error is None else outcome.error.compact()
        return self._tell(Line("done" if outcome.ok else "failed", found, self.now_s, value))

    def signal(self, name: str, value: JsonValue = None) -> FlowTester:
        """Send it a signal."""
        self._signals += 1
        return self._tell(Line("signal", name, self.now_s, value, place=self._signals))

    def skip(self, seconds: float) -> FlowTester:
        """Let time pass, timer by timer."""
        until = self.now_s + seconds
        while (due := next_due(self._instance)) is not None and due <= until:
            self.now_s = max(due, self.now_s)
            self._tell()
            if self.outcome is not None:
                break
        self.now_s = until
        return self

    def cancel(self) -> FlowTester:
        """Cancel it."""
        return self._tell(Line("cancel", "", self.now_s))

    def _tell(self, *lines: Line) -> FlowTester:
        found = advance_flow(self._instance, self._code, self._input, lines, self.now_s)
        self.history += found.lines
        self._members |= {member.key: member for member in found.members}
        for key in found.cancels:
            self._members.pop(key, None)
        self.emitted += [(one.stream, one.kind, one.data) for one in found.emits]
        self.outcome = found.outcome
        if found.state is not None:
            self.outcome = Outcome(state=State.SUCCEEDED, value=found.state.state)
        self._replay()
        return self

    def _replay(self) -> None:
        again = begun(self._code, _STEP_ID, self._input, self.history)
        try:
            if again.difference is not None:
                told = f"Replayed, the flow goes another way: {again.difference}"
                raise AgentFailedError(told)
        finally:
            dropped(again)
