"""The log of real processes as JSON: whose step a line is of, and nothing that belongs in none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.watching.otlp import Sampling
from celery_agents.traces import TraceParent, span_of, trace_of
from tests.integration.harness import COROUTINES, PREFORK, SOON_S, Stack, eventually
from tests.support.agents import PASSWORD
from tests.support.api import served

pytestmark = pytest.mark.databases("sqlite")

SECRET = "password=hunter2hunter2"
CALLER = TraceParent(0x0AF7651916CD43DD8448EB211C80319C, 0x00F067AA0BA902B7)


def told(text: str) -> list[dict[str, Any]]:
    """Lines of the log; Celery's banner is none."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def test_lines_name_their_step(fast: Stack) -> None:
    fast.env |= {"AGENTS_LOG": "json", "AGENTS_API_AUTH": "none"}
    worker = fast.worker()
    runs = [fast.client.ask("says", f"{n} {SECRET}") for n in range(5)]
    for run in runs:
        run.get(timeout=SOON_S)
    eventually(lambda: len(_said(worker.logs())) == len(runs))
    found = _said(worker.logs())
    for run in runs:
        (line,) = [one for one in found if one["run_id"] == run.id]
        assert (line["step_id"], line["agent"], line["attempt"]) == (run.id, "says", 1)
        assert line["trace_id"] == f"{trace_of(run.id):032x}"
        assert line["span_id"] == f"{span_of(run.id):016x}"
    with Sampling().current(CALLER):  # as a program's own instrumentation does
        called = fast.client.map("says", ["a", "b"])
    called.get(timeout=SOON_S)
    of_members = eventually(lambda: [x for x in _said(worker.logs()) if x["run_id"] == called.id])
    assert {line["trace_id"] for line in of_members} == {f"{CALLER.trace_id:032x}"}
    assert SECRET not in worker.logs()
    with served(fast.env, fast.directory):
        lines = told((fast.directory / "api.log").read_text())
    assert [one for one in lines if "Uvicorn running" in one["message"]]


@pytest.mark.parametrize("pool", [COROUTINES, PREFORK], ids=["coroutines", "prefork"])
def test_where_a_step_begins_and_how_it_ends_is_told(fast: Stack, pool: list[str]) -> None:
    worker = fast.worker(pool, env={"AGENTS_LOG": "json"})
    good, bad = fast.client.ask("shout", "x"), fast.client.ask("bad", "x")
    outcomes = [eventually(run.outcome) for run in (good, bad)]
    assert [outcome is not None and outcome.ok for outcome in outcomes] == [True, False]
    ended = {good.id: ("succeeded", None), bad.id: ("failed", "agent_failed")}
    for run_id, (state, kind) in ended.items():
        begin, end = _begin_and_end(worker, run_id)
        assert begin["message"] == f"Task agents.ask[{run_id}] begins"
        assert (begin["task"], begin["attempt"]) == ("agents.ask", 1)
        same = ("run_id", "step_id", "agent", "attempt", "trace_id", "span_id", "task")
        assert [begin[name] for name in same] == [end[name] for name in same]
        assert (end["run_id"], end["step_id"], end["trace_id"]) == (
            run_id, run_id, f"{trace_of(run_id):032x}"
        )  # fmt: skip
        assert (end["state"], end.get("error_kind")) == (state, kind)
    assert "runtime_s" in _told_of(worker.logs(), good.id)[1]
    (line,) = [one for one in told(worker.logs()) if one["level"] == "error"]
    assert (line["run_id"], line["agent"]) == (bad.id, "bad")
    assert line["message"].startswith("bad failed: ValueError: cannot log in: ")
    assert "in bad" in line["message"]
    assert PASSWORD not in worker.logs()
    assert not [one for one in told(worker.logs()) if "received" in one["message"]]


def _begin_and_end(worker: Any, run_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = eventually(lambda: _told_of(worker.logs(), run_id))
    return found


def _told_of(log: str, step_id: str) -> list[dict[str, Any]]:
    """Celery's and our lines of where a step begins and ends, once both are there."""
    found = [one for one in told(log) if one["message"].startswith("Task agents.")]
    found = [one for one in found if one.get("step_id") == step_id]
    return found if len(found) == 2 else []


def _said(log: str) -> list[dict[str, Any]]:
    return [one for one in told(log) if one["message"].startswith("It says")]
