"""The log of real processes as JSON: whose step a line is of, and nothing that belongs in none."""

from __future__ import annotations

import json
from typing import Any

from celery_agents.traces import span_of, trace_of
from tests.integration.harness import SOON_S, Stack, eventually
from tests.support.api import served

SECRET = "password=hunter2hunter2"


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
    assert SECRET not in worker.logs()
    done = eventually(lambda: [x for x in told(worker.logs()) if "succeeded" in x["message"]])
    assert {"step_id", "task", "runtime_s"} <= done[0].keys()
    with served(fast.env, fast.directory):
        lines = told((fast.directory / "api.log").read_text())
    assert [one for one in lines if "Uvicorn running" in one["message"]]


def _said(log: str) -> list[dict[str, Any]]:
    return [one for one in told(log) if one["message"].startswith("It says")]
