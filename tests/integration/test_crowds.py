"""Agents that ask without an end: where they stop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from celery_agents.errors import LimitReachedError
from tests.integration.harness import COROUTINES, FAST, SOON_S, Location, Stack, lines

pytestmark = pytest.mark.databases("postgres")

MANY = ["--concurrency", "1000", *COROUTINES[2:]]


@pytest.fixture(scope="module")
def crowd(location: Location) -> Iterator[Stack]:
    env = {
        "AGENTS_MODULES": '["tests.support.team"]',
        "TEAM": str(location.directory / "team"),
        "AGENTS_MAX_STEPS": "1000",
    }
    made = Stack(*location, FAST | env)
    made.worker(MANY)
    yield made
    made.close()


def born(stack: Stack) -> set[str]:
    return {line.split()[2] for line in lines(Path(stack.env["TEAM"]))}


@pytest.mark.parametrize(
    ("caps", "number"),
    [
        ({"max_steps": 23}, 1 + 23),
        ({"max_depth": 2}, 1 + 5 + 25),
        ({"max_width": 3, "max_depth": 3}, 1 + 3 + 9 + 27),
        ({"max_width": 4, "max_steps": 50}, 1 + 40),  # whom there was no room for counts
    ],
)
def test_a_lead_that_always_asks_five_stops_at_its_caps_exactly(
    crowd: Stack, caps: Any, number: int
) -> None:
    """However many ask at the same time; and nobody beyond them has begun."""
    before = born(crowd)
    run = crowd.client.ask("runaway", "-", **caps)
    with suppress(LimitReachedError):  # it was refused too often
        run.get(timeout=4 * SOON_S)
    assert run.ready()
    assert len(born(crowd) - before) == number
