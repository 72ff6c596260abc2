"""The built-in tools by category, and the choice of some."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from importlib.util import find_spec
from typing import Any

from agents.tools.base import Tool
from agents.tools.patterns import fits
from agents.toolsets.builtin import (
    algebra,
    calendars,
    data,
    dates,
    figures,
    files,
    maths,
    text_changing,
    text_reading,
    web,
)
from agents.toolsets.builtin.offer import LACKING, Offer, made, offer_of
from celery_agents.errors import ConfigurationError

Function = Callable[..., Any]


#: The tools of each category.
CATEGORIES: Mapping[str, tuple[Function, ...]] = {
    "text": (*text_reading.TOOLS, *text_changing.TOOLS),
    "data": data.TOOLS,
    "files": files.TOOLS,
    "web": web.TOOLS,
    "maths": (*maths.TOOLS, *algebra.TOOLS, *figures.TOOLS),
    "dates": (*dates.TOOLS, *calendars.TOOLS),
}


def functions() -> dict[str, Function]:
    """The functions of all built-in tools, by category and name: ``text.count_text``."""
    return {f"{c}.{f.__name__}": f for c, those in CATEGORIES.items() for f in those}


def offers() -> dict[str, Offer]:
    """All built-in tools with what is known of them beside their signatures."""
    return {name: offer_of(function) for name, function in functions().items()}


def chosen(
    use: Iterable[str], exclude: Iterable[str], homes: Mapping[str, Any] | None = None
) -> list[Tool]:
    """The tools whose names fit, and for which the toolset has a home.

    Raises:
        ConfigurationError: a pattern fits none, or a package is missing that one of them needs.
    """
    there, homes = functions(), homes or {}
    homeless = {n: h for n, f in there.items() if (h := offer_of(f).home) and h not in homes}
    for field, pattern in [*(("use", one) for one in use), *(("exclude", one) for one in exclude)]:
        fitting = [name for name in there if fnmatchcase(name, pattern)]
        if not fitting:
            told = ", ".join(CATEGORIES)
            raise ConfigurationError(f"{field}: {pattern!r} fits no built-in tool of {told}.")
        if all(name in homeless for name in fitting) and field == "use":
            raise ConfigurationError(f"use: {pattern!r} needs {LACKING[homeless[fitting[0]]]}.")
    names = [n for n in there if fits(n, use) and not fits(n, exclude) and n not in homeless]
    needs = {need for name in names for need in offer_of(there[name]).needs}
    if missing := sorted(need for need in needs if find_spec(need) is None):
        raise ConfigurationError(
            f"use: {', '.join(missing)} cannot be imported: pip install 'celery-agents[tools]'"
        )
    return [made(there[name], homes) for name in names]
