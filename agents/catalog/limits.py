"""The limits of agents.toml: ``[limits.NAME]``, and what they cover."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from celery_agents.contracts.base import mistakes
from celery_agents.contracts.limits import LimitPolicy
from celery_agents.errors import ConfigurationError

#: Names stand in keys, in front of whose a limit is.
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,60}")


def read_limits(path: Path, tables: Any) -> dict[str, LimitPolicy]:
    """The limits of the file's tables.

    Raises:
        ConfigurationError: one is not right; it names the field.
    """
    if not isinstance(tables, dict):
        raise ConfigurationError(f"{path}: limits have to be tables like [limits.name].")
    found: dict[str, LimitPolicy] = {}
    for name, table in tables.items():
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"{path}: [limits.{name}] a limit's name is of letters, digits and _ . -"
            )
        try:
            found[name] = LimitPolicy.model_validate(table)
        except ValidationError as error:
            place, why = mistakes(error, LimitPolicy)[0]
            where = "" if place == "payload" else f"{place}: "
            raise ConfigurationError(f"{path}: [limits.{name}] {where}{why}") from None
    return found


def check_covers(limits: Mapping[str, LimitPolicy], places: set[str]) -> None:
    """Refuse limits of what nobody is: a misspelt one would limit nothing.

    Raises:
        ConfigurationError: with the nearest right word.
    """
    for name, policy in limits.items():
        for cover in policy.covers:
            if cover not in places:
                near = get_close_matches(cover, sorted(places), n=1)
                meant = f" Did you mean {near[0]!r}?" if near else ""
                raise ConfigurationError(
                    f"[limits.{name}] covers: {cover!r} is no agent, kind or provider here.{meant}"
                )
