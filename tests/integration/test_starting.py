"""What cannot start says so in one line: why, and what to look at."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deploy.local.servers import LOOPBACK
from tests.integration.harness import Stack, celery, eventually
from tests.support.service import APP

pytestmark = pytest.mark.databases("sqlite")

#: What is wrong, and the line that says so. Nobody listens on port 1.
WRONG = {
    "journal": (
        {"DATABASE_URL": f"postgresql://user:hidden@{LOOPBACK}:1/journal"},
        r"CRITICAL/MainProcess\] The worker cannot start: journal: .* Check DATABASE_URL",
    ),
    "module": (
        {"AGENTS_MODULES": "nowhere.at_all"},
        r"CRITICAL/MainProcess\] The worker cannot start: configuration: .* 'nowhere.at_all'",
    ),
    "file": (
        {"AGENTS_CONFIG": "nowhere.toml"},
        r"^configuration: nowhere.toml cannot be read",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_worker_without(
    what: str, redis_url: str, sqlite_journal_url: str, tmp_path: Path
) -> None:
    env, told = WRONG[what]
    stack = Stack(redis_url, sqlite_journal_url, tmp_path)
    done = celery("-A", APP, "worker", "--concurrency=2", env={**stack.env, **env})
    stack.close()
    assert done.returncode == 1
    assert re.search(told, done.stderr, re.MULTILINE), done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert "hidden" not in done.stderr + done.stdout


def test_a_beat_without_redis(sqlite_journal_url: str, tmp_path: Path) -> None:
    """It waits for it."""
    stack = Stack(f"redis://{LOOPBACK}:1/0", sqlite_journal_url, tmp_path)
    try:
        beat = stack.beat("beat")
        eventually(lambda: "Beat waits for Redis: " in beat.logs())
        beat.terminate()
        eventually(lambda: beat.returncode is not None)
        assert "Traceback" not in beat.logs()
    finally:
        stack.close()
