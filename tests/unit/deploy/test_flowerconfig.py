"""Flower's settings."""

from __future__ import annotations

import runpy
from typing import Any

import pytest
from celery.events.state import Task

from celery_agents import names
from deploy import flowerconfig


def format_task(task: Task) -> Any:
    return runpy.run_path(flowerconfig.__file__)["format_task"](task)


@pytest.mark.parametrize(("root", "run"), [(None, "a"), ("a", "a"), ("b", "b")])
def test_a_step_names_its_run(monkeypatch: pytest.MonkeyPatch, root: str | None, run: str) -> None:
    monkeypatch.setenv("AGENTS_UI_URL", "https://x.example/ui/")
    told = format_task(Task(uuid="a", name=names.ASK, root_id=root))
    assert "run" in told._fields
    assert told.run == f"https://x.example/ui/runs/{run}"


@pytest.mark.parametrize("name", [names.STATUS, "somebody.s", None])
def test_others_have_none(monkeypatch: pytest.MonkeyPatch, name: str | None) -> None:
    monkeypatch.setenv("AGENTS_UI_URL", "https://x.example/ui")
    assert "run" not in format_task(Task(uuid="a", name=name))._fields


def test_it_is_off_without_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AGENTS_UI_URL", raising=False)
    assert "run" not in format_task(Task(uuid="a", name=names.ASK))._fields


def test_long_texts_are_cut() -> None:
    task = format_task(Task(uuid="a", name=names.ASK, args="x" * 500, kwargs=None))
    assert (len(task.args), task.kwargs, task.result) == (160, "", "")
