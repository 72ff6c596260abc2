"""Strategies that are learned, with real workers, on both databases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from celery_agents import Decision, RetryPolicy, Vote
from celery_agents.errors import InvalidPayloadError
from tests.integration.harness import FAST, SOON_S, Location, Stack, celery, eventually

pytestmark = pytest.mark.databases("one")

MODULES = [f"tests.support.{name}" for name in ("agents", "voters", "strategies")]
ENV = FAST | {"AGENTS_MODULES": json.dumps(MODULES)}
ONCE = RetryPolicy(max_attempts=1)


@pytest.fixture(scope="module")
def _common(location: Location) -> Iterator[Stack]:
    made = Stack(*location, ENV)
    made.worker()
    yield made
    made.close()


@pytest.fixture
def own(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Stack]:
    made = Stack(redis_url, database_url, tmp_path, ENV)
    made.worker()
    yield made
    made.close()


def test_who_serves_is_learned_apart_for_each_sort_of_work(common: Stack) -> None:
    """By what comes of it, and by what people say of it, the last word of each run."""
    solve = common.client.solve
    # Which way is tried first is drawn; here one is selected, so that each has been tried.
    runs = [solve("x", ["bad", "shout"], work="one", select="by_length", retry=ONCE)]
    assert runs[0].get(timeout=2 * SOON_S).failed[0].strategy == "bad"
    runs += solve.many(["x"] * 6, ["bad", "shout"], work="one", retry=ONCE)
    assert {run.get(timeout=2 * SOON_S).strategy for run in runs} == {"shout"}
    (lessons,) = solve.learned("one")
    assert (lessons.verb, lessons.requests) == ("solve", len(runs))
    assert [one.name for one in lessons.records] == ["shout", "bad"]
    best, worst = lessons.records
    assert best.reward > 0.8 > worst.reward == 0.0
    assert best.median_s is not None
    assert solve.learned("two") == []
    for score in (0.5, 0.0, 0.0, 0.0):
        runs[0].feedback(score)
    scored = solve.learned("one")[0].records[0]
    share = 0.8 / best.attempts  # that of one success among all
    assert scored.reward == pytest.approx(best.reward - share, abs=0.005)
    shown = celery("-A", "app", "agents", "learned", "--json", env=common.env)
    assert json.loads(shown.stdout)[0]["work"] == "one"


def test_a_score_is_of_an_answer(common: Stack) -> None:
    ask = common.client.ask("noop", 1)
    assert ask.get(timeout=SOON_S) == 1
    for run_id in (ask.id, "nobody"):
        with pytest.raises(InvalidPayloadError, match="no run"):
            common.client.solve.handle(run_id).feedback(1.0)
    with pytest.raises(InvalidPayloadError, match="score"):
        common.client.solve.handle(ask.id).feedback(1.5)


def test_an_agent_selects_among_a_pattern_and_an_agent(common: Stack) -> None:
    panel = Vote.model_validate({"voters": ["noop", "shout"], "rule": "plurality"})
    solve = common.client.solve
    short = solve("Yes", [panel, "shout"], select="by_length").get(timeout=SOON_S)
    assert (short.strategy, short.selected) == ("vote(noop, shout)", True)
    assert Decision.model_validate(short.value).option == "yes"
    long = solve("Certainly", [panel, "shout"], select="by_length").get(timeout=SOON_S)
    assert (long.strategy, long.value, long.selected) == ("shout", "CERTAINLY", True)


def test_it_survives_its_worker_and_learns_of_each_request_once(own: Stack) -> None:
    patient = {"options": {"agent": "takes_a_second", "retry": {"max_attempts": 9}}, "verb": "ask"}
    run = own.client.solve("x", [patient], work="kill")
    eventually(lambda: own.members(run.id), "the strategy begins")
    own.workers[-1].kill()
    own.worker()
    assert run.get(timeout=2 * SOON_S).value == "x"
    (lessons,) = own.client.solve.learned("kill")
    assert (lessons.requests, lessons.records[0].attempts) == (1, 1.0)
