"""The kinds of agents, as a table: built-in ones, and those of installed packages.

A plug-in adds a kind, under ``kinds``, that is a :class:`Kind`, or a model's provider, under
``providers``. Its entries stand in agents.toml like any other, under that name, and nothing of it
is imported before one does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

from pydantic import ConfigDict, ValidationError

from agents.base import Backend
from agents.caching.cacheable import Caching
from agents.catalog.checks import AnyOf, Check, Get, Served, connection_to
from agents.catalog.entries import (
    CeleryEntry,
    Described,
    FunctionEntry,
    HttpEntry,
    LangGraphEntry,
    ModelEntry,
    OpenAIAgentsEntry,
    PydanticAIEntry,
    RouterEntry,
    ScriptedEntry,
    ToolsEntry,
)
from agents.catalog.loading import function_at, object_at
from agents.frameworks import runners
from agents.frameworks.backend import not_installed
from agents.governance.lessons import Lessons, Own
from agents.governance.routing import Capability, RoutePolicy
from agents.kinds.function import FunctionBackend
from agents.kinds.http import HttpBackend, HttpConfig
from agents.kinds.model import ModelBackend, WithKey
from agents.kinds.scripted import ScriptedBackend
from agents.kinds.tools import ToolsBackend
from agents.memory.backends import MemoryBackend
from agents.models.provider import ModelProvider
from agents.models.providers import PROVIDERS
from agents.net.clients import ResolveSecret, SharedClients
from agents.net.outside import PrivateHosts
from agents.plugins import Contribution, PluginError, Plugins, PluginSource
from agents.plugins.loading import error_text
from agents.tools.base import worst
from agents.tools.colleagues import OtherAgents
from agents.tools.toolset import Toolset
from agents.toolsets.mcp.logins import Logins
from agents.toolsets.memory import memory_tools
from agents.values import digest, shown
from celery_agents.agent import Effects, mark_of
from celery_agents.contracts.caching import CachePolicy
from celery_agents.contracts.memory import MemoryPolicy
from celery_agents.contracts.window import WindowPolicy
from celery_agents.errors import ConfigurationError

log = logging.getLogger(__name__)

#: Of a digest that tells an agent's models apart.
_DIGITS = 8
#: Makes the backend of an agent that is another app's task; the layer that knows Celery gives it.
CeleryBackends = Callable[[CeleryEntry], Backend]


@dataclass(frozen=True, slots=True)
class Resources:
    """The resources that backends share in one process."""

    resolve_secret: ResolveSecret
    executor: Executor
    clients: SharedClients
    celery: CeleryBackends
    #: Tells of agents by their names, once all are there.
    known: OtherAgents = field(default_factory=OtherAgents)
    #: Toolsets of the configuration, by name.
    toolsets: Mapping[str, Toolset] = field(default_factory=dict)
    #: Memories of the configuration, by their names.
    memories: Mapping[str, MemoryPolicy] = field(default_factory=dict)
    #: Backends of memories that plug-ins offer, by their names.
    backends: Mapping[str, MemoryBackend] = field(default_factory=dict)
    #: Lessons of requests, by the agent and its model.
    lessons: Callable[[str], Lessons] = lambda _: Own()
    #: Private hosts that URLs of models may lead to.
    private: PrivateHosts = field(default_factory=PrivateHosts)
    #: Persons' logins at MCP servers.
    logins: Logins = field(default_factory=Logins)
    #: Where plug-ins are looked for.
    plugins: PluginSource = field(default_factory=PluginSource)
    #: Its name: that of the entry which is made.
    name: str = ""


@dataclass(frozen=True, slots=True)
class Made:
    """An agent of an entry: its backend is made when it is first asked."""

    backend: Callable[[], Backend]
    #: The entry's, or worse ones of what it may call.
    effects: Effects
    #: Names of agents that it asks, each of whose effects may be its own.
    asks: tuple[str, ...] = ()
    #: Those that may go on in its place: likewise.
    handoffs: tuple[str, ...] = ()
    #: Backends of the same agent with other keys, by the names of those.
    keyed: Mapping[str, Callable[[], Backend]] = field(default_factory=dict)
    #: Names of the agents one of which answers in its place: likewise.
    among: tuple[str, ...] = ()
    route: RoutePolicy | None = None
    #: What it cannot do.
    lacks: frozenset[Capability] = frozenset()
    #: How its answers are kept, if they are: what it does is to be without effects then.
    cache: CachePolicy | None = None
    #: How much of a conversation it is told, where its function says it.
    window: WindowPolicy | None = None

    def __post_init__(self) -> None:
        """Refuse to cache what is done anew each time.

        Raises:
            ConfigurationError: it has effects.
        """
        if self.cache is not None and self.effects == "effect":
            raise ConfigurationError(
                "cache: it, or a tool of it, has effects: what it does is done for each who asks. "
                'Where it has none, say so: effects = "pure".'
            )


@dataclass(frozen=True, slots=True)
class SharedService:
    """A service of several agents that is probed and spared as one: a model API."""

    target: str
    check: Check
    #: The name of the key that is used there, where it is not the usual one.
    key: str = ""
    #: Whether tokens that are read from its cache count toward its limits.
    counts_cached: bool = True


E = TypeVar("E", bound=Described)


@dataclass(frozen=True, slots=True)
class Kind(Generic[E]):
    """One kind of agent.

    Args:
        name: The ``kind`` of its entries.
        entry: The model of its entries; fields that it does not know are refused.
        make: Makes an agent of an entry. Errors of the entry are ``ConfigurationError``.
        check: How such an agent is looked at without asking it; None: there is nothing to look at.
        provider: What it depends on together with others, if there is such a thing.
        outside: Whether it answers outside this process, and so has a breaker by default.
        expects: Whether its turns begin with calls that say what they expect.
    """

    name: str
    entry: type[E]
    make: Callable[[E, Resources], Made]
    check: Callable[[E], Check | None] = lambda _: None
    provider: Callable[[E], SharedService | None] = lambda _: None
    outside: bool = False
    expects: bool = False


#: What services lack that no model is behind, as far as one knows.
_PLAIN: frozenset[Capability] = frozenset({"stream"})


def _function(entry: FunctionEntry, r: Resources) -> Made:
    function = function_at(entry.function)
    mark = mark_of(function)
    stated = mark is None or "effects" in entry.model_fields_set
    effects = entry.effects if stated or mark is None else mark.effects
    cache = entry.cache or (None if mark is None else mark.cache)
    backend = FunctionBackend(
        function, effects=effects, executor=r.executor, caching=_caching(r, cache)
    )
    window = None if mark is None else mark.window
    return Made(lambda: backend, effects, cache=cache, lacks=backend.lacks, window=window)


def _model(made_by: ModelProvider, entry: ModelEntry, r: Resources) -> Made:
    provider = made_by(entry, clients=r.clients, resolve_secret=r.resolve_secret)
    # Another model has other lessons.
    about = digest([entry.provider, entry.base_url, entry.model])[:_DIGITS]
    lessons = r.lessons(f"{r.name}:{about}")
    model = ModelBackend(
        entry,
        provider,
        tools=memory_tools(entry.memory, r.memories, r.executor),
        toolsets=r.toolsets,
        executor=r.executor,
        known=r.known,
        lessons=lessons,
        caching=_caching(r, entry.cache),
    )

    def with_key(key: str) -> Backend:
        own = entry.model_copy(update={"api_key_env": key})
        keyed = made_by(own, clients=r.clients, resolve_secret=r.resolve_secret)
        return WithKey(model, keyed)

    return Made(
        lambda: model,
        worst((entry.effects, model.effects)),
        model.asks,
        entry.handoffs,
        cache=entry.cache,
        keyed={key: partial(with_key, key) for key in entry.keys},
        lacks=frozenset(entry.lacks),
    )


def _tools(entry: ToolsEntry, r: Resources) -> Made:
    backend = ToolsBackend(
        entry.tools,
        who=r.name,
        named=r.toolsets,
        approve=entry.approve,
        as_tasks=entry.as_tasks,
        executor=r.executor,
    )
    return Made(lambda: backend, worst((entry.effects, backend.effects)), lacks=_PLAIN)


def _caching(r: Resources, cache: CachePolicy | None) -> Caching | None:
    return None if cache is None else Caching(r.name, cache)


def _http(entry: HttpEntry, r: Resources) -> Made:
    def make() -> HttpBackend:
        config = HttpConfig.model_validate(entry.model_dump(include=set(HttpConfig.model_fields)))
        caching = _caching(r, entry.cache)
        about: Any = {"clients": r.clients, "resolve_secret": r.resolve_secret, "caching": caching}
        return HttpBackend(config, **about)

    return Made(make, entry.effects, cache=entry.cache, lacks=_PLAIN)


def _celery(entry: CeleryEntry, r: Resources) -> Made:
    return Made(lambda: r.celery(entry), entry.effects, lacks=_PLAIN | {"messages"})


def _pydantic_ai(entry: PydanticAIEntry, _: Resources) -> Made:
    agent = object_at(entry.agent)
    try:
        from agents.frameworks.pydantic_ai import PydanticAIBackend
    except ImportError as error:
        raise not_installed("pydantic-ai", "pydantic-ai", error) from None
    backend = PydanticAIBackend(agent, entry.agent)
    return Made(lambda: backend, entry.effects)


def _langgraph(entry: LangGraphEntry, _: Resources) -> Made:
    graph = object_at(entry.agent)
    try:
        from agents.frameworks.langgraph import LangGraphBackend
    except ImportError as error:
        raise not_installed("LangGraph", "langgraph", error) from None
    backend = LangGraphBackend(graph, entry.agent)
    return Made(lambda: backend, entry.effects)


def _openai_agents(entry: OpenAIAgentsEntry, _: Resources) -> Made:
    try:
        from agents.frameworks.openai_agents import OpenAIAgentsBackend
    except ImportError as error:
        raise not_installed(runners.SDK, "openai-agents", error) from None
    about: Any = {"price": entry.price, "max_turns": entry.max_turns}
    backend = OpenAIAgentsBackend(object_at(entry.agent), entry.agent, **about)
    return Made(lambda: backend, entry.effects)


def _router(entry: RouterEntry, r: Resources) -> Made:
    def nobody() -> Backend:
        raise ConfigurationError(f"{r.name} is a router: one of those that it has answers.")

    route = RoutePolicy(entry.by, entry.sticky, entry.adaptive)
    return Made(nobody, entry.effects, among=entry.among, route=route)


def _scripted(entry: ScriptedEntry, _: Resources) -> Made:
    return Made(lambda: ScriptedBackend(entry), entry.effects)


def _model_check(made_by: ModelProvider, entry: ModelEntry) -> Check:
    url = entry.base_url or made_by.endpoint
    return Get(entry.health_url) if entry.health_url else connection_to(url)


def _http_check(entry: HttpEntry) -> Check:
    return Get(entry.health_url) if entry.health_url else connection_to(entry.url)


def _router_check(entry: RouterEntry) -> Check:
    return AnyOf(tuple(f"agent:{name}" for name in entry.among))


def _model_provider(made_by: ModelProvider, entry: ModelEntry) -> SharedService:
    """The model's provider; another server is another provider."""
    host = f"@{urlsplit(entry.base_url).netloc}" if entry.base_url else ""
    target = f"provider:{entry.provider}{host}"
    check = connection_to(entry.base_url or made_by.endpoint)
    key = entry.api_key_env or next(iter(entry.keys), "")
    # docs.anthropic.com/en/api/rate-limits: "only uncached input tokens count".
    return SharedService(target, check, key, counts_cached=entry.provider != "anthropic")


