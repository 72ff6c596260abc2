from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from celery_agents.errors import BrokerUnavailableError, ConfigurationError
from deploy.local import __main__ as cli
from deploy.local import first, locks
from deploy.local.stack import Stack
from deploy.local.state import write_environment
from examples.triage import demo

SECRET = "s3cretvalue"  # what must not be shown


@pytest.fixture
def running(tmp_path: Path) -> Stack:
    environ = {
        "REDIS_URL": f"redis://:{SECRET}@127.0.0.1:1/0",
        "DATABASE_URL": f"postgresql://u:{SECRET}@db/journal",
        "FLOWER_PORT": "5555",
        "AGENTS_API_PORT": "8000",
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


@pytest.mark.parametrize("where", [".", ".local", "/"])
def test_description_is_seven_lines_and_its_commands_work(
    running: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    running.directory = tmp_path / ".local"
    running.directory.mkdir()
    monkeypatch.setattr(cli, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path / where)
    write_environment(running.directory / "env", {"REDIS_URL": running.redis_url})
    lines = dict(line.split(maxsplit=1) for line in cli.describe(running))
    assert list(lines) == ["page", "broker", "journal", "api", "flower", "logs", "clients"]
    script = f'{lines["clients"]} && printf "%s " "$REDIS_URL" && command -v celery'
    bare = {"PATH": "/usr/bin:/bin"}
    told = subprocess.run(
        ["sh", "-c", script], env=bare, capture_output=True, text=True, check=False
    )
    assert (lines["clients"].count(str(tmp_path)) == 0) == (where == ".")
    assert told.stdout.split() == [running.redis_url, f"{sys.prefix}/bin/celery"], told.stderr


class TestAsk:
    """``./run ask FILE AGENT INPUT``, without its processes."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        path = tmp_path / "first_of_all.py"
        path.write_text("")
        return path

    @pytest.mark.parametrize("words", [[], ["f.py"], ["f.py", "a"], ["f.py", "a", "b", "c"]])
    def test_three_words_are_needed(
        self, words: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(["ask", *words]) == 2
        assert "ask FILE AGENT INPUT" in capsys.readouterr().err

    @pytest.mark.parametrize("answered", [True, False])
    def test_the_worker_offers_the_agents_of_the_file(
        self, file: Path, monkeypatch: pytest.MonkeyPatch, answered: bool
    ) -> None:
        seen = []

        def ask(stack: Stack, words: list[str]) -> int:
            seen.append((os.environ["AGENTS_MODULES"], os.environ["PYTHONPATH"], words))
            return 0 if answered else 1

        monkeypatch.setenv("PYTHONPATH", "/elsewhere")
        monkeypatch.setattr(first, "ask", ask)
        words = [str(file), "topic", "hello"]
        if answered:
            assert cli.main(["ask", *words]) == 0
        else:
            with pytest.raises(SystemExit):  # which fresh_directory sees as an error
                cli.main(["ask", *words])
        assert seen == [('["first_of_all"]', f"/elsewhere:{file.parent}", words)]
        assert os.environ["PYTHONPATH"] == "/elsewhere"

    @pytest.mark.parametrize(
        ("name", "says"),
        [
            ("missing.py", "There is no file"),
            ("app.py", "another module is called app"),
            ("json.py", "another module is called json"),
            ("sys.py", "another module is called sys"),
            ("os.py", "another module is called os"),
            ("not-a-name.py", "Call the file something else"),
            ("hello.txt", "Call the file something else"),
        ],
    )
    def test_files_that_cannot_be_imported_are_told(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, says: str
    ) -> None:
        if says != "There is no file":
            (tmp_path / name).write_text("")
        assert cli.main(["ask", str(tmp_path / name), "topic", "hello"]) == 1
        assert says in capsys.readouterr().err

    @pytest.mark.parametrize("beside", ["queue.py", "os.py", "sys.py", "celery.py", "redis/"])
    def test_what_would_be_imported_instead_of_a_package_is_told(
        self, file: Path, beside: str
    ) -> None:
        other = file.parent / (f"{beside}__init__.py" if beside.endswith("/") else beside)
        other.parent.mkdir(exist_ok=True)
        other.write_text("")
        with pytest.raises(ConfigurationError, match=rf"{beside.rstrip('/')} beside {file.name}"):
            first.environment(file)

    @pytest.mark.parametrize("beside", ["tasks.py", "app.py", "shop.py", "agents/", "not-one.py"])
    def test_what_comes_after_ours_may_have_any_name(self, file: Path, beside: str) -> None:
        other = file.parent / (f"{beside}__init__.py" if beside.endswith("/") else beside)
        other.parent.mkdir(exist_ok=True)
        other.write_text("")
        assert first.environment(file)["PYTHONPATH"].endswith(str(file.parent))

    def test_a_file_that_is_importable_already_is_its_own_module(
        self, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.syspath_prepend(file.parent)
        assert first.environment(file)["AGENTS_MODULES"] == '["first_of_all"]'


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
    assert "Stopping" in shown
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
