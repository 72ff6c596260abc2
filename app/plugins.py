"""Plug-ins of this service: where its settings look for them, and the patterns that they bring."""

from __future__ import annotations

from typing import Any

from celery import Celery, signals

from agents.catalog.loading import read_tables
from agents.plugins import Plugins, PluginSource
from agents.plugins.serving import loaded
from app.settings import Settings
from celery_agents.said import said_to_commands


def plugin_source(settings: Settings) -> PluginSource:
    """Where the settings look for plug-ins."""
    return PluginSource(settings.plugin_dirs, settings.plugins == "all", settings.plugin_timeout_s)


def plugins_of(settings: Settings) -> Plugins:
    """The plug-ins that there are, as the configuration names them.

    Raises:
        ConfigurationError: the configuration cannot be read.
    """
    tables = {} if settings.config is None else read_tables(settings.config)
    return plugin_source(settings).find(tables.get("plugins"))


def serve_patterns(app: Celery) -> None:
    """Have an app import the patterns of active plug-ins, when it imports its tasks."""

    def import_patterns(**_: Any) -> None:
        """Import them; one that cannot be is logged, and its tasks are not known."""
        settings: Settings = app.agents_settings
        with said_to_commands():
            plugins = plugins_of(settings)
        for _name, _module in loaded(plugins, "patterns"):
            pass  # its tasks register by being imported

    signals.import_modules.connect(import_patterns, sender=app, weak=False)
