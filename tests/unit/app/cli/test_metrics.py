"""Pushing the service's gauges to a gateway."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from app.cli.commands import commands
from app.settings import Settings
from tests.support.ports import free_port


class Gateway:
    """Takes what is pushed, as Prometheus' Pushgateway does."""

    def __init__(self) -> None:
        taken: list[tuple[str, str]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                taken.append((self.path, body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Silent."""

        self.taken = taken
        self.server = HTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    made = Gateway()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


@pytest.fixture
def pushed(settings: Settings) -> Any:
    def push(url: str) -> Result:
        about = SimpleNamespace(app=SimpleNamespace(agents_settings=settings))
        return CliRunner().invoke(commands, ["metrics", "--push", url, "--job", "n"], obj=about)

    return push


@pytest.fixture
def settings(sqlite_journal_url: str) -> Settings:
    about = {"redis_url": "redis://127.0.0.1:1/0", "database_url": sqlite_journal_url}
    return Settings.model_validate(about)


def test_a_gateway_gets_the_gauges(pushed: Any, gateway: Gateway) -> None:
    """Without Redis, too, those of the journal."""
    done = pushed(f"http://127.0.0.1:{gateway.server.server_port}")
    assert done.exit_code == 0, done.output
    ((path, body),) = gateway.taken
    assert path == "/metrics/job/n"
    assert 'agents_steps_open{state="ready"} 0.0' in body
    assert "gauges were pushed" in done.output


def test_a_gateway_that_is_away(pushed: Any) -> None:
    done = pushed(f"http://user:secret@127.0.0.1:{free_port()}")
    assert done.exit_code == 1
    assert "did not take them" in done.output
    assert "secret" not in done.output
