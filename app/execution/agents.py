"""The agents of this process: made with its runtime, so that mistakes show at the start."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from celery import Celery

from agents.catalog.kinds import Resources
from agents.catalog.registry import Registry
from agents.net.clients import SharedClients
from app.admission.breaker import Breakers
from app.admission.health import STALE_INTERVALS, HealthView
from app.concurrency.fibers import in_thread
from app.execution.celery_agent import CeleryBackend
from app.execution.turns import Turns
from app.journal import Journal
from app.settings import Settings
from celery_agents.values import storable


class Agents:
    """Which agents there are, and how they are asked."""

    def __init__(self, registry: Registry, journal: Journal, settings: Settings) -> None:
        self.registry = registry
        health = HealthView(
            journal,
            fresh_s=STALE_INTERVALS * settings.health_interval_s,
            cache_s=settings.health_cache_s,
        )
        self.turns = Turns(registry, Breakers.connect(settings), health)

    def described(self) -> list[dict[str, Any]]:
        """What people and clients see of them, as the journal's rows."""
        return [
            {
                "name": a.name,
                "kind": a.kind,
                "description": storable(a.description),
                "effects": a.effects,
            }
            for a in self.registry
        ]


def load_registry(app: Celery, settings: Settings) -> Registry:
    """The agents that the settings name.

    Raises:
        ConfigurationError: one of them is not right.
    """
    registry = Registry(
        Resources(
            resolve_secret=settings.secret,
            executor=ThreadPoolExecutor(settings.function_threads, "agents-function"),
            clients=SharedClients(in_thread),
            celery=lambda entry: CeleryBackend(app, entry, settings.secret),
        )
    )
    see_current_directory()
    registry.load(config=settings.config, modules=settings.modules)
    return registry


def see_current_directory() -> None:
    """Find modules with agents where Celery finds the app that ``-A`` names.

    The program ``celery`` has that directory on its path only while it imports the app; what the
    agents import later, in their functions, is found too.
    """
    if not {"", here := str(Path.cwd())} & set(sys.path):
        sys.path.insert(0, here)
