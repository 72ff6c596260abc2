"""The limits and budgets of agents.toml: ``[limits.NAME]``, ``[budgets.NAME]``; what they cover."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import ValidationError

from celery_agents.contracts.base import Contract, mistakes
from celery_agents.errors import ConfigurationError

P = TypeVar("P", bound=Contract)


class CoversAgents(Protocol):
    """A policy that says for what it holds."""

    @property
    def covers(self) -> tuple[str, ...]:
        """The agents, kinds and providers."""
        ...


#: Names stand in keys, in front of whose a limit is.
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,60}")


def read_policies(path: Path, section: str, tables: Any, form: type[P]) -> dict[str, P]:
    """The policies of a section's tables.

    Raises:
        ConfigurationError: one is not right; it names the field.
    """
    if not isinstance(tables, dict):
        raise ConfigurationError(f"{path}: {section} have to be tables like [{section}.name].")
    found: dict[str, P] = {}
    for name, table in tables.items():
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"{path}: [{section}.{name}] a {section.removesuffix('s')}'s name is of letters, "
                "digits and _ . -"
            )
        found[name] = read_policy(path, f"{section}.{name}", table, form)
    return found


def read_policy(path: Path, title: str, table: Any, form: type[P]) -> P:
    """The policy of one table.

    Raises:
        ConfigurationError: it is not right; it names the field.
    """
    try:
        return form.model_validate(table)
    except ValidationError as error:
        place, why = mistakes(error, form)[0]
        where = "" if place == "payload" else f"{place}: "
        raise ConfigurationError(f"{path}: [{title}] {where}{why}") from None


def check_covers(section: str, policies: Mapping[str, CoversAgents], places: set[str]) -> None:
    """Refuse policies for what nobody is: a misspelt one would hold for nothing.

    Raises:
        ConfigurationError: with the nearest right word.
    """
    for name, policy in policies.items():
        for cover in policy.covers:
            if cover not in places:
                alike = [one for one in places if one.startswith(f"{cover}@")]  # another server
                near = sorted(alike) or get_close_matches(cover, sorted(places), n=1)
                meant = f" Did you mean {near[0]!r}?" if near else ""
                raise ConfigurationError(
                    f"[{section}.{name}] covers: {cover!r} is no agent, kind or provider here."
                    f"{meant}"
                )
