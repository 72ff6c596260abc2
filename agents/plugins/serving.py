"""The contributions of active plug-ins that no entry names: agents, and patterns."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

from agents.plugins.found import Contribution, Plugins
from agents.plugins.loading import PluginError, error_text
from celery_agents.errors import ConfigurationError

log = logging.getLogger(__name__)


def loaded(
    plugins: Plugins, group: str, broken: Callable[[str], object] = lambda _: None
) -> Iterator[tuple[str, Any]]:
    """Load the contributions of active plug-ins to a group, by name.

    One that cannot be used is left out, logged and told to ``broken``: what it would have brought
    is missing, and all else is served.
    """
    for offer, found in _loaded(plugins, group, broken):
        yield offer.name, found


def serve(
    plugins: Plugins,
    group: str,
    add: Callable[[str, Any], None],
    broken: Callable[[str], object],
) -> None:
    """Have what active plug-ins bring to a group added, by name; one that cannot be is broken."""
    for offer, found in _loaded(plugins, group, broken):
        try:
            add(offer.name, found)
        except ConfigurationError as error:
            _tell(offer.error(error.message.removesuffix(".")).message, broken)
        except Exception as error:  # noqa: BLE001 - of a plug-in's code
            _tell(offer.error(error_text(error)).message, broken)


def _loaded(
    plugins: Plugins, group: str, broken: Callable[[str], object]
) -> Iterator[tuple[Contribution, Any]]:
    for name in plugins.missing():
        _tell(f"[plugins.{name}] is active, and there is no such plug-in.", broken)
    for why in plugins.unreadable():
        _tell(why, broken)
    for offer in plugins.activated(group):
        try:
            yield offer, offer.load(plugins.limit_s)
        except PluginError as error:
            _tell(error.message, broken)


def _tell(why: str, broken: Callable[[str], object]) -> None:
    log.error("%s", why)
    broken(why)
