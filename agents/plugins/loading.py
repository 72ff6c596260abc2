"""Loading what a plug-in offers, so that one which fails, exits or hangs costs itself alone."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from agents.values import digest
from celery_agents.errors import ConfigurationError, redact

#: What the modules of folders are named below; two folders may have modules of one name.
PACKAGE = "celery_agents_plugin_"
_MISSING = object()
#: Imports that were left behind, by plug-in and module: what they have made so far is no module.
_hanging: dict[tuple[str, str], threading.Thread] = {}


class PluginError(ConfigurationError):
    """A plug-in cannot be used. Who names it fails with this; others do not."""


def load_value(value: str, folder: Path | None, name: str, *, limit_s: float) -> Any:
    """The module or object that ``value`` names, imported within a time.

    It is imported in a thread: one that hangs is left behind with it.

    Args:
        value: ``module`` or ``module:name``; of a folder ``.`` is the folder itself.
        folder: The plug-in's folder; None: an installed package.
        name: The plug-in's.
        limit_s: Seconds that it may take.

    Raises:
        PluginError: why it cannot be.
    """
    module, _, attribute = value.partition(":")

    def act() -> Any:
        found: Any = _imported(module, folder, name)
        for part in attribute.split(".") if attribute else ():
            found = getattr(found, part, _MISSING)  # it may be a function of the module
            if found is _MISSING:
                raise PluginError(f"{module} has no {attribute}")
        return found

    return _in_time((f"{name} {folder}", module), act, limit_s)


def _in_time(which: tuple[str, str], act: Callable[[], Any], limit_s: float) -> Any:
    left = _hanging.get(which)
    if left is not None and left.is_alive():
        raise PluginError("its import has not ended so far")
    found: list[Any] = []
    failed: list[str] = []

    def run() -> None:
        try:
            found.append(act())
        except PluginError as error:
            failed.append(error.message)
        except BaseException as error:  # noqa: BLE001 - SystemExit, too: it is another's code
            failed.append(f"its import failed with {error_text(error)}")

    thread = threading.Thread(target=run, name="agents-plugin", daemon=True)
    thread.start()
    thread.join(limit_s)
    if failed:
        raise PluginError(failed[0])
    if not found:
        _hanging[which] = thread
        raise PluginError(f"its import has not ended within {limit_s:g} s")
    return found[0]


def error_text(error: BaseException) -> str:
    """An error of a plug-in's code as a message quotes it."""
    try:
        return redact(f"{type(error).__name__}: {error}")
    except Exception:  # noqa: BLE001 - its text is made by that code, too
        return type(error).__name__


def _imported(module: str, folder: Path | None, name: str) -> ModuleType:
    if folder is None:
        return importlib.import_module(module)
    package = _package(folder, name)
    return package if module == "." else importlib.import_module(f"{package.__name__}.{module}")


def _package(folder: Path, name: str) -> ModuleType:
    """The folder as a package of its own name, which shadows nothing."""
    known = PACKAGE + "".join(c if c.isalnum() else "_" for c in name)
    if (there := sys.modules.get(known)) is not None and not _is_of(there, folder):
        # Another folder's. Names of tasks begin with the module's, so the first one keeps it.
        known += f"_{digest(str(folder))[:8]}"
        there = sys.modules.get(known)
    if there is not None:
        return there
    start = folder / "__init__.py"
    if not start.is_file():  # without one it is a package all the same
        package = ModuleType(known)
        package.__path__ = [str(folder)]
        sys.modules[known] = package
        return package
    spec = spec_from_file_location(known, start, submodule_search_locations=[str(folder)])
    if spec is None or spec.loader is None:
        raise ImportError(name)
    package = module_from_spec(spec)
    sys.modules[known] = package
    try:
        spec.loader.exec_module(package)
    except BaseException:
        sys.modules.pop(known, None)
        raise
    return package


def _is_of(package: ModuleType, folder: Path) -> bool:
    return str(folder) in package.__path__
