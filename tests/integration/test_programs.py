"""Programs of a model with real workers: resumed in the middle, approved call by call."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celery_agents import RetryPolicy
from celery_agents.errors import UncertainCallError
from tests.fakes.model_server import Does, ModelServer
from tests.integration.harness import FAST, SOON_S, Stack, eventually, lines

pytestmark = pytest.mark.databases("sqlite")

CONFIG = """
[tools.code]
kind = "code"

[agents.coder]
kind = "openai"
model = "m"
base_url = "{model}/v1"
tools = [
  "code", "tests.support.places:put", "tests.support.places:add",
  "tests.support.places:add_surely", "tests.support.places:spend",
]
"""
QUICK = RetryPolicy(base_delay_s=0.05, max_attempts=5)
TWENTY = """
total = 0
for place in range(1, 21):
    total += put(place=place) if place % 2 else add(place=place)
total
"""


@pytest.fixture
def coding(
    database_url: str, redis_url: str, tmp_path: Path, model: ModelServer
) -> Iterator[Stack]:
    """A stack whose agent writes programs, on each database."""
    config = tmp_path / "agents.toml"
    config.write_text(CONFIG.format(model=model.url))
    env = {"AGENTS_CONFIG": str(config), "PLACES": str(tmp_path / "places")}
    made = Stack(redis_url, database_url, tmp_path, FAST | env)
    yield made
    made.close()


def program(code: str) -> Does:
    return Does(tool=("run_python", {"code": code}))


def test_a_program_of_twenty_calls_goes_on_at_the_one_that_killed_its_worker(
    coding: Stack, model: ModelServer, tmp_path: Path
) -> None:
    model.script(program(TWENTY), Does(text="Done."))
    places = tmp_path / "places"
    (tmp_path / "places.dies").write_text("11")
    worker = coding.worker()
    run = coding.client.ask("coder", "Add them.", retry=QUICK)
    eventually(lambda: not worker.running, "it died")
    first = lines(places)
    assert [line.split()[1] for line in first] == [str(n) for n in range(1, 12)]
    coding.worker()
    assert run.get(timeout=2 * SOON_S) == "Done."
    again = lines(places)[len(first) :]
    assert [line.split()[1] for line in again] == [str(n) for n in range(11, 21)]
    assert str(sum(n * n for n in range(1, 21))) in str(model.requests[-1].body)
    assert len(model.requests) == 2  # the program was not asked for again
    names = [call.name for call in coding.calls(run.id) if call.finished_at]
    assert (names.count("tool:put"), names.count("tool:add")) == (10, 10)


def test_an_effect_that_killed_its_worker_is_not_made_again_by_its_program(
    coding: Stack, model: ModelServer, tmp_path: Path
) -> None:
    hides = "put(place=1)\ntry:\n    add(place=2)\nexcept BaseException:\n    pass\nadd(place=3)"
    model.script(program(hides), Does(text="Done."))
    (tmp_path / "places.dies").write_text("2")
    worker = coding.worker()
    run = coding.client.ask("coder", "Add them.", retry=QUICK)
    eventually(lambda: not worker.running, "it died")
    coding.worker()
    assert run.get(timeout=2 * SOON_S) == "Done."
    assert [line.split()[:2] for line in lines(tmp_path / "places")] == [
        ["put", "1"],
        ["add", "2"],
        ["add", "3"],
    ]
    assert "nobody knows whether it was done" in str(model.requests[-1].body)


def test_a_step_fails_by_an_uncertain_effect_whatever_its_program_catches(
    coding: Stack, model: ModelServer, tmp_path: Path
) -> None:
    hides = "try:\n    add_surely(place=2)\nexcept BaseException:\n    pass\n1"
    model.script(program(hides), Does(text="Done."))
    (tmp_path / "places.dies").write_text("2")
    worker = coding.worker()
    run = coding.client.ask("coder", "Add them.", retry=QUICK)
    eventually(lambda: not worker.running, "it died")
    coding.worker()
    with pytest.raises(UncertainCallError):
        run.get(timeout=2 * SOON_S)
    assert len(lines(tmp_path / "places")) == 1
    assert len(model.requests) == 1


def test_each_call_of_two_programs_of_one_text_is_approved_by_itself(
    coding: Stack, model: ModelServer, tmp_path: Path
) -> None:
    spends = {"code": "put(place=1)\nspend(place=7)"}
    model.script(Does(tools=(("run_python", spends), ("run_python", spends))), Does(text="Done."))
    coding.worker()
    run = coding.client.ask("coder", "Spend it.", retry=QUICK)
    keys = []
    for said in (True, "once is enough"):
        eventually(lambda: [w for w in waiting(run) if w.key not in keys], "a wish")
        (wish,) = [w for w in waiting(run) if w.key not in keys]
        assert (wish.tool, wish.arguments) == ("spend", {"place": 7})
        keys.append(wish.key)
        coding.client.runs.approve(run.id, said, key=wish.key)
    assert run.get(timeout=SOON_S) == "Done."
    kinds = [line.split()[0] for line in lines(tmp_path / "places")]
    assert sorted(kinds) == ["put", "put", "spend"]
    assert "once is enough" in str(model.requests[-1].body)


def waiting(run: Any) -> list[Any]:
    found: list[Any] = run.waiting(timeout=SOON_S)
    return found
