"""The tools of one answer: what its model is told of them, and where each is."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self, TypeVar

from agents.plain import plain_json
from agents.tools.base import NAME, Tool, worst
from agents.tools.calls import ToolSpec
from agents.tools.patterns import approved
from agents.tools.policy import Approve, ToolPolicy
from agents.tools.search import SEARCHED_ABOVE, KeptIndex, ToolIndex, ToolSearch
from agents.tools.toolset import FunctionToolset, Toolset
from agents.values import shown
from celery_agents.contracts.nearest import meant
from celery_agents.errors import ConfigurationError, InvalidPayloadError
from celery_agents.values import mended

T = TypeVar("T", bound=Toolset)


@dataclass(frozen=True, slots=True)
class OfferedTool:
    """A tool of one answer: as its model is told of it, whose it is, how it is called."""

    spec: ToolSpec
    home: Toolset
    policy: ToolPolicy
    #: A function's call that is made as it stands: no journal, no cache, no person, nothing of
    #: what others wrote.
    is_plain: bool = False
    #: Whether its calls are told their key.
    needs_key: bool = True

    @classmethod
    def of(cls, spec: ToolSpec, home: Toolset, policy: ToolPolicy) -> Self:
        """One, with what follows from where it is and how it is called."""
        if type(home).call is not FunctionToolset.call:
            return cls(spec, home, policy)
        assert isinstance(home, FunctionToolset)
        free = policy.approve == "never" and policy.cache_s is None and not policy.untrusted
        plain = policy.effects == "pure" and free
        return cls(spec, home, policy, plain, home.needs_key(spec.name))


@dataclass(frozen=True)
class Offered:
    """The tools of one answer, by their names.

    Of many tools those of toolsets are not shown to the model at first: it searches them.
    """

    tools: Mapping[str, OfferedTool]
    #: Names of those that are searched.
    searched: frozenset[str] = frozenset()
    indexes: KeptIndex = field(default_factory=KeptIndex)
    _homes: dict[tuple[str, type], Toolset | None] = field(
        default_factory=dict, repr=False, compare=False
    )

    def home(self, name: str, kind: type[T]) -> T | None:
        """The toolset that has the tool of that name, if it is of that kind.

        It is looked up once: toolsets are protocols, whose instances are told slowly.
        """
        try:
            found: Any = self._homes[name, kind]
        except KeyError:
            tool = self.tools.get(name)
            found = None if tool is None or not isinstance(tool.home, kind) else tool.home
            if tool is not None:
                self._homes[name, kind] = found
        return found  # type: ignore[no-any-return]

    @cached_property
    def specs(self) -> tuple[ToolSpec, ...]:
        """The tools as their model is told of them at first."""
        shown = (t.spec for name, t in self.tools.items() if name not in self.searched)
        return (*shown, self.search().spec) if self.searched else tuple(shown)

    def index(self) -> ToolIndex:
        """The index of those that are searched."""
        return self.indexes.of([self.tools[name].spec for name in sorted(self.searched)])

    def search(self) -> ToolSearch:
        """The search of one answer, which has found nothing yet."""
        return ToolSearch(self.index, len(self.searched))

    def only(self, names: Sequence[str]) -> Offered:
        """Those of these names.

        Raises:
            InvalidPayloadError: one is not among them.
        """
        if missing := [name for name in names if name not in self.tools]:
            near = meant(missing[0], self.tools, repr)
            raise InvalidPayloadError(f"tools: its agent has no {missing[0]!r}{near}")
        kept = {name: tool for name, tool in self.tools.items() if name in names}
        searched = self.searched & kept.keys() if len(kept) > SEARCHED_ABOVE else frozenset[str]()
        return Offered(kept, searched, self.indexes)

    @classmethod
    def of(
        cls,
        found: Iterable[tuple[Toolset, Iterable[ToolSpec]]],
        *,
        approve: Mapping[str, Approve] | None = None,
        shown: Collection[Toolset] = (),
        indexes: KeptIndex | None = None,
    ) -> Self:
        """The tools of several toolsets; ``approve`` wins over what they say themselves.

        Above :data:`SEARCHED_ABOVE` tools, those of toolsets that are not ``shown`` are searched.

        Raises:
            ConfigurationError: two have one name.
        """
        tools: dict[str, OfferedTool] = {}
        for toolset, specs in found:
            for spec in specs:
                if (other := tools.get(spec.name)) is not None:
                    raise ConfigurationError(
                        f"Two tools are named {spec.name!r}: one of {other.home.name!r}, one of "
                        f"{toolset.name!r}. Put Prefixed(…) or Filtered(…) around a toolset."
                    )
                policy = spec.policy or ToolPolicy(effects=toolset.effects)
                policy = approved(spec.name, policy, approve or {})
                # No model is told of a policy: who changes one does not have it asked anew.
                told = spec.model_copy(update={"policy": None})
                tools[spec.name] = OfferedTool.of(told, toolset, policy)
        if len(tools) <= SEARCHED_ABOVE:
            return cls(tools)
        searched = frozenset(n for n, t in tools.items() if t.home not in shown)
        if searched and ToolSearch.name in tools:
            raise ConfigurationError(
                f"{len(tools):,} tools are searched, by a tool named {ToolSearch.name!r}: give the "
                "one that has this name another."
            )
        return cls(tools, searched, indexes or KeptIndex())


def spec_of(toolset: Toolset, tool: Tool | ToolSpec) -> ToolSpec:
    """A tool as a model is told of it.

    Raises:
        ConfigurationError: it is none, has a name that no provider takes, or more effects than its
            toolset says.
    """
    try:
        spec = ToolSpec(
            name=tool.name,
            description=mended(tool.description),
            parameters=mended(plain_json(tool.parameters)),
            policy=tool.policy,
        )
    except (AttributeError, ValueError, TypeError):
        message = f"The toolset {toolset.name!r} lists what is no tool: {shown(tool)}."
        raise ConfigurationError(message) from None
    if not NAME.fullmatch(spec.name):
        raise ConfigurationError(
            f"The toolset {toolset.name!r} lists {shown(spec.name)}, which is no name for a tool: "
            f"use {NAME.pattern}"
        )
    own = toolset.effects if spec.policy is None else spec.policy.effects
    if worst((own, toolset.effects)) != toolset.effects:
        raise ConfigurationError(
            f"The toolset {toolset.name!r} lists {spec.name!r}, whose effects are "
            f"{own!r}, and says that its own are {toolset.effects!r}."
        )
    return spec
