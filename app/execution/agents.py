"""The agents of this process: made when its runtime starts, so that mistakes show at the start."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from agents.catalog.kinds import Resources
from agents.catalog.registry import Registry
from agents.net.clients import SharedClients
from app.admission.breaker import Breakers
from app.admission.health import STALE_INTERVALS, HealthView
from app.concurrency.fibers import in_thread
from app.execution.celery_agent import CeleryBackend
from app.execution.runtime import Runtime, runtime_started, runtime_stopping
from app.execution.turns import Turns
from app.journal.tables.agents import announce
from celery_agents.values import storable


def registry_of(runtime: Runtime) -> Registry:
    """This process's agents."""
    return runtime.resource(Registry, lambda: _make(runtime))


def _make(runtime: Runtime) -> Registry:
    settings = runtime.settings
    registry = Registry(
        Resources(
            resolve_secret=settings.secret,
            executor=ThreadPoolExecutor(settings.function_threads, "agents-function"),
            clients=SharedClients(in_thread),
            celery=lambda entry: CeleryBackend(runtime.app, entry, settings.secret),
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


def turns_of(runtime: Runtime) -> Turns:
    """How agents are asked in this process."""
    registry, settings = registry_of(runtime), runtime.settings

    def make() -> Turns:
        health = HealthView(
            runtime.journal,
            fresh_s=STALE_INTERVALS * settings.health_interval_s,
            cache_s=settings.health_cache_s,
        )
        return Turns(registry, Breakers.connect(settings), health)

    return runtime.resource(Turns, make)


@runtime_started.connect(weak=False)
def _started(runtime: Runtime, **_: Any) -> None:
    rows = [
        {
            "name": a.name,
            "kind": a.kind,
            "description": storable(a.description),
            "effects": a.effects,
        }
        for a in registry_of(runtime)
    ]
    runtime.journal.transaction(lambda c: announce(c, rows))


@runtime_stopping.connect(weak=False)
def _stopping(runtime: Runtime, **_: Any) -> None:
    runtime.loop.submit(registry_of(runtime).aclose()).result(timeout=10)
