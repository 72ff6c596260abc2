"""Asking an agent of one file, without a service: ``./run ask FILE AGENT INPUT``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from celery_agents import Client
from celery_agents.client.shell import plain
from celery_agents.errors import AgentsError, ConfigurationError
from deploy.local.stack import Stack
from deploy.local.state import ROOT

#: An agent of a first file answers sooner, or something is wrong with it.
PATIENCE_S = 120.0


def environment(file: Path) -> dict[str, str]:
    """The variables with which a worker offers the agents of a file.

    Raises:
        ConfigurationError: there is no such file, or another module has its name.
    """
    if not file.is_file():
        raise ConfigurationError(f"There is no file {file}.")
    name, folder = file.stem, file.resolve().parent
    if not name.isidentifier() or file.suffix != ".py" or _is_taken(file):
        raise ConfigurationError(
            f"{file} cannot be imported under its name: another module is called {name}, or it is "
            "no name of a module. Call the file something else, such as hello.py."
        )
    if hiding := sorted(path.name for path in _modules(folder) if _hides(path)):
        raise ConfigurationError(
            f"{', '.join(hiding)} beside {file.name}: programs that import modules of that name "
            f"would get these. Give {file.name} a folder of its own."
        )
    # After what is there already: a tasks.py or an app.py beside the file must not hide ours.
    path = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(folder)])
    return {"AGENTS_MODULES": json.dumps([name]), "PYTHONPATH": path}


def _modules(folder: Path) -> list[Path]:
    return [*folder.glob("*.py"), *(init.parent for init in folder.glob("*/__init__.py"))]


def _is_taken(path: Path) -> bool:
    """Return whether importing the name of a file, or of a package, gets something else."""
    found = _found(path)
    if found is None:
        return path.stem in sys.stdlib_module_names
    return not found.samefile(path if path.is_file() else path / "__init__.py")


def _hides(path: Path) -> bool:
    """Return whether a module is called as one of Python or of a package, which comes after it."""
    found = _found(path)
    ours = found and found.is_relative_to(ROOT) and not found.is_relative_to(sys.prefix)
    return _is_taken(path) and not ours


def _found(path: Path) -> Path | None:
    """The file of the module that has this name here; None: it has none, or there is none."""
    spec = find_spec(path.stem) if path.stem.isidentifier() else None
    return Path(spec.origin) if spec and spec.has_location and spec.origin else None


def ask(stack: Stack, words: Sequence[str]) -> int:
    """Print the answer of an agent; 1 when there is none, with what is known of why."""
    _, agent, text = words
    with Client(stack.redis_url) as client:
        try:
            print(plain(client.ask(agent, text).get(timeout=PATIENCE_S)))
        except AgentsError as error:
            where = f" ({error.details['where']})" if "where" in (error.details or {}) else ""
            print(f"run: {error.kind}: {error}{where}", file=sys.stderr)
            print(f"run: the worker's log is {stack.log('worker')}", file=sys.stderr)
            return 1
    return 0
