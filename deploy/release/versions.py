"""The version, in all places that name it, and the changelog's section of it."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, date, datetime
from pathlib import Path

#: Places of the version, each a pattern with the version as its one group.
PLACES = {
    "pyproject.toml": r'^version = "([^"]+)"',
    "uv.lock": r'^name = "celery-agents"\nversion = "([^"]+)"',
    "deploy/kubernetes/base/kustomization.yaml": r'newTag: "([^"]+)"',
    "docs/deployment.md": r"celery-agents:(\d[\w.]*)|celery_agents-(\d[\w.]*)-py3-none-any\.whl",
}
CHANGELOG = "CHANGELOG.md"
_OPEN = "## [Unreleased]\n"
#: Of PEP 440: releases and their candidates, without epochs and local parts.
_VERSION = re.compile(r"\d+\.\d+\.\d+((a|b|rc)\d+)?")


def version(root: Path) -> str:
    """Return the version of the project file."""
    found = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    return str(found)


def disagreements(root: Path) -> list[str]:
    """Return a line for each place that names another version than the project file, or none."""
    wanted, lines = version(root), []
    for name, pattern in PLACES.items():
        found = _named(pattern, (root / name).read_text("utf-8"))
        if not found:
            lines.append(f"{name} names no version")
        lines += [f"{name} says {other}, pyproject.toml {wanted}" for other in found - {wanted}]
    return lines


def undated(root: Path) -> list[str]:
    """Return what the changelog lacks for this version to be published."""
    wanted, text = version(root), (root / CHANGELOG).read_text("utf-8")
    section = re.search(rf"^## \[{re.escape(wanted)}\] - (.*)$", text, re.MULTILINE)
    if section is None:
        return [f"{CHANGELOG} has no section for {wanted}"]
    try:
        date.fromisoformat(section[1])
    except ValueError:
        return [f"{CHANGELOG} has no date for {wanted}: {section[1]}"]
    if _unreleased(text).strip():
        return [f"{CHANGELOG} has changes under Unreleased: they are of no version"]
    return []


def set_to(root: Path, wanted: str, today: date | None = None) -> list[str]:
    """Write a version to all places, and what is unreleased to its section; the files changed.

    Raises:
        SystemExit: it is no version, or has its date already.
    """
    if not _VERSION.fullmatch(wanted):
        raise SystemExit(f"release: {wanted} is no version such as 1.2.0 or 1.2.0rc1")
    changelog = root / CHANGELOG
    text = _closed(changelog.read_text("utf-8"), wanted, today or datetime.now(UTC).date())
    changelog.write_text(text, encoding="utf-8")
    for name, pattern in PLACES.items():
        source = (root / name).read_text("utf-8")
        changed = re.sub(pattern, lambda m: _with(m, wanted), source, flags=re.MULTILINE)
        (root / name).write_text(changed, encoding="utf-8")
    return [CHANGELOG, *PLACES]


def _closed(text: str, wanted: str, today: date) -> str:
    """Close the open section; a section of this version without a date is merged into it."""
    body, head = _unreleased(text), f"## [{wanted}] - {today.isoformat()}\n"
    old = re.search(rf"^## \[{re.escape(wanted)}\] - (.*)\n", text, re.MULTILINE)
    if old and old[1] != "unreleased":
        raise SystemExit(f"release: {CHANGELOG} has {wanted} already: {old[1]}")
    if old:  # never published: what stands under both is its content
        rest = re.split(r"^## ", text.partition(old[0])[2], maxsplit=1, flags=re.MULTILINE)[0]
        text, merged = text.replace(old[0] + rest, ""), _merged(body, rest)
    else:
        merged = body
    return text.replace(_OPEN + body, f"{_OPEN}\n{head}{merged}", 1)


def _merged(*bodies: str) -> str:
    """Put the lines of several sections below one heading of each kind."""
    kinds: dict[str, list[str]] = {}
    for body in bodies:
        for part in re.split(r"^### ", body, flags=re.MULTILINE)[1:]:
            kind, _, lines = part.partition("\n")
            kinds.setdefault(kind.strip(), []).append(lines.strip())
    return "".join(f"\n### {kind}\n" + "\n".join(k) + "\n" for kind, k in kinds.items()) + "\n"


def _unreleased(text: str) -> str:
    """Return what stands between the open section's head and the next one's."""
    return re.split(r"^## ", text.partition(_OPEN)[2], maxsplit=1, flags=re.MULTILINE)[0]


def _named(pattern: str, text: str) -> set[str]:
    return {v for m in re.finditer(pattern, text, re.MULTILINE) for v in m.groups() if v}


def _with(match: re.Match[str], wanted: str) -> str:
    old = next(v for v in match.groups() if v)
    return match[0].replace(old, wanted)
