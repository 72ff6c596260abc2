"""Asking an agent of one file, without a service: ``./run ask FILE AGENT INPUT``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from celery_agents import Client
from celery_agents.cli import tell
from celery_agents.errors import AgentsError, ConfigurationError
from deploy.local.stack import Stack

#: An agent of a first file answers sooner, or something is wrong with it.
PATIENCE_S = 120.0


def environment(file: Path) -> dict[str, str]:
    """The variables with which a worker offers the agents of a file.

    Raises:
        ConfigurationError: there is no such file, or another module has its name.
    """
    if not file.is_file():
        raise ConfigurationError(f"There is no file {file}.")
    name, folder = file.stem, str(file.resolve().parent)
    if not name.isidentifier() or file.suffix != ".py" or _is_taken(name, file):
        raise ConfigurationError(
            f"{file} cannot be imported under its name: another module is called {name}, or it is "
            "no name of a module. Call the file something else, such as hello.py."
        )
    path = os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {"AGENTS_MODULES": json.dumps([name]), "PYTHONPATH": path}


def _is_taken(name: str, file: Path) -> bool:
    if name in sys.builtin_module_names:
        return True
    found = find_spec(name)
    return found is not None and not (found.origin and Path(found.origin).samefile(file))


def ask(stack: Stack, words: Sequence[str]) -> int:
    """Print the answer of an agent; 1 when there is none, with what the worker said."""
    _, agent, text = words
    with Client(stack.redis_url) as client:
        try:
            tell(client.ask(agent, text).get(timeout=PATIENCE_S))
        except AgentsError as error:
            print(f"run: {error.kind}: {error}", file=sys.stderr)
            return 1
    return 0
