"""The command line, as far as nothing is measured."""

from __future__ import annotations

import pytest

from bench import roster, workloads
from bench.__main__ import main
from bench.contestants.ours import with_pool


def test_the_list_says_who_takes_part_in_what(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in workloads.NAMES)
    assert all(one.name in shown for one in roster.ALL)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["nop"], "no workload 'nop'"), (["noop", "--contestants", "huey"], "no contestant 'huey'")],
)
def test_unknown_names_are_told(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert told in capsys.readouterr().err


def test_help_names_everything(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    options = ["--pools", "--plot"]
    assert all(name in shown for name in [*workloads.NAMES, "decide", "adaptive", *options])


def test_ours_with_another_pool() -> None:
    [ours] = roster.chosen(["ours-sqlite"])
    threads, prefork = with_pool(ours, "threads"), with_pool(ours, "prefork:4")
    assert threads.name == "ours-sqlite@threads"
    assert threads.settings("noop", {}) == "--loglevel WARNING --pool threads"
    assert threads.waiting == ours.waiting
    assert prefork.settings("noop", {}).endswith("--pool prefork --concurrency 4")
    assert prefork.waiting == (4,)
    assert prefork.workers("python", "noop", {})[0][-1].endswith("--pool prefork --concurrency 4")
