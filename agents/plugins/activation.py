"""Activation: the line of agents.toml that says whether a plug-in is active."""

from __future__ import annotations

import os
import re
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from celery_agents.errors import ConfigurationError

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_HEADER = re.compile(r"\s*\[")
_ACTIVE = re.compile(r"(\s*active\s*=\s*)(true|false)\b")


def set_active(config: Path, name: str, *, active: bool) -> None:
    """Write ``[plugins.NAME] active`` into a configuration; all else stays as it is.

    Raises:
        ConfigurationError: the file cannot be read or written, or not changed in one line.
    """
    path = config.resolve()  # a link stays a link
    try:
        text = path.read_text(encoding="utf-8")
        before = tomllib.loads(text)
        after = _changed(text, name, active=active)
        fits = tomllib.loads(after) == _with(before, name, active=active)
        if fits and after != text:
            _replace(path, after)
    except OSError as error:
        raise ConfigurationError(f"{config} cannot be written: {error.strerror}.") from None
    except ValueError:
        fits = False
    if not fits:
        raise ConfigurationError(
            f"{config} cannot be changed by a program. Write it there yourself: "
            f"[plugins.{_key(name)}] with active = {_toml(active)}"
        )


def _changed(text: str, name: str, *, active: bool) -> str:
    lines = text.splitlines(keepends=True)
    header = re.compile(rf"\s*\[\s*plugins\s*\.\s*[\"']?{re.escape(name)}[\"']?\s*\]")
    start = next((at for at, line in enumerate(lines) if header.match(line)), None)
    if start is None:
        gap = "" if not text or text.endswith("\n\n") else "\n" if text.endswith("\n") else "\n\n"
        return f"{text}{gap}[plugins.{_key(name)}]\nactive = {_toml(active)}\n"
    for at in range(start + 1, len(lines)):
        if _HEADER.match(lines[at]):
            break
        if _ACTIVE.match(lines[at]):
            lines[at] = _ACTIVE.sub(rf"\g<1>{_toml(active)}", lines[at], count=1)
            return "".join(lines)
    ended = lines[start] if lines[start].endswith("\n") else f"{lines[start]}\n"
    lines[start] = f"{ended}active = {_toml(active)}\n"
    return "".join(lines)


def _with(before: dict[str, Any], name: str, *, active: bool) -> dict[str, Any]:
    """The file's content as it is to be."""
    plugins = before.get("plugins", {})
    return before | {"plugins": plugins | {name: plugins.get(name, {}) | {"active": active}}}


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else f'"{name}"'


def _toml(active: bool) -> str:
    return "true" if active else "false"


def _replace(path: Path, text: str) -> None:
    """Write it whole or not at all, with the rights that it had."""
    handle, there = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(there).chmod(path.stat().st_mode & 0o7777)
        Path(there).replace(path)
    except BaseException:
        Path(there).unlink(missing_ok=True)
        raise
