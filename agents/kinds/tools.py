"""Tools that are called by themselves: an agent without a model, which calls the tool it is told.

Its input is ``{"tool": "find_order", "arguments": {"id": 7}}``. The call is one of its step, as a
model's is: journaled as its effects say, and asked a person about where it is to be.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from typing import Annotated, Protocol, runtime_checkable

from pydantic import Field, ValidationError

from agents.base import Answer, StepContext, Turn
from agents.plan import Expand
from agents.tools.calls import ToolCall, ToolResult
from agents.tools.clients import CLIENT_ASKS, CLIENT_IS
from agents.tools.delegating import Delegating
from agents.tools.loading import load_tools
from agents.tools.making import Maker
from agents.tools.offered import OfferedTool
from agents.tools.patterns import fits
from agents.tools.policy import Approve
from agents.tools.toolbox import Toolbox
from agents.tools.toolset import FunctionToolset, Toolset
from agents.tools.waiting import WaitsError, until
from celery_agents.agent import Effects
from celery_agents.contracts.base import Contract, JsonValue, TrustedJson, mistakes
from celery_agents.errors import AgentFailedError, ConfigurationError, InvalidPayloadError

#: A listing of tools is given up after so long.
_LIST_TIMEOUT_S = 60.0


class WantedCall(Contract):
    """The input of such an agent."""

    tool: Annotated[str, Field(min_length=1, max_length=200)]
    arguments: dict[str, TrustedJson] = Field(default_factory=dict)
    #: What whoever calls can be asked: see :mod:`agents.tools.clients`.
    asks: Annotated[tuple[str, ...], Field(max_length=10)] = ()
    #: Who calls, as an audit names it: nobody else of its tenant answers, but an admin.
    asked_by: Annotated[str, Field(max_length=1_000)] | None = None


@runtime_checkable
class ListsTools(Protocol):
    """A backend whose tools others may be told of, each by itself."""

    @property
    def listed(self) -> list[dict[str, JsonValue]]:
        """Name, description, schema of the arguments and effects of each."""
        ...


class ToolsBackend:
    """Calls the tools of an entry.

    Args:
        tools: paths of functions and toolsets, and names of those of the configuration.
        as_tasks: patterns of tools that nobody should wait for in one request.

    Raises:
        ConfigurationError: one cannot be loaded, or has to be listed first: what others are told
            of has to be known before.
    """

    def __init__(
        self,
        tools: tuple[str, ...],
        *,
        who: str,
        named: Mapping[str, Toolset],
        approve: Mapping[str, Approve],
        as_tasks: tuple[str, ...] = (),
        executor: Executor | None = None,
    ) -> None:
        found = load_tools(tools, who=who, named=named)
        if found.agents or found.spawns:
            raise ConfigurationError("tools: agents are asked by themselves, and are none of them.")
        functions = FunctionToolset(f"functions of {who}", *found.tools, executor=executor)
        self._tools = Toolbox(
            functions, found.toolsets, list_timeout_s=_LIST_TIMEOUT_S, approve=approve
        )
        if self._tools.tool_names is None:
            text = "tools: those of an MCP server are known once it is asked, and cannot be offered"
            raise ConfigurationError(f"{text} by themselves.")
        self._as_tasks = as_tasks

    @property
    def effects(self) -> Effects:
        """The worst effects of its tools."""
        return self._tools.effects

    @property
    def listed(self) -> list[dict[str, JsonValue]]:
        """Its tools, as others are told of them."""
        return [self._told(tool) for tool in self._tools.unlisted.tools.values()]

    async def answer(self, turn: Turn, step: StepContext) -> Answer | Expand:
        """Call the tool that the input names, and answer with its result.

        Raises:
            InvalidPayloadError: the input is no call of one of its tools.
            AgentFailedError: the tool failed; the message is what it said.
        """
        try:
            wanted = WantedCall.model_validate(turn.input)
        except ValidationError as error:
            place, why = mistakes(error)[0]
            raise InvalidPayloadError(f"{place}: {why}") from None
        offered = self._tools.unlisted
        if turn.tools is not None:
            offered = offered.only(turn.tools)
        if wanted.tool not in offered.tools:
            raise InvalidPayloadError(f"There is no tool {wanted.tool[:80]!r}.")
        call = ToolCall(id="call", name=wanted.tool, arguments=wanted.arguments)
        maker = Maker(offered, step, Delegating(offered, step))
        noted = maker.asked(call)
        CLIENT_ASKS.set(wanted.asks)
        CLIENT_IS.set(wanted.asked_by)
        try:
            batch = await maker.settle([call], [noted], [maker.problem(call)], why="")
        except WaitsError as waiting:
            return until(waiting.members, waiting.timeout_s)
        if batch.waits:
            return until(batch.waits, batch.timeout_s)
        return _answer(batch.told[0] or batch.found[0])

    async def aclose(self) -> None:
        """Close its toolsets."""
        await self._tools.aclose()

    def _told(self, tool: OfferedTool) -> dict[str, JsonValue]:
        spec = tool.spec
        return {
            "name": spec.name,
            "description": spec.description,
            "parameters": spec.parameters,
            "effects": tool.policy.effects,
            **({"as_task": True} if fits(spec.name, self._as_tasks) else {}),
        }


def _answer(result: ToolResult) -> Answer:
    if result.failed:
        raise AgentFailedError(str(result.value))
    return Answer(value=result.value)
