"""The calls of one answer that are turns of other agents: members of its step."""

from __future__ import annotations

from collections.abc import Sequence

from agents.asking import asked, error_of
from agents.base import StepContext
from agents.plan import Member
from agents.schema import problem
from agents.tools.calls import ToolCall, ToolResult
from agents.tools.colleagues import Colleagues
from agents.tools.offered import Offered
from celery_agents.contracts.ask import Ask
from celery_agents.contracts.outcome import Outcome


class Delegating:
    """Asks other agents, and reads what they answered once they have."""

    def __init__(self, offered: Offered, step: StepContext) -> None:
        self._offered = offered
        self._step = step

    def takes(self, call: ToolCall) -> bool:
        """Return whether another agent is asked by this call."""
        return self._agent(call) is not None

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
            agent = self._agent(call)
            if agent is None or told[place] is not None:
                continue
            wrong = problem(call.arguments, self._offered.tools[call.name].spec.parameters)
            if wrong is not None:
                found[place] = ToolResult(call=call, value=f"Wrong arguments: {wrong}", failed=True)
                continue
            key = identities[place]
            outcome = (await self._step.answered()).get(key)
            if outcome is None:
                members.append(asked(key, _question(agent, call)))
            else:
                found[place] = _answer(agent, call, outcome)
        return members

    def _agent(self, call: ToolCall) -> str | None:
        tool = self._offered.tools.get(call.name)
        home = None if tool is None else tool.home
        return home.agent_of(call.name) if isinstance(home, Colleagues) else None


def _question(agent: str, call: ToolCall) -> Ask:
    assert isinstance(call.arguments, dict)  # the tool's schema says so
    return Ask(agent=agent, input=call.arguments["input"])


def _answer(agent: str, call: ToolCall, outcome: Outcome) -> ToolResult:
    if outcome.ok:
        return ToolResult(call=call, value=outcome.value)
    failed = f"{agent} failed: {error_of(outcome).message}"
    return ToolResult(call=call, value=failed, failed=True)
