"""The plug-ins that there are: installed distributions, and folders with a ``plugin.json``.

Finding them reads what they say of themselves and imports nothing, so that a broken one can be
listed. One is used where the configuration names it: its tools, kinds, providers and backends of
memories by the entries that have them, its agents and patterns by ``[plugins.NAME]``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Literal

from agents.plugins.loading import PluginError, load_value
from agents.plugins.manifest import FILE, Manifest, read_manifest
from celery_agents import names
from celery_agents.errors import ConfigurationError

#: The groups of entry points, by what packages offer there; a ``plugin.json`` has the short words.
GROUPS: Mapping[str, str] = {
    "agents": "celery_agents",
    "tools": "celery_agents.tools",
    "kinds": "celery_agents.kinds",
    "providers": "celery_agents.providers",
    "patterns": "celery_agents.patterns",
    "memory": "celery_agents.memory",
}
#: What nothing names but ``[plugins.NAME]``.
ACTIVATED = ("agents", "patterns")


def canonical(name: str) -> str:
    """A distribution's name as indexes compare it (packaging.python.org, name normalization)."""
    return re.sub(r"[-_.]+", "-", name).lower()


@dataclass(frozen=True, slots=True)
class Contribution:
    """One thing that a plug-in offers."""

    #: The plug-in's name and version, for errors.
    plugin: str
    version: str
    #: One of :data:`GROUPS`.
    group: str
    name: str
    #: ``module`` or ``module:name``.
    value: str
    folder: Path | None = None
    #: Why it is not imported.
    problem: str | None = None

    def load(self, limit_s: float) -> Any:
        """Import it.

        Raises:
            PluginError: it cannot be; it names the plug-in.
        """
        if self.problem is not None:
            raise self.error(self.problem)
        try:
            return load_value(self.value, self.folder, self.plugin, limit_s=limit_s)
        except PluginError as error:
            raise self.error(error.message) from None

    def error(self, why: str) -> PluginError:
        """The error for one that cannot be used."""
        version = f" {self.version}" if self.version else ""
        where = f" in {self.folder}" if self.folder else ""
        what = f"{self.group}: {self.name} = {self.value}"
        return PluginError(
            f"The plug-in {self.plugin}{version}{where} cannot be used ({what}): {why}. Mend or "
            f"update it, or take what names it out of the configuration."
        )


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plug-in, as it says of itself."""

    name: str
    version: str
    description: str
    source: Literal["package", "folder"]
    offers: tuple[Contribution, ...]
    folder: Path | None = None
    #: Why its ``plugin.json`` cannot be read.
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Plugins:
    """Plug-ins by name, and which of them are active.

    Args:
        found: All that there are.
        active: Names for which ``[plugins.NAME]`` says so, or not.
        all_active: True: those, too, of which the configuration says nothing.
        limit_s: Seconds that the import of one may take.
    """

    found: tuple[Plugin, ...] = ()
    active: Mapping[str, bool] = field(default_factory=dict)
    all_active: bool = False
    limit_s: float = 30.0

    def get(self, name: str) -> Plugin:
        """The plug-in of that name.

        Raises:
            PluginError: there is none, its file cannot be read, or two have the name.
        """
        there = [one for one in self.found if canonical(one.name) == canonical(name)]
        if not there:
            raise PluginError(
                f"There is no plug-in {name!r}: install it, or add its folder to "
                f"AGENTS_PLUGIN_DIRS ({names.COMMAND} plugins list)."
            )
        if len(there) > 1:
            raise PluginError(f"Two plug-ins are named {name!r}: {_places(there)}.")
        if there[0].problem is not None:
            raise PluginError(f"The plug-in {name!r} cannot be used: {there[0].problem}")
        return there[0]

    def is_active(self, plugin: Plugin) -> bool:
        """True where its agents and patterns are served."""
        said = {canonical(name): active for name, active in self.active.items()}
        return said.get(canonical(plugin.name), self.all_active)

    def missing(self) -> list[str]:
        """Names that are to be active and are none."""
        known = {canonical(one.name) for one in self.found}
        return [n for n, active in self.active.items() if active and canonical(n) not in known]

    def activated(self, group: str) -> list[Contribution]:
        """The contributions of active plug-ins to a group of :data:`ACTIVATED`."""
        return [o for one in self.found if self.is_active(one) for o in self._offers(one, group)]

    def unreadable(self) -> Iterable[str]:
        """Why active ones cannot be read."""
        for one in self.found:
            if one.problem is not None and self.is_active(one):
                yield f"The plug-in {one.name} cannot be used: {one.problem}"

    def offered(self, group: str) -> dict[str, list[Contribution]]:
        """The contributions to a group, by name; that of two is an error for who names it."""
        found: dict[str, list[Contribution]] = {}
        for plugin in self.found:
            for offer in self._offers(plugin, group):
                found.setdefault(offer.name, []).append(offer)
        return found

    def _offers(self, plugin: Plugin, group: str) -> list[Contribution]:
        """Those to a group. Of two plug-ins of one name neither is used: which is meant is open."""
        offers = [offer for offer in plugin.offers if offer.group == group]
        there = [one for one in self.found if canonical(one.name) == canonical(plugin.name)]
        if len(there) == 1:
            return offers
        why = f"two plug-ins have its name: {_places(there)}"
        return [replace(offer, problem=why) for offer in offers]

    def load(self, offers: list[Contribution]) -> Any:
        """Import what one plug-in offers by a name.

        Raises:
            PluginError: it cannot be, or two plug-ins have the name.
        """
        if len(offers) > 1:
            who = " and ".join(f"{o.plugin} ({o.folder or 'installed'})" for o in offers)
            raise PluginError(f"{offers[0].name!r} is offered by two plug-ins: {who}.")
        return offers[0].load(self.limit_s)


def _places(plugins: Iterable[Plugin]) -> str:
    return ", ".join(str(one.folder or "an installed package") for one in plugins)


@dataclass(frozen=True, slots=True)
class PluginSource:
    """Where plug-ins are looked for, as the operator's settings say."""

    folders: tuple[Path, ...] = ()
    all_active: bool = False
    limit_s: float = 30.0

    def find(self, tables: Any = None) -> Plugins:
        """All that there are; ``tables`` are the ``[plugins.NAME]`` of the configuration.

        Raises:
            ConfigurationError: those are not right.
        """
        found = (*_installed(), *_in_folders(self.folders))
        return Plugins(found, read_active(tables or {}), self.all_active, self.limit_s)


