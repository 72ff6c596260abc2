"""All tools of one agent, whoever has them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from agents.base import Answer, StepContext
from agents.invoke import failure, invoke
from agents.tools.base import worst
from agents.tools.calls import ToolSpec
from agents.tools.colleagues import Colleagues
from agents.tools.offered import Offered, spec_of
from agents.tools.patterns import refuse_unfit
from agents.tools.policy import Approve
from agents.tools.search import KeptIndex
from agents.tools.toolset import FixedToolset, FunctionToolset, Toolset
from agents.values import digest, shown
from celery_agents.agent import Effects
from celery_agents.contracts.nearest import meant
from celery_agents.contracts.teams.spec import AgentSpec
from celery_agents.errors import AgentsError, ConfigurationError, ProviderUnavailableError
from celery_agents.noted import note

log = logging.getLogger(__name__)


class Toolbox:
    """The functions and toolsets of an agent, and the agents that it may ask.

    Args:
        functions: tools that are known beforehand.
        toolsets: sources that are asked once a step.
        colleagues: other agents.
        list_timeout_s: how long each may take to list its tools.
        approve: names of tools, or patterns, with whether a person is asked before each call; the
            last that fits wins over what the tool says itself.

    Raises:
        ConfigurationError: there are functions alone, and ``approve`` names none of them.
    """

    def __init__(
        self,
        functions: FunctionToolset,
        toolsets: Sequence[Toolset] = (),
        colleagues: Colleagues | None = None,
        *,
        list_timeout_s: float,
        approve: Mapping[str, Approve] | None = None,
    ) -> None:
        self._functions = functions
        self._fixed = (functions, *(t for t in toolsets if isinstance(t, FixedToolset)))
        self._toolsets = [t for t in toolsets if not isinstance(t, FixedToolset)]
        self._list_timeout_s = list_timeout_s
        self._colleagues = colleagues or Colleagues()
        self._approve = approve or {}
        self._indexes = KeptIndex()
        self._specs = [
            (source, [spec_of(source, t) for t in source.tools]) for source in self._fixed
        ]
        known = self._offered(self._functions_and_agents())
        if not self._toolsets:
            refuse_unfit(self._approve, known.tools)
            if known.searched:
                known.index()  # now, and not in a step: the loop has leases to keep

    @property
    def effects(self) -> Effects:
        """The worst effects of its tools, whichever is called."""
        return worst(source.effects for source in (*self._fixed, *self._toolsets))

    def _functions_and_agents(self) -> list[tuple[Toolset, list[ToolSpec]]]:
        agents = [spec_of(self._colleagues, tool) for tool in self._colleagues.tools]
        return [*self._specs, (self._colleagues, agents)]

    @cached_property
    def _known(self) -> list[tuple[Toolset, list[ToolSpec]]]:
        """All that needs not be listed. When it is first asked for, all agents are there."""
        return self._functions_and_agents()

    @cached_property
    def unlisted(self) -> Offered:
        """The tools that need not be listed."""
        return self._offered(self._known)

    @property
    def tool_names(self) -> tuple[str, ...] | None:
        """Names of all of them; None: some have to be listed."""
        if self._toolsets:
            return None
        functions = (tool.name for source in self._fixed for tool in source.tools)
        return (*functions, *self._colleagues.tool_names)

    def refusal(self, tools: Sequence[str]) -> str | None:
        """Return which of these is not there; None: all are, or may be listed."""
        if (known := self.tool_names) is None:
            return None
        wrong = next((name for name in tools if name not in known), None)
        return None if wrong is None else f"it has no tool {wrong!r}{meant(wrong, known, repr)}"

    def narrowed(
        self, offered: Offered, tools: Sequence[str] | None, team: Sequence[AgentSpec]
    ) -> Offered:
        """The tools that a turn may use, with those whom its agent may ask for it.

        Raises:
            InvalidPayloadError: it names one that is not there.
            ConfigurationError: two would have one name.
        """
        if tools is not None:
            offered = offered.only(tools)
        if not team:
            return offered
        members = Colleagues(known=self._colleagues.known, team=team)
        told = Offered.of([(members, members.tools)], approve=self._approve)
        if twice := sorted(offered.tools.keys() & told.tools.keys()):
            raise ConfigurationError(f"members: there is a tool {twice[0]!r} already; name it anew")
        return Offered({**offered.tools, **told.tools})

    async def offered(self, step: StepContext) -> Offered:
        """The tools for one step; what toolsets list is a journaled call of it.

        Raises:
            ConfigurationError: two tools have one name, or something listed is no tool.
            AgentFailedError: a toolset raised an error.
            ProviderUnavailableError: one that may pass, or it took too long.
        """
        if not self._toolsets:
            return self.unlisted

        async def perform(_: str) -> Answer:
            found = [(source, await self._listed(source, step)) for source in self._toolsets]
            Offered.of([*self._known, *found])  # what clashes must not be journaled
            return Answer(value=[[spec.model_dump() for spec in specs] for _, specs in found])

        names = [source.name for source in self._toolsets]
        answer = await step.call("tools", perform, fingerprint=digest(["tools", *names]))
        listed: Any = answer.value
        told = [[ToolSpec.model_validate(spec) for spec in specs] for specs in listed]
        return self._offered([*self._known, *zip(self._toolsets, told, strict=True)])

    def _offered(self, found: Iterable[tuple[Toolset, Iterable[ToolSpec]]]) -> Offered:
        always = (source for source in self._fixed if source.always_shown)
        shown = (self._functions, self._colleagues, *always)
        return Offered.of(found, approve=self._approve, shown=shown, indexes=self._indexes)

    async def aclose(self) -> None:
        """Close the toolsets; an error of one is noted, and keeps nothing else open."""
        for toolset in (*self._fixed, *self._toolsets):
            try:
                await invoke(toolset.aclose)
            except Exception as error:  # noqa: BLE001 - it is noted
                note(log, "toolset_close", "A toolset was not closed cleanly", error=error)

    async def _listed(self, toolset: Toolset, step: StepContext) -> list[ToolSpec]:
        who = f"The toolset {toolset.name!r}"
        try:
            async with asyncio.timeout(self._list_timeout_s):
                found: Any = await invoke(toolset.specs, step)
        except AgentsError:
            raise
        except TimeoutError:
            message = f"{who} did not list its tools within {self._list_timeout_s:g} s."
            raise ProviderUnavailableError(message) from None
        except Exception as error:  # noqa: BLE001 - whatever a user's toolset raises becomes ours
            raise failure(who, error) from None
        if not isinstance(found, Sequence) or isinstance(found, str):
            raise ConfigurationError(f"{who} lists no tools but {shown(found)}.")
        return [spec_of(toolset, spec) for spec in found]
