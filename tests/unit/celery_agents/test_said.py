"""What stands on the command line counts; what stands in a variable of another's does not."""

from __future__ import annotations

import click
import pytest
from celery.bin.celery import celery

from celery_agents.said import said


def context(argv: list[str], monkeypatch: pytest.MonkeyPatch, **env: str) -> click.Context:
    """The context in which Celery loads an app."""
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    made: click.Context = celery.make_context("celery", argv, auto_envvar_prefix="CELERY")
    return made


def test_nothing_is_said_outside_of_a_command() -> None:
    assert said("broker") is None


@pytest.mark.parametrize("option", ["-b", "--broker"])
def test_what_is_said(monkeypatch: pytest.MonkeyPatch, option: str) -> None:
    with context([option, "redis://said", "worker"], monkeypatch, BROKER_URL="redis://trap"):
        assert said("broker") == "redis://said"
        assert said("result_backend") is None


@pytest.mark.parametrize("name", ["BROKER_URL", "CELERY_BROKER", "CELERY_BROKER_URL"])
def test_what_a_variable_says(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with context(["worker"], monkeypatch, **{name: "redis://trap"}):
        assert said("broker") is None


def test_another_programs_option_is_none_of_celerys(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command
    @click.option("--broker")
    def other(broker: str) -> None:
        assert said("broker") is None

    other.main(["--broker", "Jane"], standalone_mode=False)
