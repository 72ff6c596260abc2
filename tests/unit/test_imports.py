"""Imports run downwards, and importing does nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]

#: Runs before the imports: whoever connects, or asks for one of our settings, is named. Modules
#: that are there after each of them are left in a file.
WATCH = """
import json, os, socket, sys, threading

def refuse(self, address, *_):
    raise SystemExit(f"{name} connects to {address}")

socket.socket.connect = socket.socket.connect_ex = refuse
asked = []
plain = os.environ.__class__.__getitem__

def watched(self, key):
    if key.startswith(("AGENTS_", "REDIS_", "DATABASE_")) or key.endswith("_API_KEY"):
        asked.append(key)
    return plain(self, key)

os.environ.__class__.__getitem__ = watched
left, *names = sys.argv[1:]
modules = {}
for name in names:
    __import__(name)
    if asked:
        raise SystemExit(f"{name} reads {asked}")
    if threading.active_count() > 1:
        raise SystemExit(f"{name} starts {threading.enumerate()}")
    modules[name] = list(sys.modules)
with open(left, "w") as file:
    json.dump(modules, file)
"""


def test_the_contracts_of_the_layers_hold() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


#: In one process: each imports what those before it have left.
IMPORTED = (
    "celery_agents",
    "celery_agents.service",
    "celery_agents.client",
    "agents",
    "agents.catalog.registry",
    "app",
    "app.factory",
    "app.embedding",
    "app.execution.runtime",
    "app.execution.task",
    "app.watching.tracing",
    "agents.caching.local",
    "app.caching.caches",
    "tasks",
    "beat_schedules",
    "api.application",
    "app.cli.commands",
)
SDKS = {"openai", "anthropic", "google", "httpx2"}
#: What the client alone does not need.
EXTRAS = SDKS | {
    *("sqlalchemy", "alembic", "structlog", "pydantic_settings", "tenacity", "pyarrow"),
    *("app", "agents", "tasks"),
}


class Imported(NamedTuple):
    """How the process that imports them ended, and the modules that there were after each."""

    done: subprocess.CompletedProcess[str]
    modules: dict[str, list[str]]

    def packages(self, name: str) -> set[str]:
        """Those of the top level that were there after one."""
        return {module.partition(".")[0] for module in self.modules[name]}


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Imported:
    left = tmp_path_factory.mktemp("imported") / "modules.json"
    done = subprocess.run(
        [sys.executable, "-c", WATCH, str(left), *IMPORTED],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    return Imported(done, json.loads(left.read_text()) if left.exists() else {})


def test_importing_connects_prints_and_reads_nothing(imported: Imported) -> None:
    done = imported.done
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_client_needs_celery_and_pydantic_alone(imported: Imported) -> None:
    assert imported.packages("celery_agents.client") & EXTRAS == set()


def test_agents_know_no_sdk_before_one_is_used(imported: Imported) -> None:
    assert imported.packages("tasks") & SDKS == set()


def test_who_finds_the_schema_needs_no_alembic(imported: Imported) -> None:
    """It is for migrations, and takes a start half a second."""
    there = {*imported.modules["app.cli.commands"]}
    assert "app.journal.schema.migrate" in there
    assert "alembic" not in there


def test_what_starts_threads_is_imported_as_it_is_used(imported: Imported) -> None:
    """No fork takes them along. What sends traces is for workers that have an endpoint."""
    later = {"theine", "app.watching.otlp", "opentelemetry.exporter"}
    assert later & {*imported.modules["tasks"]} == set()
