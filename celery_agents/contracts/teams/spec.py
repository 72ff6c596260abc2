"""An agent for one task: a registered one, narrowed. It travels in rows, as data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Self

from pydantic import Field, GetJsonSchemaHandler, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from celery_agents.contracts.base import Contract, Name, also

#: Of one team, with those of its sub-teams; and how deep those stand in each other.
MEMBERS_MAX, SUBTEAMS_MAX = 100, 5
#: The weight of a trait that is named without one.
TRAIT = 0.5
#: A name that a model can call its bearer by, behind ``ask_``.
SPEC_NAME = r"^[A-Za-z0-9_-]{1,50}$"
SpecName = Annotated[str, Field(pattern=SPEC_NAME, strict=True)]
Share = Annotated[float, Field(ge=0, le=1, strict=True)]


class AgentSpec(Contract):
    """A registered agent, the ``base``, narrowed for a task. A plain string is the base as it is.

    It can never do more than its base: it has that one's model, keys, limits and effects, all of
    its instructions, and of its tools those that are named. So it needs no registering. ``traits``
    may be a list of words. Those in ``members`` are its sub-team, whom it may ask as well.
    """

    base: Name
    #: By which others ask it, and reports tell of it; that of the base where it has none.
    name: SpecName | None = None
    #: What it is for, as those are told who may ask it.
    description: Annotated[str, Field(max_length=1000)] = ""
    #: Beside its base's own.
    instructions: Annotated[str, Field(max_length=100_000)] | None = None
    #: Words of the worker's table, as agents.toml has them, with their weights.
    traits: Annotated[dict[Name, Share], Field(max_length=50)] = Field(default_factory=dict)
    #: Names of tools of the base, as its model knows them; None: all that it has.
    tools: Annotated[tuple[Name, ...], Field(max_length=200)] | None = None
    members: Annotated[tuple[AgentSpec, ...], Field(max_length=MEMBERS_MAX)] = ()

    @model_validator(mode="before")
    @classmethod
    def _base_alone(cls, value: Any) -> Any:
        return {"base": value} if isinstance(value, str) else value

    @field_validator("traits", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        return dict.fromkeys(value, TRAIT) if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _is_a_team(self) -> Self:
        check_team(self.members)
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return also(core_schema, handler, Name)

    @property
    def called(self) -> str:
        """Its name, or that of its base."""
        return self.name or self.base

    @property
    def plain(self) -> bool:
        """True where it is its base, as that is."""
        return self == AgentSpec(base=self.base)

    @property
    def narrows(self) -> bool:
        """True where it is not just its base under another name."""
        return bool(self.instructions or self.traits or self.members) or self.tools is not None


def check_team(members: Sequence[AgentSpec]) -> None:
    """Refuse members whom nobody could tell apart, and too many of them.

    Raises:
        ValueError: two have one name; or there are too many, with their sub-teams.
    """
    called = [one.called for one in members]
    if twice := next((name for name in called if called.count(name) > 1), None):
        raise ValueError(f"members: two are named {twice!r}; give each a name")
    if sum(1 for _ in with_members(members)) > MEMBERS_MAX:
        raise ValueError(f"members: they are more than {MEMBERS_MAX}, with their sub-teams")
    if _depth(members) > SUBTEAMS_MAX:
        raise ValueError(f"members: sub-teams stand more than {SUBTEAMS_MAX} deep in each other")


def with_members(specs: Sequence[AgentSpec]) -> Iterator[AgentSpec]:
    """Give specs, and all of their sub-teams."""
    for spec in specs:
        yield spec
        yield from with_members(spec.members)


def _depth(members: Sequence[AgentSpec]) -> int:
    return 1 + max(_depth(one.members) for one in members) if members else 0
