"""The agents that this worker offers, by name."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, Self

from pydantic import TypeAdapter, ValidationError

from agents.base import Backend
from agents.caching.cacheable import Caching
from agents.catalog.checks import Check
from agents.catalog.entries import Described
from agents.catalog.flows import Flows
from agents.catalog.folds import Folds
from agents.catalog.guards import Guards, refuse_judges
from agents.catalog.kinds import (
    BROKEN,
    Kind,
    Made,
    Resources,
    SharedService,
    all_kinds,
    broken_entry,
    entry_of,
    failure,
)
from agents.catalog.limits import check_covers, read_policies
from agents.catalog.loading import import_module, read_tables
from agents.catalog.memories import read_memories, with_memories
from agents.catalog.panels import check_panels, read_panels
from agents.catalog.references import refuse_missing, settle_effects
from agents.catalog.routers import deployments_of
from agents.catalog.teams import reached
from agents.catalog.tenants import own_policies, read_tenants
from agents.catalog.toolsets import with_toolsets
from agents.governance.routing import Capability, RoutePolicy
from agents.guarding.screening import TextGuard
from agents.kinds.function import FunctionBackend
from agents.kinds.model import ModelBackend
from agents.plugins import PluginError, Plugins
from agents.plugins.serving import serve
from agents.tools.colleagues import OtherAgents
from celery_agents.agent import AgentMark, Effects, mark_of
from celery_agents.contracts.base import Name
from celery_agents.contracts.budgets import BudgetPolicy
from celery_agents.contracts.caching import CachePolicy
from celery_agents.contracts.compensation import Compensation
from celery_agents.contracts.guards import GuardPolicy
from celery_agents.contracts.limits import LimitPolicy
from celery_agents.contracts.memory import MemoryPolicy
from celery_agents.contracts.tenants import TenantPolicy
from celery_agents.contracts.window import WindowPolicy
from celery_agents.errors import ConfigurationError, UnknownAgentError

log = logging.getLogger(__name__)


@dataclass
class Registered:
    """One agent; its backend is made when it is first asked."""

    name: str
    kind: str
    description: str
    effects: Effects
    make: Callable[[], Backend]
    entry: Described | None = None  # None: a marked function
    compensation: Compensation | None = None
    check: Check | None = None
    provider: SharedService | None = None
    outside: bool = False
    expects: bool = False  # its turns begin with calls that say what they expect
    asks: tuple[str, ...] = ()  # names of agents that it may ask
    handoffs: tuple[str, ...] = ()  # and of those that may go on in its place
    key: str = ""  # which one of several it goes by
    deployments: tuple[Registered, ...] = ()  # itself with each of its keys, if it has several
    among: tuple[str, ...] = ()  # names of those one of which answers
    route: RoutePolicy | None = None  # how that one is chosen
    lacks: frozenset[Capability] = frozenset()
    cache: CachePolicy | None = None  # how its answers are kept, if they are
    window: WindowPolicy | None = None  # how much of a conversation it is told
    posted: bool = False  # over the API

    @classmethod
    def of(cls, name: str, entry: Described, kind: Kind[Any], made: Made) -> Self:
        """The agent of an entry."""
        made_of = cls(
            name,
            entry.kind,
            entry.description,
            made.effects,
            made.backend,
            entry,
            compensation=entry.compensation,
            check=kind.check(entry),
            provider=kind.provider(entry),
            outside=kind.outside,
            expects=kind.expects,
            asks=made.asks,
            handoffs=made.handoffs,
            among=made.among,
            route=made.route,
            lacks=made.lacks,
            cache=made.cache,
            window=entry.window or made.window,
        )
        if made.keyed:
            made_of.deployments = tuple(made_of._with(*of) for of in made.keyed.items())
            made_of.route = RoutePolicy()
        return made_of

    def _with(self, key: str, make: Callable[[], Backend]) -> Registered:
        provider = None if self.provider is None else replace(self.provider, key=key)
        return replace(self, key=key, make=make, provider=provider)

    @property
    def deployment(self) -> str:
        """Its name, with that of its key where it has several."""
        return f"{self.name}#{self.key}" if self.key else self.name

    @property
    def target(self) -> str:
        """Its name among the targets of health and breakers."""
        return f"agent:{self.deployment}"

    @property
    def account(self) -> str:
        """The account whose limits it meets: its provider's, by the key's name; else its own."""
        if self.provider is None:
            return self.target
        return f"{self.provider.target}#{self.provider.key}".rstrip("#")

    @cached_property
    def backend(self) -> Backend:
        """The backend, made on first use."""
        return self.make()


class Registry:
    """Agents by name. A name that is given twice is an error, not a surprise."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self.kinds: Mapping[str, Kind[Any]] = all_kinds(Plugins())
        self.limits: dict[str, LimitPolicy] = {}
        self.tenants: dict[str, TenantPolicy] = {}
        self.budgets: dict[str, BudgetPolicy] = {}
        self.memories: dict[str, MemoryPolicy] = {}
        #: Those of tenants that have numbers of their own, by tenant and name.
        self.own_limits: dict[str, dict[str, LimitPolicy]] = {}
        self.own_budgets: dict[str, dict[str, BudgetPolicy]] = {}
        self.guards, self.flows, self.folds = Guards({}), Flows(), Folds()
        self.known = _told_by(self.find)
        self._agents: dict[str, Registered] = {}
        self._functions: dict[str, Callable[..., Any]] = {}
        self._broken: list[str] = []  # plug-ins, and why

    def __iter__(self) -> Iterator[Registered]:
        return iter(self._agents.values())

    def load(self, *, config: Path | None, modules: tuple[str, ...]) -> None:
        """Read the configuration file, the named modules and the active plug-ins.

        Raises:
            ConfigurationError: with the file, the agent and the field that are wrong.
        """
        tables = {} if config is None else read_tables(config)
        plugins = self.resources.plugins.find(tables.get("plugins"))
        self.kinds = all_kinds(plugins)
        if config is not None:
            self.resources = with_toolsets(config, tables.get("tools", {}), self.resources, plugins)
            self.memories = read_memories(config, tables.get("memory", {}))
            self.resources = with_memories(config, self.memories, self.resources, plugins)
            for name, entry in read_entries(config, self.kinds).items():
                self.add_entry(name, entry)
            self.limits = read_policies(config, "limits", tables.get("limits", {}), LimitPolicy)
            self.budgets = read_policies(config, "budgets", tables.get("budgets", {}), BudgetPolicy)
            guards = read_policies(config, "guards", tables.get("guards", {}), GuardPolicy)
            self.guards = Guards(guards)
            self.tenants = read_tenants(config, tables.get("tenants", {}))
            self.own_limits = own_policies("limits", self.limits, self.tenants)
            self.own_budgets = own_policies("budgets", self.budgets, self.tenants)
        for module in modules:
            self.add_module(import_module(module))
        serve(plugins, "agents", self._add_plugged, self._broken.append)
        try:
            _check(self, self._agents, config)
        except ConfigurationError as error:  # who is missing may be a broken plug-in's
            raise ConfigurationError(" ".join([error.message, *self._broken])) from None

    def _add_plugged(self, name: str, found: Any) -> None:
        if isinstance(found, ModuleType):
            self.add_module(found)
        else:
            self.add_function(found, mark_of(found) or AgentMark(name=name))

    def add_module(self, module: ModuleType) -> None:
        """Add the functions of a module that are marked."""
        self.flows.add_module(module)
        self.folds.add_module(module)
        for value in list(vars(module).values()):
            if (mark := mark_of(value)) is not None:
                self.add_function(value, mark)

    def add_function(self, function: Callable[..., Any], mark: AgentMark) -> None:
        """Add a function; the same one again (packages re-export theirs) changes nothing."""
        if self._functions.get(mark.name) is function:
            return
        caching = None if mark.cache is None else Caching(mark.name, mark.cache)
        backend = FunctionBackend(
            function, effects=mark.effects, executor=self.resources.executor, caching=caching
        )
        self._add(
            Registered(
                mark.name,
                "function",
                mark.description,
                mark.effects,
                lambda: backend,
                compensation=mark.compensation,
                cache=mark.cache,
                lacks=backend.lacks,
                window=mark.window,
            )
        )
        self._functions[mark.name] = function

    def add_entry(self, name: str, entry: Described) -> None:
        """Add an agent of the configuration.

        Raises:
            ConfigurationError: its name is taken; its function or one of its tools is not there.
        """
        kind: Kind[Any] = self.kinds[entry.kind] if entry.problem is None else BROKEN
        resources = replace(self.resources, known=self.known, name=name)
        self._add(_registered(name, entry, kind, resources, self.kinds))

    def _add(self, agent: Registered) -> None:
        if agent.name in self._agents:
            raise ConfigurationError(f"Two agents are named {agent.name!r}.")
        self._agents[agent.name] = agent

    def get(self, name: str) -> Registered:
        """The agent of that name.

        Raises:
            UnknownAgentError: naming what there is.
        """
        found = self._agents.get(name)
        if found is None:
            known = ", ".join(sorted(self._agents)) or "none at all"
            raise UnknownAgentError(
                f"There is no agent {name!r} in this worker. It has: {known}. Agents come from "
                + " ".join(["AGENTS_CONFIG, AGENTS_MODULES and active plug-ins.", *self._broken])
            )
        return found

    @property
    def weights(self) -> dict[str, float]:
        """The weights of tenants, where they are not 1."""
        return {name: t.weight for name, t in self.tenants.items() if t.weight != 1}

    def find(self, name: str) -> Registered | None:
        """The agent of that name, if this worker has it."""
        return self._agents.get(name)

    @property
    def deployments(self) -> Iterator[Registered]:
        """All that are really asked: each agent, with each of its keys, without routers."""
        for agent in self:
            if not agent.among:
                yield from agent.deployments or (agent,)

    @property
    def routed(self) -> set[str]:
        """The names of deployments that are one of several."""
        several = (self.deployments_of(agent) for agent in self if agent.route is not None)
        return {one.deployment for found in several for one in found}

    @property
    def routes(self) -> bool:
        """True when some agent is one of several that may answer."""
        return any(agent.route is not None for agent in self)

    def deployments_of(self, agent: Registered) -> tuple[Registered, ...]:
        """Those one of which answers in an agent's place: its keys, or whom its router has."""
        return deployments_of(agent, self._agents)

    def guards_of(self, agent: Registered) -> tuple[TextGuard, ...]:
        """The guards that stand round an agent, in the order in which they are asked."""
        return self.guards.of(places_of(agent))

    def may_hand_over(self, agent: str, to: str) -> bool:
        """Return whether a conversation with an agent may come to be one with another."""
        return to != agent and to in reached(agent, {a.name: a.handoffs for a in self})

    def backup_of(self, agent: Registered) -> Registered | None:
        """Return the agent that answers while this one cannot."""
        name = agent.entry.backup if agent.entry is not None else None
        return None if name is None else self.get(name)

    def refuse_to_race(self, names: Iterable[str]) -> None:
        """Agents with effects run one after another, never several for one answer.

        Raises:
            ConfigurationError: one of these agents has effects, or a backup that may answer for it.
        """
        for name in names:
            known = self._agents.get(name)  # one that is not fails by itself, as a candidate
            backup = None if known is None else self.backup_of(known)
            for agent in (known, backup):
                if agent is not None and agent.effects == "effect":
                    raise ConfigurationError(_not_raced(name, agent))

    def refuse_hidden_effects(self, asking: str | None, asked: str) -> None:
        """An agent that asks one with effects has effects, and has to say so: else it is raced.

        Raises:
            ConfigurationError: it does not.
        """
        own, other = self._agents.get(asking or ""), self._agents.get(asked)
        if own is not None and other is not None and other.effects == "effect" != own.effects:
            raise ConfigurationError(
                f"{asked!r} has effects, so {own.name!r}, which asks it, has to have them too: say "
                'so by effects="effect".'
            )

    async def aclose(self) -> None:
        """Close the backends that were made."""
        for agent in self:
            made = [one for one in agent.deployments if "backend" in one.__dict__]
            for one in made:
                await one.backend.aclose()
            if made or "backend" in agent.__dict__:
                await agent.backend.aclose()  # with what its keys share


