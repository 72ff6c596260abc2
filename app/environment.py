"""Errors in the environment variables of a process, in words that name them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource

from celery_agents.contracts.nearest import meant
from celery_agents.errors import ConfigurationError, redact

PREFIX = "AGENTS_"
#: The folder of mounted secrets.
SECRETS_DIR = "AGENTS_SECRETS_DIR"
#: Files that stand for variables; others (``..data`` of Kubernetes) are none.
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
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


def mount(environ: MutableMapping[str, str]) -> None:
    """Set the variables for which files of the folder :data:`SECRETS_DIR` stand.

    One that is set already stays. A line end behind a secret is not of it: editors make one.

    Raises:
        ConfigurationError: the folder or a file of it cannot be read.
    """
    if not (folder := environ.get(SECRETS_DIR)):
        return
    try:
        files = [f for f in Path(folder).iterdir() if _VARIABLE.fullmatch(f.name) and f.is_file()]
        for file in files:
            if not environ.get(file.name):
                environ[file.name] = file.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        why = f"{error.filename or folder} cannot be read: {error.strerror}."
        raise ConfigurationError(f"{SECRETS_DIR}: {why}") from error
    except ValueError:  # what it quotes is a secret
        raise ConfigurationError(f"{SECRETS_DIR}: {file} has a secret that is no text.") from None


def variable_of(setting: str) -> str:
    """The variable that a setting is read from."""
    return setting.upper() if setting in BARE else f"{PREFIX}{setting.upper()}"


class SetVariables(EnvSettingsSource):
    """Reads settings from the variables that are set.

    pydantic looks up how each setting would be read, set or not: half of what a process takes to
    read them all.
    """

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return a variable's value, the name of its field, and whether it is JSON."""
        if variable_of(field_name).lower() not in self.env_vars:
            return None, field_name, True
        return super().get_field_value(field, field_name)

    def prepare_field_value(
        self, field_name: str, field: FieldInfo, value: Any, value_is_complex: bool
    ) -> Any:
        """Return what a variable's value stands for."""
        if value is None:
            return None
        return super().prepare_field_value(field_name, field, value, value_is_complex)


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
