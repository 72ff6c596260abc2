"""Agents that ask without an end: where they stop, and how they are stopped."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from app.journal.schema.models import Step
from celery_agents.contracts.outcome import State
from celery_agents.errors import LimitReachedError, StepCancelledError
from tests.integration.harness import COROUTINES, FAST, SOON_S, Stack, eventually, lines

WANTED = 500
MANY = ["--concurrency", "1000", *COROUTINES[2:]]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def stack(request: pytest.FixtureRequest, redis_url: str, tmp_path: Path) -> Iterator[Stack]:
    url = request.getfixturevalue(f"{request.param}_journal_url")
    env = {
        "AGENTS_MODULES": '["tests.support.team"]',
        "TEAM": str(tmp_path / "team"),
        "AGENTS_MAX_STEPS": "1000",
    }
    made = Stack(redis_url, url, tmp_path, FAST | env)
    made.worker(MANY)
    yield made
    made.close()


def born(stack: Stack) -> set[str]:
    return {line.split()[2] for line in lines(Path(stack.env["TEAM"]))}


@pytest.mark.parametrize(
    ("caps", "number"),
    [({"max_steps": 23}, 1 + 23), ({"max_depth": 2}, 1 + 5 + 25)],
)
def test_a_lead_that_always_asks_five_stops_at_its_caps_exactly(
    stack: Stack, caps: Any, number: int
) -> None:
    """However many ask at the same time; and nobody beyond them has begun."""
    run = stack.client.ask("runaway", "-", **caps)
    with suppress(LimitReachedError):  # it was refused too often
        run.get(timeout=4 * SOON_S)
    assert run.ready()
    assert len(born(stack)) == number


def test_five_hundred_below_a_run_are_cancelled_at_once_and_none_is_born_after(
    stack: Stack,
) -> None:
    run = stack.client.ask("crowd", "")
    eventually(lambda: len(born(stack)) >= WANTED, "five hundred", timeout_s=8 * SOON_S)

    def left() -> int:
        open_ = [State.READY, State.RUNNING, State.WAITING]
        query = select(func.count()).where(Step.run_id == run.id, Step.state.in_(open_))
        return int(stack.read(lambda c: c.execute(query).scalar_one()))

    before = left()
    assert before >= WANTED
    began = time.monotonic()
    run.cancel()
    eventually(lambda: not left(), "nobody is left")
    took_s = time.monotonic() - began
    print(f"\n{before} were cancelled in {took_s:.2f} s")
    with pytest.raises(StepCancelledError):
        run.get(timeout=SOON_S)
    known = len(born(stack))
    time.sleep(1)  # recovery looks twice
    assert len(born(stack)) == known
    assert not left()
    assert took_s <= 2
