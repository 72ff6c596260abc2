from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import pytest

from celery_agents.errors import BrokerUnavailableError, ConfigurationError
from deploy.local import locks, stack
from deploy.local.servers import LOOPBACK, await_ping
from deploy.local.stack import fresh_directory, local_stack, reap
from tests.support.ports import free_port
from tests.support.sleepers import sleeper

PROCFILE = """
worker: sh -c 'echo "node ready."; sleep 60'
beat: sh -c 'echo tick; sleep 60'
"""


@pytest.fixture(autouse=True)
def named_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker of the user's that answers, so that none is started."""
    monkeypatch.setenv("REDIS_URL", "redis://:hush@broker:1/0")
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setattr(stack, "await_ping", lambda _: None)


@pytest.fixture
def procfile_path(tmp_path: Path) -> Path:
    path = tmp_path / "Procfile"
    path.write_text(PROCFILE)
    return path


def test_services_run_until_the_end(tmp_path: Path, procfile_path: Path) -> None:
    with local_stack(
        ("worker", "beat"), directory=tmp_path / "state", procfile_path=procfile_path, grace_s=2
    ) as running:
        pids = [service.pid for service in running.services.values()]
        assert running.worker_pid() == pids[0]
        assert None not in pids
        assert running.redis_url == "redis://:hush@broker:1/0"
        assert running.database_url == f"sqlite:///{tmp_path}/state/journal.db"
        assert running.log("worker").read_text() == "node ready.\n"
        assert running.last_lines("worker") == "node ready."
    assert locks.holder(tmp_path / "state" / "worker.pid") is None
    assert locks.holder(tmp_path / "state" / "beat.pid") is None


def test_restart_waits_until_the_worker_is_ready(tmp_path: Path, procfile_path: Path) -> None:
    with local_stack(directory=tmp_path, procfile_path=procfile_path, grace_s=2) as running:
        before = running.worker_pid()
        running.restart("worker")
        assert running.worker_pid() not in {None, before}
        assert running.log("worker").read_text().count("ready") == 2


def test_database_of_the_user_is_used(
    tmp_path: Path, procfile_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:hush@db/journal")
    monkeypatch.setattr(stack, "_release", lambda _: None)  # there is no such server
    with local_stack((), directory=tmp_path, procfile_path=procfile_path) as running:
        assert running.database_url == "postgresql://u:hush@db/journal"
        assert "hush@db" in (tmp_path / "env").read_text()
        assert (tmp_path / "env").stat().st_mode & 0o077 == 0


def test_second_launcher_is_refused(tmp_path: Path, procfile_path: Path) -> None:
    with (
        local_stack((), directory=tmp_path, procfile_path=procfile_path),
        pytest.raises(ConfigurationError, match=f"process {os.getpid()}"),
        local_stack((), directory=tmp_path, procfile_path=procfile_path),
    ):
        pass


def test_journal_that_cannot_be_migrated_stops_it(
    tmp_path: Path, procfile_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}")  # a folder, not a file
    with (
        pytest.raises(ConfigurationError, match=r"(?s)brought up to date.*unable to open"),
        local_stack(directory=tmp_path, procfile_path=procfile_path),
    ):
        pass
    assert not (tmp_path / "worker.pid").exists()


def test_broker_that_does_not_answer_is_one_error(
    tmp_path: Path, procfile_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack, "await_ping", partial(await_ping, timeout_s=0.2))
    monkeypatch.setenv("REDIS_URL", f"redis://{LOOPBACK}:{free_port()}")
    with (
        pytest.raises(BrokerUnavailableError),
        local_stack(directory=tmp_path, procfile_path=procfile_path),
    ):
        pass


def test_flower_gets_a_login_and_a_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLOWER_BASIC_AUTH", raising=False)
    monkeypatch.delenv("FLOWER_PORT", raising=False)
    environ = stack._environment(tmp_path, None, ["flower"])
    password = (tmp_path / "flower.password").read_text()
    assert environ["FLOWER_BASIC_AUTH"] == f"admin:{password}"
    assert int(environ["FLOWER_PORT"]) > 0
    assert "FLOWER_BASIC_AUTH" not in stack._environment(tmp_path, None, ["worker"])


def test_flower_login_of_the_user_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWER_BASIC_AUTH", "me:mine")
    environ = stack._environment(tmp_path, None, ["flower"])
    assert environ["FLOWER_BASIC_AUTH"] == "me:mine"
    assert not (tmp_path / "flower.password").exists()


class TestFreshDirectory:
    def test_is_removed_at_the_end(self, tmp_path: Path) -> None:
        with fresh_directory(tmp_path / "demo") as directory:
            (directory / "file").touch()
        assert list((tmp_path / "demo").iterdir()) == []

    def test_is_kept_for_a_look_after_an_error(self, tmp_path: Path) -> None:
        def fail() -> None:
            with fresh_directory(tmp_path / "demo"):
                raise ValueError

        with pytest.raises(ValueError):  # noqa: PT011  # the very error that was raised above
            fail()
        assert len(list((tmp_path / "demo").iterdir())) == 1

    def test_leftovers_are_ended_and_cleared(self, tmp_path: Path) -> None:
        left = tmp_path / "demo" / "left"
        left.mkdir(parents=True)
        (left / "launcher.pid").write_text("1\n")
        child = sleeper(left / "worker.pid")
        with fresh_directory(tmp_path / "demo") as directory:
            assert child.wait(5) == -signal.SIGTERM
            assert list((tmp_path / "demo").iterdir()) == [directory]

    def test_those_in_use_are_left_alone(self, tmp_path: Path, procfile_path: Path) -> None:
        with (
            fresh_directory(tmp_path / "demo") as first,
            local_stack((), directory=first, procfile_path=procfile_path),
        ):
            with fresh_directory(tmp_path / "demo") as second:
                assert first.exists()
                assert second != first
            assert not reap(first)
