"""Three real sentinels, a primary and its replica: found, and followed when the primary dies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.harness import FAST, PREFORK, Stack, celery, eventually, lines
from tests.integration.sentinels import Watched
from tests.support.drawn import costly
from tests.support.service import APP

#: Steps under way, each of which takes a while.
STEPS, TAKES_S = costly(200, part=2), 0.2

pytestmark = [
    pytest.mark.databases("sqlite"),
    pytest.mark.slow,
    pytest.mark.timeout(300),  # sentinels take ten seconds to agree
]


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with Watched(tmp_path / "watched") as made:
        yield made


@pytest.fixture
def stack(watched: Watched, sqlite_journal_url: str, tmp_path: Path) -> Iterator[Stack]:
    made = Stack(watched.url(), sqlite_journal_url, tmp_path, FAST)
    yield made
    made.close()


def test_the_primary_is_killed_under_load(stack: Stack, watched: Watched, tmp_path: Path) -> None:
    """What the primary took along without the replica is made good: no step is lost, or made
    twice after it ended."""
    ran = tmp_path / "ran"
    workers = [stack.worker(), stack.worker()]
    runs = stack.client.ask.many(
        "count", [{"path": str(ran), "seconds": TAKES_S} for _ in range(STEPS)]
    )
    eventually(lambda: len(lines(ran)) > STEPS // 10, "the first steps")
    assert len(lines(ran)) < STEPS
    watched.kill_primary()
    values = stack.client.runs.collect(runs, timeout=200)
    assert len(values) == STEPS
    assert {stack.state(run.id) for run in runs} == {"succeeded"}
    assert sorted(lines(ran)) == sorted(run.id for run in runs)
    assert stack.calls_made_twice() == 0
    assert watched.replica.role == "master"
    assert all(w.running for w in workers)


def test_the_primary_is_changed_while_it_lives(stack: Stack, watched: Watched) -> None:
    """Connections to it stay open, and it refuses what it took before."""
    worker = stack.worker()
    assert stack.client.ask("shout", "a").get(timeout=30) == "A"
    watched.change_primary()
    eventually(lambda: watched.replica.role == "master", "the new primary")
    eventually(lambda: watched.primary.role == "slave", "the old one's demotion")
    assert stack.client.ask("shout", "b").get(timeout=60) == "B"
    runs = stack.client.ask.many("noop", range(20))
    assert stack.client.runs.collect(runs, timeout=60) == [*range(20)]
    assert worker.running
    assert "Unrecoverable" not in worker.logs()


def test_everything_goes_by_sentinels(
    watched: Watched, sqlite_journal_url: str, tmp_path: Path
) -> None:
    """Workers, beat, recovery and the command line; written as Celery does, and one is down."""
    watched.kill_sentinel(0)
    login, _, rest = watched.url().partition("@")
    hosts, _, query = rest.partition("/")
    several = ";".join(f"sentinel://{host}" for host in hosts.split(","))
    url = several.replace("sentinel://", f"{login}@", 1) + f"/{query}"
    stack = Stack(url, sqlite_journal_url, tmp_path, {**FAST, "AGENTS_HEALTH_INTERVAL_S": "1"})
    try:
        lost = stack.client.ask("shout", "lost")
        assert stack.drop_messages() == 1
        worker, beat = stack.worker(PREFORK), stack.beat("beat")
        assert lost.get(timeout=30) == "LOST"
        beat.wait_for_log("Sending due task probe-health")
        asked = celery("-A", APP, "agents", "ask", "shout", "cli", env=stack.env)
        assert asked.stdout == "CLI\n", asked.stderr
        health = celery("-A", APP, "agents", "health", env=stack.env)
        assert "broker" in health.stdout, health.stderr
        for secret in (watched.password, watched.sentinel_password):
            for text in (worker.logs(), beat.logs(), asked.stderr, health.stdout):
                assert secret not in text
        watched.kill_primary()
        eventually(lambda: watched.replica.role == "master", "the new primary")
        eventually(lambda: watched.replica_took_over, "the sentinels' word")
        assert stack.client.ask("shout", "hi").get(timeout=30) == "HI"
    finally:
        stack.close()