def _registered(
    name: str,
    entry: Described,
    kind: Kind[Any],
    resources: Resources,
    kinds: Mapping[str, Kind[Any]],
) -> Registered:
    """The agent of an entry; a broken one where the code of a plug-in's kind fails."""
    try:
        return Registered.of(name, entry, kind, kind.make(entry, resources))
    except ConfigurationError as error:
        raise ConfigurationError(f"[agents.{name}] {error.message}") from None
    except Exception as error:
        if (failed := failure(kinds, kind.name, error)) is None:
            raise
        broken = broken_entry({"kind": entry.kind}, failed)
        return Registered.of(name, broken, BROKEN, BROKEN.make(broken, resources))


def _check(registry: Registry, agents: dict[str, Registered], config: Path | None) -> None:
    """Hold what agents and policies say of each other against what there is."""
    refuse_missing(agents)
    check_panels(read_panels(config), agents)
    places = {place for a in registry for place in places_of(a)}
    check_covers("limits", registry.limits, places)
    check_covers("budgets", registry.budgets, places)
    check_covers("guards", registry.guards.policies, places)
    refuse_judges(registry.guards.policies, {a.name: registry.guards_of(a) for a in registry})
    settle_effects(agents)


def _told_by(find: Callable[[str], Registered | None]) -> OtherAgents:
    """The way in which models are told of other agents, once all are there."""

    def describe(name: str) -> str:
        return "" if (agent := find(name)) is None else agent.description

    def tools(name: str) -> tuple[str, ...] | None:
        backend = None if (agent := find(name)) is None else agent.backend
        return backend.tool_names if isinstance(backend, ModelBackend) else ()

    return OtherAgents(describe, tools)


