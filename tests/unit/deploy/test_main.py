from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from celery_agents.errors import BrokerUnavailableError
from deploy.local import __main__ as cli
from deploy.local import locks
from deploy.local.stack import Stack
from examples.triage import demo

SECRET = "s3cretvalue"  # what must not be shown


@pytest.fixture
def running(tmp_path: Path) -> Stack:
    environ = {
        "REDIS_URL": f"redis://:{SECRET}@127.0.0.1:1/0",
        "DATABASE_URL": f"postgresql://u:{SECRET}@db/journal",
        "FLOWER_PORT": "5555",
    }
    return Stack(tmp_path, environ, None)


@pytest.fixture(autouse=True)
def stack_without_processes(
    running: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def local_stack(*_: object, **__: object) -> Iterator[Stack]:
        yield running

    @contextmanager
    def fresh_directory() -> Iterator[Path]:
        yield tmp_path

    monkeypatch.setattr(cli, "local_stack", local_stack)
    monkeypatch.setattr(cli, "fresh_directory", fresh_directory)
    monkeypatch.setattr(cli, "_end_like_ctrl_c", lambda: None)


@pytest.fixture
def demo_is(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[list[str]], int]], None]:
    def use(main: Callable[[list[str]], int]) -> None:
        monkeypatch.setattr(demo, "main", main)

    return use


Demo = Callable[[Callable[[list[str]], int]], None]


@pytest.mark.parametrize("argv", [[], ["down"], ["up", "now"]])
def test_unknown_commands_get_the_usage(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(argv) == 2
    assert "usage" in capsys.readouterr().err


def test_description_shows_no_password(running: Stack) -> None:
    text = "\n".join(cli.describe(running))
    assert SECRET not in text
    assert "127.0.0.1:1/0" in text


def test_demo_gets_its_arguments_and_servers(demo_is: Demo, running: Stack) -> None:
    seen = []

    def main(argv: list[str]) -> int:
        seen.append((argv, os.environ["REDIS_URL"], os.environ["DATABASE_URL"]))
        return 0

    demo_is(main)
    before = dict(os.environ)
    assert cli.main(["demo", "--json", "lines.txt"]) == 0
    assert seen == [(["--json", "lines.txt"], running.redis_url, running.database_url)]
    assert dict(os.environ) == before


def test_failing_demo_shows_what_the_worker_said_and_keeps_its_files(
    demo_is: Demo,
    running: Stack,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(running, "last_lines", lambda name: f"{name}: out of luck")
    demo_is(lambda _: 4)
    with pytest.raises(SystemExit) as caught:  # which fresh_directory sees as an error
        cli.main(["demo"])
    assert caught.value.code == 4
    assert "worker: out of luck" in capsys.readouterr().err


def test_errors_are_plain_words_without_passwords(
    demo_is: Demo, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(_: list[str]) -> int:
        raise BrokerUnavailableError(f"redis://:{SECRET}@broker:1 is away")

    demo_is(main)
    assert cli.main(["demo"]) == 1
    shown = capsys.readouterr().err
    assert shown == "run: redis://:***@broker:1 is away\n"


def test_interrupt_is_told_to_the_shell(demo_is: Demo) -> None:
    def main(_: list[str]) -> int:
        raise KeyboardInterrupt

    demo_is(main)
    assert cli.main(["demo"]) == 130


def test_up_waits_for_ctrl_c(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted:
        def wait(self) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(threading, "Event", Interrupted)
    assert cli.main(["up"]) == 0
    shown = capsys.readouterr().out
    assert "stopping" in shown
    assert SECRET not in shown


class TestReap:
    def test_clear_state_is_fine(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cli, "STATE", tmp_path)
        (tmp_path / "demo" / "old").mkdir(parents=True)
        assert cli.main(["reap"]) == 0

    @pytest.mark.parametrize("place", [".", "demo/one"])
    def test_live_launcher_is_respected(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
    ) -> None:
        monkeypatch.setattr(cli, "STATE", tmp_path)
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        lock = locks.take(tmp_path / place / "launcher.pid")
        assert lock is not None
        assert cli.main(["reap"]) == 3
        os.close(lock)
        assert cli.main(["reap"]) == 0
