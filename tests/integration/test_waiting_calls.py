"""A model's call that waits for a time: no slot is held, and a killed worker loses nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from app.journal.schema.models import Join
from celery_agents import RetryPolicy, names
from tests.fakes.model_server import Does, ModelServer
from tests.integration.harness import COROUTINES, FAST, SOON_S, Location, Stack, eventually

pytestmark = pytest.mark.databases("one")

CONFIG = """
[tools.clock]
kind = "builtin"
use = ["dates.wait_until"]

[agents.patient]
kind = "openai"
model = "m"
base_url = "{model}/v1"
tools = ["clock"]
"""
QUICK = RetryPolicy(base_delay_s=0.05, max_attempts=5)
#: One slot: whoever held it would keep others from being served.
ONE = [*COROUTINES, "--concurrency", "1"]
DAY_S = 86_400


def patient(where: Location, model: ModelServer) -> Stack:
    """A stack whose agent waits, and no worker yet."""
    config = where.directory / "agents.toml"
    config.write_text(CONFIG.format(model=model.url))
    return Stack(*where, FAST | {"AGENTS_CONFIG": str(config)})


@pytest.fixture
def clock(own_location: Location, model: ModelServer) -> Iterator[Stack]:
    made = patient(own_location, model)
    yield made
    made.close()


@pytest.fixture(scope="module")
def _common(location: Location, model: ModelServer) -> Iterator[Stack]:
    made = patient(location, model)
    made.worker()
    yield made
    made.close()


def test_it_goes_on_at_its_time(common: Stack, model: ModelServer) -> None:
    until = datetime.now(UTC) + timedelta(seconds=5)
    model.script(Does(tool=("wait_until", {"time": until.isoformat()})), Does(text="Done."))
    run = common.client.ask("patient", "Wait.", retry=QUICK)
    assert run.get(timeout=2 * SOON_S) == "Done."
    assert datetime.now(UTC) > until


def test_its_worker_may_be_killed(clock: Stack, model: ModelServer) -> None:
    until = datetime.now(UTC) + timedelta(days=1)
    model.script(
        Does(tool=("wait_until", {"time": until.isoformat()})), Does(text="Hi."), Does(text="Done.")
    )
    worker = clock.worker(ONE)
    run = clock.client.ask("patient", "Wait.", retry=QUICK)
    eventually(lambda: clock.state(run.id) == "waiting", "it waits")
    (member,) = clock.members(run.id).values()
    assert (member.task, member.state) == (names.WAIT, "waiting")
    assert clock.client.waiting(timeout=SOON_S) == []  # for no person
    assert clock.client.ask("patient", "Hello?", retry=QUICK).get(timeout=SOON_S) == "Hi."
    worker.kill()
    clock.worker()
    with clock.engine.begin() as connection:  # as if the day were over
        moved = (
            update(Join).where(Join.step_id == run.id).values(deadline_at=Join.deadline_at - DAY_S)
        )
        connection.execute(moved)
    assert run.get(timeout=2 * SOON_S) == "Done."
    assert len(model.requests) == 3  # nothing was asked for again
    assert until.strftime("%A") in str(model.requests[-1].body)


def test_a_run_that_is_cancelled_waits_no_more(common: Stack, model: ModelServer) -> None:
    until = datetime.now(UTC) + timedelta(days=3)
    model.script(Does(tool=("wait_until", {"time": until.isoformat()})))
    run = common.client.ask("patient", "Wait.", retry=QUICK)
    eventually(lambda: common.state(run.id) == "waiting", "it waits")
    run.cancel()
    eventually(lambda: common.state(run.id) == "cancelled", "it was cancelled")
    assert [m.state for m in common.members(run.id).values()] == ["cancelled"]
