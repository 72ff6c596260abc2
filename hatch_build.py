"""Hatchling's hook: the wheel has the service below ``celery_agents.service`` (deploy/wheel.py)."""

from __future__ import annotations

import runpy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ServiceHook(BuildHookInterface[Any]):
    """An editable install keeps the packages of the checkout, at its top level."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the placed packages to a wheel that is about to be written."""
        if version == "editable":
            return
        root = Path(self.root)
        self._placed = TemporaryDirectory()
        wheel = runpy.run_path(str(root / "deploy" / "wheel.py"))
        wheel["place"](root, Path(self._placed.name))
        build_data["force_include"][self._placed.name] = wheel["HOME"].replace(".", "/")

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002 - hatchling's signature
        """Drop the copies."""
        if version != "editable":
            self._placed.cleanup()
