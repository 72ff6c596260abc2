"""The models: agents that workers offer, and panels of the configuration."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from agents.catalog.panels import Panel
from api.mcp.flows import OfferedFlow
from api.mcp.waits.offered import OfferedSignal
from api.problems import ProblemError
from app.access.permissions import Principal

#: Seconds for which what workers offer is known; a name that is not there is looked for again.
_KNOWN_S, _AGAIN_S = 10.0, 1.0
#: Of a panel nothing says since when there is one.
_SINCE = 0


@dataclass(frozen=True, slots=True)
class OfferedModel:
    """An agent or a panel, as it is told to whoever may ask it."""

    name: str
    #: Of an agent its kind, of a panel its task.
    kind: str
    description: str
    panel: Panel | None = None
    #: Of an agent: ``pure``, ``idempotent`` or ``effect``.
    effects: str | None = None
    #: Of an agent that is nothing but tools: what others are told of each.
    tools: tuple[dict[str, Any], ...] = ()
    flow: OfferedFlow | None = None

    @property
    def is_agent(self) -> bool:
        """True of an agent: no panel, and no flow."""
        return self.panel is None and self.flow is None


class ModelCatalog:
    """Knows which models there are; ``offered`` reads the agents from the journal.

    ``flows`` are no models: they are offered as tools alone.
    """

    def __init__(
        self,
        panels: Mapping[str, Panel],
        offered: Callable[[], Awaitable[list[dict[str, Any]]]],
        clock: Callable[[], float] = time.monotonic,
        flows: Mapping[str, OfferedFlow] = MappingProxyType({}),
    ) -> None:
        self._panels, self._offered, self._clock = panels, offered, clock
        self._flows = {name: flow for name, flow in flows.items() if name not in panels}
        #: Signals for which clients of flows are asked, by the flows' own names.
        self.signals: dict[str, dict[str, OfferedSignal]] = {}
        for flow in flows.values():  # several may be one flow, as of several versions
            if flow.signals:
                self.signals.setdefault(flow.flow, {}).update(flow.signals)
        self._agents: dict[str, dict[str, Any]] = {}
        self._read_at = float("-inf")

    async def find(self, who: Principal, name: str) -> Panel | None:
        """The panel of that name; None: it is an agent.

        Raises:
            ProblemError: it is neither, or not for whoever asks (404).
        """
        panel = self._panels.get(name)
        if panel is None and name not in self._agents:
            await self._read(_AGAIN_S)
        if self._may(who, name, panel):
            return panel
        text = f"The model {name!r} does not exist, or you do not have access to it."
        raise ProblemError(404, "model_not_found", text, param="model")

    async def listed(self, who: Principal) -> list[dict[str, Any]]:
        """All that somebody may ask, panels first."""
        await self._read(_KNOWN_S)
        panels = [_model(p.name, _SINCE, p.task) for p in self._panels.values()]
        agents = [_model(a["name"], int(a["seen_at"]), a["kind"]) for a in self._agents.values()]
        return [m for m in panels + agents if self._may(who, m["id"], self._panels.get(m["id"]))]

    async def offers(self, who: Principal, *, again: bool = False) -> list[OfferedModel]:
        """All that somebody may ask, by name; ``again``: one was not among them."""
        await self._read(_AGAIN_S if again else _KNOWN_S)
        panels = [OfferedModel(p.name, p.task, p.description, p) for p in self._panels.values()]
        agents = [
            OfferedModel(
                a["name"],
                a["kind"],
                a["description"] or "",
                effects=a["effects"],
                tools=tuple(a.get("tools", ())),
            )
            for a in self._agents.values()
            if a["name"] not in self._panels and a["name"] not in self._flows
        ]
        found = [m for m in panels + agents if self._may(who, m.name, m.panel)]
        if who.agents is None:  # a flow may ask any agent
            found += [
                OfferedModel(name, "flow", flow.description, flow=flow)
                for name, flow in self._flows.items()
            ]
        return sorted(found, key=lambda m: m.name)

    async def refresh(self, age_s: float = 0.0) -> None:
        """Read them again, if that was longer ago: lists are told as they are."""
        await self._read(age_s)

    async def shown(self, who: Principal, name: str) -> dict[str, Any]:
        """One of them; raises as ``find``."""
        panel = await self.find(who, name)
        if panel is not None:
            return _model(name, _SINCE, panel.task)
        agent = self._agents[name]
        return _model(name, int(agent["seen_at"]), agent["kind"])

    def named(self, task: str, options: Mapping[str, Any]) -> str:
        """The model of a run that was asked for so; of a panel that has changed, its task."""
        if isinstance(agent := options.get("agent"), str):
            return agent
        for panel in self._panels.values():
            same = all(options.get(name) == value for name, value in panel.options.items())
            if task == f"agents.{panel.task}" and same:
                return panel.name
        return task

    def _may(self, who: Principal, name: str, panel: Panel | None) -> bool:
        if panel is not None:
            return all(who.may_ask(agent) for agent in panel.agents)
        return name in self._agents and who.may_ask(name)

    async def _read(self, age_s: float) -> None:
        if self._clock() >= self._read_at + age_s:
            self._agents = {row["name"]: row for row in await self._offered()}
            self._read_at = self._clock()


def _model(name: str, created: int, owner: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": owner}
