"""The Procfile: the one place where the commands of the service are written."""

from __future__ import annotations

import re
from pathlib import Path

from celery_agents.errors import ConfigurationError

_LINE = re.compile(r"(?P<name>[A-Za-z0-9_-]+):\s*(?P<command>\S.*)")


def parse(text: str) -> dict[str, str]:
    """Commands by name, in the order of the lines. Empty lines and ``#`` comments are skipped.

    Raises:
        ConfigurationError: a line is not ``name: command``, or a name stands twice.
    """
    commands: dict[str, str] = {}
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None or match["name"] in commands:
            reason = "is not 'name: command'" if match is None else f"repeats {match['name']}"
            raise ConfigurationError(f"Procfile, line {number} {reason}.")
        commands[match["name"]] = match["command"]
    return commands


def read(path: Path) -> dict[str, str]:
    """The commands of a Procfile."""
    return parse(path.read_text(encoding="utf-8"))


def argv(command: str) -> list[str]:
    """How a command is run: by the shell, which fills in variables and then becomes it."""
    return ["/bin/sh", "-c", f"exec {command}"]
