"""Plug-ins for tests: packages as an installer leaves them, and folders with a plugin.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path


def package(
    site: Path, name: str, points: Mapping[str, str], modules: Mapping[str, str] | None = None
) -> None:
    """Lay down a distribution with entry points: ``{"group/name": "module:attribute"}``."""
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nSummary: It is {name}.\n"
    (info / "METADATA").write_text(about)
    groups: dict[str, list[str]] = {}
    for point, value in points.items():
        group, _, own = point.rpartition("/")
        groups.setdefault(group, []).append(f"{own} = {value}")
    text = "".join(f"[{group}]\n" + "\n".join(own) + "\n" for group, own in groups.items())
    (info / "entry_points.txt").write_text(text)
    for module, code in (modules or {}).items():
        (site / f"{module}.py").write_text(code)


def folder(parent: Path, name: str, about: object, **files: str) -> Path:
    """Lay down a folder with a plugin.json, and modules."""
    path = parent / name
    path.mkdir(parents=True)
    told = about if isinstance(about, str) else json.dumps(about)
    (path / "plugin.json").write_text(told)
    for module, code in files.items():
        (path / f"{module}.py").write_text(code)
    return path
