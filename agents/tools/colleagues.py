"""Other agents as tools of one: asked for an answer, or handed the conversation over to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from agents.asking import HANDOFF
from agents.base import StepContext
from agents.tools.base import NAME
from agents.tools.calls import ToolSpec
from agents.tools.policy import ToolPolicy
from agents.tools.toolset import Toolset
from celery_agents.contracts.base import JsonValue
from celery_agents.errors import ConfigurationError

#: Before the name of an agent among the ``tools`` of another one.
AGENT = "agent:"
#: Before its name as the model knows it, where it is asked.
_ASK = "ask_"


class Colleagues(Toolset):
    """The agents that a model may ask, and those that may go on in its place.

    A call of one is no call of its step, but a member of it (see :mod:`agents.tools.running`).

    Args:
        ask: names of agents that answer a question.
        hand_over: names of agents that take the conversation over.
        describe: tells what an agent is for, once all are known.

    Raises:
        ConfigurationError: a name does not suit, or stands there twice.
    """

    name = "agents"
    effects = "pure"  # of its own calls; what the agents do counts where all are known

    def __init__(
        self,
        ask: Sequence[str] = (),
        hand_over: Sequence[str] = (),
        describe: Callable[[str], str] = str,
    ) -> None:
        self._describe = describe
        self._agents = {
            f"{before}{agent}": agent
            for before, agents in ((_ASK, ask), (HANDOFF, hand_over))
            for agent in agents
        }
        if len(self._agents) < len(ask) + len(hand_over):
            raise ConfigurationError("One agent stands twice in tools, or in handoffs.")
        for tool, agent in self._agents.items():
            if not NAME.fullmatch(tool):
                raise ConfigurationError(
                    f"{agent!r} cannot be a model's tool: {tool!r} would be no name for one, use "
                    f"{NAME.pattern}"
                )

    def __bool__(self) -> bool:
        return bool(self._agents)

    def agent_of(self, tool: str) -> str:
        """The agent that is asked, or goes on, by the tool of that name."""
        return self._agents[tool]

    def hands_over(self, tool: str) -> bool:
        """Return whether that tool hands the conversation over."""
        return tool.startswith(HANDOFF)

    @property
    def tools(self) -> list[ToolSpec]:
        """Each agent as the model is told of it."""
        return [self._spec(tool, agent) for tool, agent in self._agents.items()]

    async def specs(self, step: StepContext) -> Sequence[ToolSpec]:  # noqa: ARG002 - the same for all
        return self.tools

    async def call(self, name: str, arguments: JsonValue, *, key: str, step: StepContext) -> Any:
        raise NotImplementedError(f"{name} is a member of its step")

    def _spec(self, tool: str, agent: str) -> ToolSpec:
        said = f" {about}" if (about := self._describe(agent)) else ""
        if self.hands_over(tool):
            about, parameters = f"Hands the conversation over to {agent}.{said}", _NOTHING
        else:
            about, parameters = f"Asks {agent}, who knows nothing but its input.{said}", _INPUT
        policy = ToolPolicy(effects="pure")
        return ToolSpec(name=tool, description=about, parameters=parameters, policy=policy)


_NOTHING: dict[str, JsonValue] = {"type": "object", "properties": {}}
_INPUT: dict[str, JsonValue] = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}