_NAME: TypeAdapter[str] = TypeAdapter(Name)


def replace_posted(registry: Registry, posted: Iterable[Registered]) -> None:
    """Let a registry have these agents of the API and no others, beside its own, which go first.

    In one assignment: other threads look agents up meanwhile.
    """
    own = {agent.name: agent for agent in registry if not agent.posted}
    registry._agents = {agent.name: agent for agent in posted} | own  # noqa: SLF001 - its module


def places_of(agent: Registered) -> set[str]:
    """The words by which a limit covers an agent."""
    if agent.among:  # it is asked for nothing itself
        return set()
    provider = [] if agent.provider is None else [agent.provider.target]
    return {agent.target, f"kind:{agent.kind}", *provider}


def read_entries(path: Path, kinds: Mapping[str, Kind[Any]]) -> dict[str, Described]:
    """The entries of an agents.toml.

    Raises:
        ConfigurationError: the file cannot be read, or an entry is not right.
    """
    tables = read_tables(path).get("agents", {})
    entries: dict[str, Described] = {}
    for name, table in tables.items():
        try:
            _NAME.validate_python(name)
            entries[name] = entry_of(table, kinds)
        except PluginError as error:
            entries[name] = broken_entry(table, error)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise ConfigurationError(f"{path}: [agents.{name}] {first['msg']}.") from None
        except ConfigurationError as error:
            raise ConfigurationError(f"{path}: [agents.{name}] {error.message}") from None
    return entries


def _not_raced(name: str, agent: Registered) -> str:
    who = f"{name!r}" if agent.name == name else f"The backup {agent.name!r} of {name!r}"
    of_tools = agent.entry is not None and agent.entry.effects != "effect"
    hint = ' Tools that have none say so: @tool(effects="pure").' if of_tools else ""
    return f"{who} has effects, so it cannot be raced. Use strategy sequential.{hint}"