def _of_model(name: str, made_by: ModelProvider) -> Kind[ModelEntry]:
    make = partial(_model, made_by)
    check, provider = partial(_model_check, made_by), partial(_model_provider, made_by)
    return Kind(name, ModelEntry, make, check, provider, outside=True, expects=True)


BUILT_IN: tuple[Kind[Any], ...] = (
    Kind("function", FunctionEntry, _function),
    *(_of_model(name, made_by) for name, made_by in PROVIDERS.items()),
    Kind("tools", ToolsEntry, _tools),
    Kind("http", HttpEntry, _http, _http_check, outside=True, expects=True),
    Kind("celery", CeleryEntry, _celery, lambda entry: Served(entry.queue), outside=True),
    Kind("pydantic_ai", PydanticAIEntry, _pydantic_ai, outside=True, expects=True),
    Kind("langgraph", LangGraphEntry, _langgraph, outside=True, expects=True),
    Kind("openai_agents", OpenAIAgentsEntry, _openai_agents, outside=True, expects=True),
    Kind("router", RouterEntry, _router, _router_check),
    Kind("scripted", ScriptedEntry, _scripted),
)


class Kinds(Mapping[str, Kind[Any]]):
    """Kinds by name: the built-in ones, and those of plug-ins, imported when one is looked up.

    A built-in one is not replaced by a plug-in's of its name.
    """

    def __init__(self, plugins: Plugins) -> None:
        self._plugins = plugins
        self._found = {kind.name: kind for kind in BUILT_IN}
        self._kinds, self._providers = plugins.offered("kinds"), plugins.offered("providers")

    def __getitem__(self, name: str) -> Kind[Any]:
        """The kind of that name.

        Raises:
            PluginError: it is a plug-in's, and that cannot be used.
        """
        if name not in self._found:
            offers = [*self._kinds.get(name, ()), *self._providers.get(name, ())]
            if not offers:
                raise KeyError(name)
            self._found[name] = self._loaded(name, offers)
        return self._found[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def failure(self, name: str, error: Exception) -> PluginError | None:
        """The error that names the plug-in of a kind whose code failed; None: it is built in."""
        offers: list[Contribution] = [
            *self._kinds.get(name, ()),
            *self._providers.get(name, ()),
        ]
        if not offers or self._found.get(name) in BUILT_IN:
            return None
        return offers[0].error(error_text(error))

    @property
    def _names(self) -> dict[str, None]:
        return dict.fromkeys([*self._found, *self._kinds, *self._providers])

    def _loaded(self, name: str, offers: list[Contribution]) -> Kind[Any]:
        found = self._plugins.load(offers)
        if offers[0].group == "providers":
            if not callable(found) or not _has_endpoint(found):
                raise offers[0].error(f"{shown(found)} is no provider of models")
            return _of_model(name, found)
        if not isinstance(found, Kind):
            raise offers[0].error(f"{shown(found)} is no Kind")
        if found.name != name:
            raise offers[0].error(f"its Kind is named {found.name!r}")
        return found


def _has_endpoint(found: Any) -> bool:
    try:
        return isinstance(getattr(found, "endpoint", None), str)
    except Exception:  # noqa: BLE001 - of a plug-in's code
        return False


def failure(kinds: Mapping[str, Kind[Any]], name: str, error: Exception) -> PluginError | None:
    """See :meth:`Kinds.failure`."""
    found: PluginError | None = kinds.failure(name, error) if isinstance(kinds, Kinds) else None
    return found


def all_kinds(plugins: Plugins | None = None) -> Kinds:
    """Kinds by name: the built-in ones, and those of plug-ins, by default of installed packages."""
    return Kinds(PluginSource().find() if plugins is None else plugins)


class BrokenEntry(Described):
    """The entry of an agent whose kind is a plug-in's that cannot be used."""

    model_config = ConfigDict(extra="ignore")
    why: str

    @property
    def problem(self) -> str:
        """Why it cannot."""
        return self.why


def _broken(entry: BrokenEntry, _: Resources) -> Made:
    def nobody() -> Backend:
        raise PluginError(entry.why)

    return Made(nobody, "effect", lacks=_PLAIN)


#: The kind of agents that cannot be made: asking one fails, and says why.
BROKEN = Kind("broken", BrokenEntry, _broken)


def broken_entry(table: Any, error: PluginError) -> BrokenEntry:
    """The entry that stands for one whose plug-in cannot be used, which is logged."""
    log.error("%s", error.message)
    return BrokenEntry(kind=table["kind"], why=error.message)


def entry_of(table: Any, kinds: Mapping[str, Kind[Any]]) -> Described:
    """The entry that a table of agents.toml is.

    Raises:
        ConfigurationError: its kind is not known, or a field is wrong; it names the field.
    """
    name = table.get("kind") if isinstance(table, dict) else None
    if not isinstance(name, str) or name not in kinds:
        raise ConfigurationError(f"kind: {name!r} is none of {', '.join(sorted(kinds))}.")
    try:
        entry: Described = kinds[name].entry.model_validate(table)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"{place + ': ' if place else ''}{first['msg']}.") from None
    except ConfigurationError:
        raise
    except Exception as error:
        if (failed := failure(kinds, name, error)) is None:
            raise
        raise failed from None
    return entry
