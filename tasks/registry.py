"""The agents of this process: made when its runtime starts, so that mistakes show at the start."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from agents.backends.clients import SharedClients
from agents.registry import Registry, Resources
from app.journal.announce import announce
from app.runtime import Runtime, runtime_started, runtime_stopping
from celery_agents.values import storable
from tasks.celery_agent import CeleryBackend


def registry_of(runtime: Runtime) -> Registry:
    """This process's agents."""
    return runtime.resource(Registry, lambda: _make(runtime))


def _make(runtime: Runtime) -> Registry:
    settings = runtime.settings
    registry = Registry(
        Resources(
            resolve_secret=settings.secret,
            executor=ThreadPoolExecutor(settings.function_threads, "agents-function"),
            clients=SharedClients(),
            celery=lambda entry: CeleryBackend(runtime.app, entry),
        )
    )
    registry.load(config=settings.config, modules=settings.modules)
    return registry


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
