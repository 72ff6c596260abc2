"""Plug-ins: found without importing them, used where a configuration names them."""

from agents.plugins.found import GROUPS, Contribution, Plugin, Plugins, PluginSource
from agents.plugins.loading import PluginError

__all__ = ["GROUPS", "Contribution", "Plugin", "PluginError", "PluginSource", "Plugins"]
