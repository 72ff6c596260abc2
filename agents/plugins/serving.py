"""The contributions of active plug-ins that no entry names: agents, and patterns."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

from agents.plugins.found import Plugins
from agents.plugins.loading import PluginError

log = logging.getLogger(__name__)


def loaded(
    plugins: Plugins, group: str, broken: Callable[[str], object] = lambda _: None
) -> Iterator[tuple[str, Any]]:
    """Load the contributions of active plug-ins to a group, by name.

    One that cannot be used is left out, logged and told to ``broken``: what it would have brought
    is missing, and all else is served.
    """
    for name in plugins.missing():
        _tell(f"[plugins.{name}] is active, and there is no such plug-in.", broken)
    for offer in plugins.activated(group):
        try:
            yield offer.name, offer.load(plugins.limit_s)
        except PluginError as error:
            _tell(error.message, broken)


def _tell(why: str, broken: Callable[[str], object]) -> None:
    log.error("%s", why)
    broken(why)
