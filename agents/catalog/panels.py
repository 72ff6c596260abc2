"""The panels of agents.toml: ``[panels.NAME]``, patterns that are asked by one name.

[panels.triage]
task = "vote"
voters = ["gpt", "claude", "gemini"]
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from agents.catalog.limits import read_policy
from agents.catalog.loading import read_tables
from celery_agents.contracts.ask import StepOptions
from celery_agents.contracts.base import Name
from celery_agents.contracts.gather import Gather
from celery_agents.contracts.mapping import Map
from celery_agents.contracts.nearest import meant
from celery_agents.contracts.patterns import Fallback, Vote
from celery_agents.contracts.teams.solve import Strategy
from celery_agents.errors import ConfigurationError

#: The patterns that a panel can be, by the word for each.
PATTERNS: dict[str, type[StepOptions]] = {"fallback": Fallback, "vote": Vote, "gather": Gather}
#: Options that whoever asks gives, and fields of ours.
_ASKED = ("input", "instructions", "stream", "answer_schema")
_OWN = ("task", "description")
#: Fields of contracts that hold names of agents.
_NAMING = frozenset({"agent", "agents", "base", "judge", "backups", "lead", "members", "select"})
_NAME: TypeAdapter[str] = TypeAdapter(Name)


@dataclass(frozen=True, slots=True)
class Panel:
    """A pattern with its options, to which an input alone is missing."""

    name: str
    #: ``vote``, ``fallback`` or ``gather``.
    task: str
    request: StepOptions
    description: str = ""

    @property
    def options(self) -> dict[str, Any]:
        """The options of its messages, without those at their defaults."""
        return self.request.message_options()

    @property
    def agents(self) -> set[str]:
        """The agents that it may ask."""
        return set(agents_of(self.request))


def agents_of(body: BaseModel) -> Iterable[str]:
    """Names of all agents that are asked by a request, wherever they stand in it."""
    for name in type(body).model_fields:
        value = getattr(body, name)
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, BaseModel):
                yield from agents_of(one.request if isinstance(one, Strategy) else one)
            elif name in _NAMING and isinstance(one, str) and (one or not _names_others(body)):
                yield one


def _names_others(body: BaseModel) -> bool:
    """Return whether a map names whom it asks elsewhere than in ``agent``."""
    return isinstance(body, Map) and (bool(body.agents) or body.each is not None)


def read_panels(config: Path | None) -> dict[str, Panel]:
    """The panels of a file; of none, none.

    Raises:
        ConfigurationError: the file cannot be read, or one is not right; it names the field.
    """
    if config is None:
        return {}
    tables = read_tables(config).get("panels", {})
    if not isinstance(tables, dict):
        raise ConfigurationError(f"{config}: panels have to be tables like [panels.name].")
    return {name: _panel(config, name, table) for name, table in tables.items()}


def _panel(path: Path, name: str, table: Any) -> Panel:
    place = f"{path}: [panels.{name}]"
    try:
        _NAME.validate_python(name)
    except ValidationError:
        raise ConfigurationError(f"{place} that is no name.") from None
    about = dict(table) if isinstance(table, dict) else {}
    task, description = about.pop("task", None), about.pop("description", "")
    if task not in PATTERNS or not isinstance(description, str):
        raise ConfigurationError(f"{place} task has to be one of {', '.join(PATTERNS)}.")
    if given := [field for field in _ASKED if field in about]:
        raise ConfigurationError(f"{place} {given[0]}: whoever asks gives it.")
    request = read_policy(path, f"panels.{name}", about, PATTERNS[task])
    return Panel(name, task, request, description)


def check_panels(panels: Mapping[str, Panel], agents: Iterable[str]) -> None:
    """Refuse panels of agents that are not there, or that are named as one.

    Raises:
        ConfigurationError: with the nearest right name.
    """
    known = set(agents)
    for panel in panels.values():
        if panel.name in known:
            raise ConfigurationError(f"[panels.{panel.name}] there is an agent of that name.")
        for agent in sorted(panel.agents - known):
            raise ConfigurationError(
                f"[panels.{panel.name}] {agent!r} is no agent of this worker"
                f"{meant(agent, known, repr)}"
            )
