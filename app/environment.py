"""Errors in the environment variables of a process, in words that name them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from celery_agents.contracts.nearest import meant
from celery_agents.errors import redact

PREFIX = "AGENTS_"
#: Settings that have no prefix.
BARE = frozenset({"redis_url", "database_url"})
#: Settings whose values are never shown.
_SECRET = BARE | {"jwt_keys", "fernet_keys"}
#: What pydantic misses in a value, by its kind of error.
_WANTED = {
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a smaller number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "path_type": "a path",
    "tuple_type": "a list of names",
    "string_type": "a text",
}
_LIMITS = {
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "{ge:g} or more",
    "less_than_equal": "{le:g} or less",
}


def variable_of(setting: str) -> str:
    """The variable that a setting is read from."""
    return setting.upper() if setting in BARE else f"{PREFIX}{setting.upper()}"


def problems(error: ValidationError) -> str:
    """Describe pydantic's errors in settings, each with the name of its variable."""
    return " ".join(_problem(found) for found in error.errors())


def _problem(found: Any) -> str:
    setting = str(found["loc"][0]).lower() if found["loc"] else ""
    kind, value = found["type"], found["input"]
    wanted = _WANTED.get(kind)
    if (limit := _LIMITS.get(kind)) is not None:
        wanted = limit.format(**found["ctx"])
    elif kind == "value_error":  # a validator of ours
        wanted = str(found["ctx"]["error"])
    said = f"it has to be {wanted}" if wanted else str(found["msg"])
    shown = "" if setting in _SECRET else f", and not {redact(repr(value), limit=100)}"
    return f"{variable_of(setting)} cannot be read: {said}{shown}."


def unknown(environ: Mapping[str, str], settings: Iterable[str], *, named: str = "") -> list[str]:
    """A line for each variable that looks like a setting and is none.

    ``named`` is text in which variables of other uses stand, such as the keys of agents.
    """
    known = {variable_of(s): s for s in settings}
    return [
        f"{name} is no setting, and changes nothing{_advice(name, known.values())}"
        for name in sorted(environ)
        if name.upper().startswith(PREFIX) and name.upper() not in known and name not in named
    ]


def _advice(name: str, settings: Iterable[str]) -> str:
    near = meant(name.upper().removeprefix(PREFIX).lower(), settings, variable_of)
    return near or ". docs/settings.md lists them."