def read_active(tables: Any) -> dict[str, bool]:
    """The plug-ins of which the configuration says whether they are active.

    Raises:
        ConfigurationError: a table is not right.
    """
    if not isinstance(tables, dict):
        raise ConfigurationError("plugins have to be tables like [plugins.name].")
    for name, table in tables.items():
        if not isinstance(table, dict) or table.keys() - {"active"}:
            raise ConfigurationError(f"[plugins.{name}] has one field: active = true or false.")
        if not isinstance(table.get("active", True), bool):
            raise ConfigurationError(f"[plugins.{name}] active: it is true or false.")
    return {name: table.get("active", True) for name, table in tables.items()}


def _installed() -> Iterable[Plugin]:
    """Distributions that have entry points of ours."""
    points: dict[str, list[tuple[str, EntryPoint]]] = {}
    every = entry_points()  # once: it reads a file of each distribution that there is
    for group, entry_group in GROUPS.items():
        for point in every.select(group=entry_group):
            name = _told(point, "Name") or re.split(r"\W", point.value)[0] or point.name
            points.setdefault(name, []).append((group, point))
    for name, theirs in points.items():
        version, summary = (_told(theirs[0][1], field) for field in ("Version", "Summary"))
        problem = None if version else _HALF
        offers = (
            Contribution(name, version, g, p.name, p.value, problem=problem) for g, p in theirs
        )
        yield Plugin(name, version, summary, "package", tuple(offers), problem=problem)


def _told(point: EntryPoint, field: str) -> str:
    """A field of a distribution's metadata; none, where it was not removed as a whole."""
    try:
        found = None if point.dist is None else point.dist.metadata[field]
    except (OSError, ValueError, LookupError, TypeError):
        return ""
    return found or ""


#: Of a distribution that has a version in its metadata as long as it has any.
_HALF = "its metadata cannot be read: a part of it is left. Install it again, or remove that"


def _in_folders(folders: Iterable[Path]) -> Iterable[Plugin]:
    """Folders below these that have a ``plugin.json``; those without one are none."""
    for folder in folders:
        try:
            if not folder.is_dir():
                raise ConfigurationError(f"AGENTS_PLUGIN_DIRS: there is no folder {folder}.")
            paths = sorted(folder.iterdir())
        except OSError as error:
            why = f"{folder} cannot be read: {error.strerror}"
            raise ConfigurationError(f"AGENTS_PLUGIN_DIRS: {why}.") from None
        for path in paths:
            try:
                (path / FILE).stat()
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError:  # reading it says why
                pass
            yield _of_folder(path)


def _of_folder(path: Path) -> Plugin:
    try:
        told = read_manifest(path)
    except ConfigurationError as error:
        return Plugin(path.name, "", "", "folder", (), path, error.message)
    offers = tuple(_offers(told, path))
    return Plugin(told.name, told.version, told.description, "folder", offers, path)


def _offers(told: Manifest, path: Path) -> Iterable[Contribution]:
    for group in GROUPS:
        for name, value in getattr(told, group).items():
            yield Contribution(told.name, told.version, group, name, value, path)
