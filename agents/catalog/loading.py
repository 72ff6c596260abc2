"""Loading what a configuration names, with errors that say which name is wrong."""

from __future__ import annotations

import importlib
import sys
import tomllib
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from celery_agents.errors import ConfigurationError

_SECTIONS = (
    "agents",
    "limits",
    "budgets",
    "guards",
    "tenants",
    "panels",
    "tools",
    "memory",
    "plugins",
    "mcp",
)


def object_at(path: str) -> Any:
    """The object ``module:name``; None when the module has none of that name."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name, None)


def function_at(path: str) -> Callable[..., Any]:
    """The function ``module:name``."""
    function = object_at(path)
    if not callable(function):
        raise ConfigurationError(f"{path} is not a function.")
    return function  # type: ignore[no-any-return]  # object_at's


def import_module(module: str) -> ModuleType:
    """Import a module by its name."""
    try:
        return sys.modules.get(module) or importlib.import_module(module)
    except ImportError as error:
        text = f"The module {module!r} cannot be imported: {error}{_place(error)}."
        raise ConfigurationError(text) from error


def _place(error: ImportError) -> str:
    """The line of somebody's module that could not import something; none of the import itself."""
    frames = traceback.extract_tb(error.__traceback__)[1:]
    theirs = [f for f in frames if f.filename != importlib.__file__ and f.filename[0] != "<"]
    return f" ({theirs[-1].filename}, line {theirs[-1].lineno})" if theirs else ""


def see_current_directory() -> None:
    """Find modules with agents where Celery finds the app that ``-A`` names.

    The program ``celery`` has that directory on its path only while it imports the app; what the
    agents import later, in their functions, is found too.
    """
    if not {"", here := str(Path.cwd())} & set(sys.path):
        sys.path.insert(0, here)


def read_tables(path: Path) -> dict[str, Any]:
    """The sections of an agents.toml.

    Raises:
        ConfigurationError: the file cannot be read, or has others.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ConfigurationError(f"{path} is not TOML: {error}.") from error
    if not (data and isinstance(data.get("agents", {}), dict)) or data.keys() - {*_SECTIONS}:
        told = ", ".join(f"[{section}.name]" for section in _SECTIONS)
        raise ConfigurationError(f"{path} has to consist of tables like {told}.")
    return data
