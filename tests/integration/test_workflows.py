"""Canvases and workflows with real workers, and a worker of another app."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord, group

from celery_agents import Workflow, WorkflowStep
from celery_agents.client.options import RetryFields
from celery_agents.errors import AgentFailedError, InvalidPayloadError
from tests.integration.conftest import SHOP
from tests.integration.harness import FAST, SOON_S, Location, Stack, eventually, lines
from tests.support import sample_app

pytestmark = pytest.mark.databases("one")

MODULES = {"AGENTS_MODULES": json.dumps(["tests.support.agents", "tests.support.lasting"])}


@pytest.fixture
def stack(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Stack]:
    made = Stack(redis_url, database_url, tmp_path, FAST | MODULES)
    made.worker(SHOP, app="tests.support.sample_app", ready=False)
    yield made
    made.close()


@pytest.fixture(scope="module")
def _common(location: Location) -> Iterator[Stack]:
    made = Stack(*location, FAST | MODULES)
    made.worker(SHOP, app="tests.support.sample_app", ready=False)
    made.worker()
    yield made
    made.close()


def noted(stack: Stack, path: Path, value: str, **order: Any) -> Any:
    """What writes a line, and gives it; of a canvas it takes nothing."""
    told = {"path": str(path), "value": value, **order}
    retry: RetryFields = {
        "max_attempts": 20
    }  # whoever is under way at each kill is not to be given up
    return stack.client.ask.s("noted", told, retry=retry).set(immutable=True)


def test_agents_and_tasks_of_another_app_in_one_canvas(common: Stack, tmp_path: Path) -> None:
    first = sample_app.add.s(1, 2)
    first.link(common.client.ask.s("noop"))
    canvas = chain(
        first,
        group(sample_app.add.s(10), common.client.ask.s("noop")),
        common.client.ask.s("noop"),
    )
    run = common.client.run(canvas, id="canvas-1")
    assert run.get(timeout=2 * SOON_S) == [13, 3]
    assert common.client.run(canvas, id="canvas-1").id == run.id
    keys = {line.key for line in run.history(timeout=SOON_S)}
    assert keys == {"", "add:1", "ask:2", "add:3", "ask:4", "ask:5"}
    added = common.members(run.id)["add:1"]
    assert [call.name for call in common.calls(added.id)] == ["celery:shop.add"]


def test_one_that_fails_is_told_and_the_others_run_on(common: Stack, tmp_path: Path) -> None:
    path, told = tmp_path / "lines", tmp_path / "told"
    broken = noted(common, path, "broken", fails=True)
    canvas = chord([broken, noted(common, path, "beside")], noted(common, path, "body"))
    canvas = canvas.on_error(noted(common, told, "sorry"))
    run = common.client.run(canvas)
    with pytest.raises(AgentFailedError, match="it fails"):
        run.get(timeout=2 * SOON_S)
    assert sorted({*lines(path)}) == ["beside", "broken"]
    assert lines(told) == ["sorry"]


def test_a_workflow_as_data(common: Stack, tmp_path: Path) -> None:
    plan = Workflow(
        steps=(
            WorkflowStep.of(
                "sum",
                sample_app.add.s().set(queue="shop"),
                takes="parse",
                needs=("before",),
                args=(4,),
            ),
            WorkflowStep.of("before", noted(common, tmp_path / "lines", "first")),
            WorkflowStep.of("parse", sample_app.add.s(1, 2).set(queue="shop"), needs=("before",)),
        ),
        result=["sum", "before"],
    )
    run = common.client.run(plan)
    assert run.get(timeout=2 * SOON_S) == [7, "first"]


def test_one_that_is_cancelled_begins_nothing_more(common: Stack, tmp_path: Path) -> None:
    path = tmp_path / "stopped"
    canvas = chain(common.client.ask.s("dawdle", {"path": str(path)}), noted(common, path, "more"))
    run = common.client.run(canvas)
    eventually(lambda: common.members(run.id))
    run.cancel()
    eventually(lambda: common.state(run.id) == "cancelled")
    assert [*common.members(run.id)] == ["ask:1"]


def test_each_body_is_taken_once_through_kills_and_lost_messages(
    stack: Stack, tmp_path: Path
) -> None:
    path = tmp_path / "lines"
    runs = []
    for number in range(6):
        heads = [noted(stack, path, f"{number}.{n}") for n in range(4)]
        inner = chain(group(heads[:2]), noted(stack, path, f"{number}.inner"))
        body = noted(stack, path, f"{number}.body")
        runs.append(stack.client.run(chain(group(inner, *heads[2:]), body, sample_app.answer.s())))
    for kill in range(3):
        worker = stack.worker()
        enough = 8 * (kill + 1)
        eventually(lambda: len(lines(path)) > enough)  # noqa: B023 - at once
        worker.kill()
        stack.redis.flushdb() if kill == 1 else stack.drop_messages()
    stack.worker()
    for number, run in enumerate(runs):
        eventually(lambda: stack.state(run.id) == "succeeded", timeout_s=90)  # noqa: B023
        assert stack.row(run.id).outcome["value"] == f"shop says: {number}.body"
        told = [(line.kind, line.key) for line in run.history(timeout=SOON_S)]
        assert len(told) == len(set(told)) == 1 + 7
    assert stack.calls_made_twice() == 0


def test_a_fork_makes_nothing_again_that_came_before(common: Stack, tmp_path: Path) -> None:
    path, told = tmp_path / "lines", tmp_path / "told"
    fails = noted(common, told, "x", unless=str(tmp_path / "mended"))
    run = common.client.run(chain(noted(common, path, "a"), fails, noted(common, path, "b")))
    with pytest.raises(AgentFailedError, match="it fails"):
        run.get(timeout=2 * SOON_S)
    (tmp_path / "mended").touch()
    again = common.client.fork(run, id="again")
    assert again.get(timeout=2 * SOON_S) == "b"
    assert lines(path) == ["a", "b"]
    last = common.client.fork(again.id, after="ask:2")
    assert last.get(timeout=2 * SOON_S) == "b"
    assert lines(path) == ["a", "b", "b"]
    with pytest.raises(InvalidPayloadError, match="no command of that key"):
        common.client.fork(run, after="nobody")
