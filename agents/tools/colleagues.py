"""Other agents as tools of one: asked for an answer, or handed the conversation over to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from agents.asking import HANDOFF, is_handoff
from agents.base import StepContext
from agents.personality import TRAITS
from agents.tools.base import NAME
from agents.tools.calls import ToolError, ToolSpec
from agents.tools.policy import ToolPolicy
from agents.tools.toolset import Toolset
from celery_agents.contracts.ask import Ask
from celery_agents.contracts.base import JsonValue, mistakes
from celery_agents.contracts.teams.spec import SPEC_NAME, AgentSpec
from celery_agents.errors import ConfigurationError

#: Before the name of an agent among the ``tools`` of another one: it is asked, or narrowed first.
AGENT, SPAWN = "agent:", "spawn:"
#: Before its name as the model knows it.
_ASK, _SPAWN = "ask_", "spawn_"


@dataclass(frozen=True, slots=True)
class Colleague:
    """Another agent, as one tool of a model."""

    agent: str
    #: Its narrowed form; None: it is asked as it is.
    spec: AgentSpec | None = None
    #: The model narrows it, with each call.
    spawned: bool = False

    @property
    def called(self) -> str:
        """The name by which the model is told of it."""
        return self.agent if self.spec is None else self.spec.called


@dataclass(frozen=True, slots=True)
class OtherAgents:
    """Tells of other agents, once all are known."""

    describe: Callable[[str], str] = lambda _: ""
    #: Names of an agent's tools; None: they are not known before it is asked.
    tools: Callable[[str], tuple[str, ...] | None] = lambda _: None


class Colleagues(Toolset):
    """The agents that a model may ask, and those that may go on in its place.

    A call of one is no call of its step, but a member of it (see :mod:`agents.tools.running`).

    Args:
        ask: names of agents that answer a question.
        hand_over: names of agents that take the conversation over.
        known: tells of them.
        spawn: names of agents that answer one, narrowed as the model says.
        team: agents that answer one, narrowed by whoever asks the model.

    Raises:
        ConfigurationError: a name does not suit, or stands there twice.
    """

    name = "agents"
    effects = "pure"  # of its own calls; what the agents do counts where all are known

    def __init__(
        self,
        ask: Sequence[str] = (),
        hand_over: Sequence[str] = (),
        known: OtherAgents | None = None,
        *,
        spawn: Sequence[str] = (),
        team: Sequence[AgentSpec] = (),
    ) -> None:
        self.known = known or OtherAgents()
        found = [
            *((f"{_ASK}{agent}", Colleague(agent)) for agent in ask),
            *((f"{_SPAWN}{agent}", Colleague(agent, spawned=True)) for agent in spawn),
            *((f"{HANDOFF}{agent}", Colleague(agent)) for agent in hand_over),
            *((f"{_ASK}{one.called}", Colleague(one.base, one)) for one in team),
        ]
        self._agents = dict(found)
        if len(self._agents) < len(found):
            raise ConfigurationError("One agent stands twice in tools, or in handoffs.")
        for tool, one in found:
            if not NAME.fullmatch(tool):
                raise ConfigurationError(
                    f"{one.called!r} cannot be a model's tool: {tool!r} would be no name for one, "
                    f"use {NAME.pattern}"
                )

    def __bool__(self) -> bool:
        return bool(self._agents)

    @property
    def tool_names(self) -> tuple[str, ...]:
        """Names of the tools, which need no other agent to be there yet."""
        return tuple(self._agents)

    def agent_of(self, tool: str) -> str:
        """The agent that is asked, or goes on, by the tool of that name."""
        return self._agents[tool].agent

    def question(self, tool: str, arguments: Mapping[str, JsonValue]) -> Ask:
        """Return the question that a call is: its arguments are as the tool's schema says.

        Raises:
            ToolError: nobody can be narrowed like that.
        """
        one = self._agents[tool]
        spec = _spawned(one.agent, arguments) if one.spawned else one.spec
        return Ask(agent=spec or one.agent, input=arguments["input"])

    @property
    def tools(self) -> list[ToolSpec]:
        """Each agent as the model is told of it."""
        return [self._spec(tool, agent) for tool, agent in self._agents.items()]

    async def specs(self, step: StepContext) -> Sequence[ToolSpec]:  # noqa: ARG002 - the same for all
        return self.tools

    async def call(self, name: str, arguments: JsonValue, *, key: str, step: StepContext) -> Any:
        raise NotImplementedError(f"{name} is a member of its step")

    def _spec(self, tool: str, one: Colleague) -> ToolSpec:
        about = one.spec.description if one.spec is not None and one.spec.description else ""
        about = about or self.known.describe(one.agent)
        said = f" {about}" if about else ""
        if is_handoff(tool):
            about, parameters = f"Hands the conversation over to {one.called}.{said}", _NOTHING
        elif one.spawned:
            about = f"Makes one of {one.agent} for this task alone, and asks it.{said}"
            parameters = _spawning(self.known.tools(one.agent))
        else:
            about, parameters = f"Asks {one.called}, who knows nothing but its input.{said}", _INPUT
        policy = ToolPolicy(effects="pure")
        return ToolSpec(name=tool, description=about, parameters=parameters, policy=policy)


def _spawned(base: str, arguments: Mapping[str, JsonValue]) -> AgentSpec:
    told = {name: value for name, value in arguments.items() if name != "input"}
    try:
        return AgentSpec.model_validate({"base": base, **told})
    except ValidationError as error:
        place, why = mistakes(error, AgentSpec)[0]
        raise ToolError(f"Wrong arguments: {place}: {why}") from None


def _spawning(tools: tuple[str, ...] | None) -> dict[str, JsonValue]:
    """The arguments by which an agent is narrowed, of one whose tools are these."""
    text: dict[str, JsonValue] = {"type": "string"}
    name = text | {"pattern": SPEC_NAME, "description": "A name for it, for reports."}
    one: dict[str, JsonValue] = text if tools is None else {**text, "enum": [*tools]}
    told: dict[str, JsonValue] = {
        "input": text | {"description": "Its task: it knows nothing else."},
        "name": name,
        "instructions": text | {"description": "Who it is and how it works."},
        "traits": {"type": "array", "items": text | {"enum": [*sorted(TRAITS)]}},
    }
    if tools != ():
        about = "Those of its tools that it gets; all, if none are named."
        told["tools"] = {"type": "array", "items": one, "description": about}
    return {
        "type": "object",
        "properties": told,
        "required": ["input"],
        "additionalProperties": False,
    }


_NOTHING: dict[str, JsonValue] = {"type": "object", "properties": {}}
_INPUT: dict[str, JsonValue] = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}
