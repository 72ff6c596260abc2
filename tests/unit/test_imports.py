"""Imports run downwards, and importing does nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: Runs before the import: whoever connects, or asks for one of our settings, is named.
WATCH = """
import os, socket, sys, threading

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
for name in sys.argv[1:]:
    __import__(name)
    if asked:
        raise SystemExit(f"{name} reads {asked}")
    if threading.active_count() > 1:
        raise SystemExit(f"{name} starts {threading.enumerate()}")
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
    "app.execution.task",
    "tasks",
    "beat_schedules",
    "api.application",
)


def test_importing_connects_prints_and_reads_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WATCH, *IMPORTED],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_client_needs_celery_and_pydantic_alone() -> None:
    code = (
        "import sys, celery_agents.client; top = {m.split('.')[0] for m in sys.modules};"
        "extras = {'sqlalchemy', 'alembic', 'openai', 'anthropic', 'google', 'httpx2', 'structlog',"
        "'pydantic_settings', 'tenacity', 'pyarrow', 'app', 'agents', 'tasks'};"
        "print(sorted(top & extras))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


def test_agents_know_no_sdk_before_one_is_used() -> None:
    code = "import sys, tasks; print(sorted({'openai', 'anthropic', 'httpx2'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
