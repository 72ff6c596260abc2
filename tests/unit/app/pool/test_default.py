"""Which pool a worker has, by what its command line and its app's settings say."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import click
import pytest
from celery.concurrency import get_implementation

from app.pool.default import COROUTINES, choose_pool

PREFORK, THREADS, OURS = (get_implementation(n) for n in ("prefork", "threads", COROUTINES))


def worker(*, configured: str = "prefork", agents: bool = True, **given: Any) -> Any:
    """What Celery has decided when it asks."""
    app = SimpleNamespace(conf=SimpleNamespace(worker_pool=configured))
    if agents:
        app.agents_settings = SimpleNamespace(concurrency=200)
    return SimpleNamespace(app=app, **{"pool_cls": PREFORK, "concurrency": 2, **given})


def started(instance: Any, *arguments: str) -> Any:
    """A worker that is started by this command line."""

    @click.command()
    @click.option("-P", "--pool", default="prefork")
    @click.option("-c", "--concurrency", type=int)
    def command(pool: str, concurrency: int | None) -> None:
        choose_pool(instance)

    command.main(list(arguments), standalone_mode=False)
    return instance


@pytest.mark.parametrize(
    ("arguments", "instance", "pool", "concurrency"),
    [
        ([], worker(), OURS, 200),
        (["-c", "9"], worker(concurrency=9), OURS, 9),
        (["-P", "prefork"], worker(), PREFORK, 2),
        (["-P", "threads", "-c", "9"], worker(pool_cls=THREADS, concurrency=9), THREADS, 9),
        (["-P", "custom"], worker(pool_cls=OURS), OURS, 200),
        ([], worker(configured="threads", pool_cls=THREADS), THREADS, 2),
        ([], worker(configured=COROUTINES, pool_cls=OURS), OURS, 200),
        ([], worker(agents=False), PREFORK, 2),
    ],
)
def test_the_one_made_for_waiting_unless_another_is_named(
    arguments: list[str], instance: Any, pool: Any, concurrency: int
) -> None:
    found = started(instance, *arguments)
    assert (found.pool_cls, found.concurrency) == (pool, concurrency)


def test_a_worker_that_a_program_makes_is_as_it_was_made() -> None:
    instance = worker()
    choose_pool(instance)
    assert instance.pool_cls is PREFORK
