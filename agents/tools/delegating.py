"""The calls of one answer that are turns of other agents: members of its step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agents.asking import asked, error_of, is_handoff
from agents.base import StepContext
from agents.plan import Member
from agents.tools.calls import ToolCall, ToolError, ToolResult, wrong_arguments
from agents.tools.colleagues import Colleagues
from agents.tools.offered import Offered
from celery_agents.contracts.ask import Ask
from celery_agents.contracts.outcome import Outcome
from celery_agents.errors import LimitReachedError


@dataclass(frozen=True, slots=True)
class Handoff:
    """The agent that goes on with the conversation, as the member of that key."""

    agent: str
    key: str
    outcome: Outcome | None  # once it has ended


class Delegating:
    """Asks other agents, and reads what they answered once they have."""

    def __init__(self, offered: Offered, step: StepContext) -> None:
        self._offered = offered
        self._step = step

    def takes(self, call: ToolCall) -> bool:
        """Return whether another agent is asked by this call, or goes on."""
        return bool(self._asks(call) or self._hands_over(call))

    async def ask(
        self,
        calls: Sequence[ToolCall],
        identities: Sequence[str],
        told: Sequence[ToolResult | None],
        found: dict[int, ToolResult],
    ) -> list[Member]:
        """Add the answers that are there to ``found``; return those who are to be asked first."""
        members = []
        for place, call in enumerate(calls):
            agent = self._asks(call)
            if agent is None or told[place] is not None:
                continue
            wrong = wrong_arguments(call, self._offered.tools[call.name].spec)
            if wrong is not None:
                found[place] = ToolResult(call=call, value=f"Wrong arguments: {wrong}", failed=True)
                continue
            key = identities[place]
            try:
                question = self._question(call)
            except ToolError as error:
                found[place] = ToolResult(call=call, value=str(error), failed=True)
                continue
            outcome = (await self._step.answered()).get(key)
            if outcome is None:
                members.append(asked(key, question))
            else:
                called = agent if question.spec is None else question.spec.called
                found[place] = _answer(called, call, outcome)
        return members

    async def hand_over(
        self,
        calls: Sequence[ToolCall],
        identities: Sequence[str],
        told: Sequence[ToolResult | None],
        found: dict[int, ToolResult],
    ) -> Handoff | None:
        """Tell what came of handing over; the agent that goes on, if one does.

        The first of several wins. Where no more is handed over, its model hears of that.
        """
        taken: Handoff | None = None
        for place, call in enumerate(calls):
            agent = self._hands_over(call)
            if agent is None or told[place] is not None:
                continue
            if taken is not None:
                late = f"Not done: {taken.agent} goes on with the conversation."
                found[place] = ToolResult(call=call, value=late, failed=True)
                continue
            key = identities[place]
            outcome = (await self._step.answered()).get(key)
            if outcome is not None and _refused(outcome):
                found[place] = _answer(agent, call, outcome)
            else:
                taken = Handoff(agent, key, outcome)
                found[place] = ToolResult(call=call, value=f"{agent} goes on.")
        return taken

    def _asks(self, call: ToolCall) -> str | None:
        return None if is_handoff(call.name) else self._agent(call)

    def _hands_over(self, call: ToolCall) -> str | None:
        return self._agent(call) if is_handoff(call.name) else None

    def _question(self, call: ToolCall) -> Ask:
        home = self._offered.tools[call.name].home
        assert isinstance(home, Colleagues)
        assert isinstance(call.arguments, dict)  # the tool's schema says so
        return home.question(call.name, call.arguments)

    def _agent(self, call: ToolCall) -> str | None:
        home = self._offered.home(call.name, Colleagues)
        return None if home is None else home.agent_of(call.name)


def _refused(outcome: Outcome) -> bool:
    """Return whether it was never asked: the conversation was handed over often enough."""
    return outcome.error is not None and outcome.error.kind == LimitReachedError.kind


def _answer(agent: str, call: ToolCall, outcome: Outcome) -> ToolResult:
    if outcome.ok:
        return ToolResult(call=call, value=outcome.value)
    failed = f"{agent} failed: {error_of(outcome).message}"
    return ToolResult(call=call, value=failed, failed=True)
