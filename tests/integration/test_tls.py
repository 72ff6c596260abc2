"""The broker behind a real TLS server: who connects, what is on the wire, and who is refused."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from celery_agents import Client, names
from celery_agents.errors import BrokerUnavailableError, ConfigurationError
from deploy.local.servers import LOOPBACK
from tests.integration.harness import FAST, Stack, celery, eventually
from tests.support.redis_server import RedisServer
from tests.support.service import APP
from tests.support.tls import Authority, Relay

pytestmark = pytest.mark.databases("sqlite")

#: A handshake of TLS begins with this byte.
HANDSHAKE = 0x16


@dataclass
class Secure:
    """A broker behind TLS, heard on the wire before it and behind it."""

    authority: Authority
    wire: Relay
    inside: Relay
    password: str
    database: int

    def url(self, query: str = "", host: str = "localhost") -> str:
        return f"rediss://:{self.password}@{host}:{self.wire.port}/{self.database}{query}"

    @property
    def trusted(self) -> str:
        return self.url(f"?ssl_ca_certs={quote(str(self.authority.path))}")


@pytest.fixture
def secure(broker: RedisServer, redis_database: int, tmp_path: Path) -> Iterator[Secure]:
    authority = Authority(tmp_path / "authority")
    with (
        Relay(broker.port, authority.server_context()) as inside,
        Relay(inside.port) as wire,
    ):
        yield Secure(authority, wire, inside, broker.password, redis_database)


@pytest.fixture(params=["named", "system"])
def tls(
    request: pytest.FixtureRequest,
    secure: Secure,
    sqlite_journal_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Stack]:
    """A stack over TLS: the CA is named in the address, or is one that the system trusts."""
    monkeypatch.delenv("CELERY_BROKER_URL", raising=False)
    url = secure.trusted
    if request.param == "system":
        url = secure.url()
        monkeypatch.setenv("SSL_CERT_FILE", str(secure.authority.path))
    made = Stack(url, sqlite_journal_url, tmp_path, {**FAST, "AGENTS_HEALTH_INTERVAL_S": "1"})
    yield made
    made.close()


def test_everything_speaks_tls(tls: Stack, secure: Secure) -> None:
    """Client, worker, beat, recovery, dead letters and the command line."""
    client = tls.client
    lost = client.ask("shout", "lost")
    assert tls.drop_messages() == 1  # recovery makes it good
    worker = tls.worker()
    assert client.ask("shout", "hi").get(timeout=30) == "HI"
    assert client.map("shout", ["a", "b"]).get(timeout=30).results == ("A", "B")
    assert lost.get(timeout=30) == "LOST"
    client.runs.cancel(client.ask("slow", {"seconds": 60}).id)
    beat = tls.beat("beat")
    beat.wait_for_log("Sending due task probe-health")
    tls.redis.lpush("agents", "no message")  # over TLS too
    eventually(client.dead_letters.list, "the dead letter")

    env = tls.env
    asked = celery("-A", APP, "agents", "ask", "shout", "cli", env=env)
    assert asked.stdout == "CLI\n", asked.stderr
    letters = celery("-A", APP, "agents", "dead", "list", env=env)
    assert "not_json" in letters.stdout, letters.stderr
    health = celery("-A", APP, "agents", "health", env=env)
    assert "broker" in health.stdout, health.stderr
    stats = celery("-A", APP, "inspect", "--json", "stats", env=env)
    assert stats.returncode == 0, stats.stderr

    for text in (worker.logs(), beat.logs(), asked.stdout, stats.stdout, health.stdout):
        assert secure.password not in text
    (about,) = json.loads(stats.stdout).values()
    assert about["broker"]["transport_options"]["address"].startswith("<localhost")
    assert secure.wire.heard[0] == HANDSHAKE
    assert secure.password.encode() not in secure.wire.heard
    assert names.QUEUE.encode() + b"\r\n" not in secure.wire.heard
    assert secure.password.encode() in secure.inside.heard  # it looked where it would be


def refusals(secure: Secure, stranger: Authority) -> dict[str, tuple[str, str]]:
    """Addresses whose TLS fails, and what is said of each."""
    other = quote(str(stranger.path))
    return {
        "bare": (secure.url(), "not trusted"),
        "another CA": (secure.url(f"?ssl_ca_certs={other}"), "not trusted"),
        "another host": (
            secure.trusted.replace("localhost", "localhost.localdomain"),
            "not trusted",
        ),
        "sentinels": (
            secure.url(f"?master_name=m&ssl_ca_certs={other}").replace("rediss:", "sentinels:"),
            "not trusted",
        ),
    }


@pytest.mark.parametrize("case", ["bare", "another CA", "another host", "sentinels"])
def test_an_untrusted_certificate_is_a_wrong_setting(
    secure: Secure, tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo  # the name of "another host", wherever the tests run
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *a, **k: real(host.split(".local")[0], *a, **k)
    )
    url, said = refusals(secure, Authority(tmp_path / "stranger"))[case]
    with Client(url) as client:
        began = time.monotonic()
        with pytest.raises(ConfigurationError, match=f"REDIS_URL.*{said}") as caught:
            client.ask("shout", "hi")
        with pytest.raises(ConfigurationError, match="REDIS_URL"):
            client.runs.handle("some").get(timeout=60)
        assert time.monotonic() - began < 5 * 2  # on a busy machine
    assert secure.password not in str(caught.value)
    assert secure.wire.connections > 0
    assert secure.password.encode() not in secure.wire.heard
    assert not secure.inside.heard


def test_workers_beat_and_commands_end_with_it(
    secure: Secure, sqlite_journal_url: str, tmp_path: Path
) -> None:
    stack = Stack(secure.url(), sqlite_journal_url, tmp_path, FAST)
    try:
        worker = stack.worker(ready=False)
        beat = stack.beat("beat")
        for process in (worker, beat):
            process.wait_for_log("cannot start: configuration: REDIS_URL")
        eventually(lambda: not (worker.running or beat.running), "their end")
        assert {worker.returncode, beat.returncode} == {1}
        assert "Traceback" not in worker.logs() + beat.logs()
        for command in (["ask", "shout", "hi"], ["dead", "list"]):
            done = celery("-A", APP, "agents", *command, env=stack.env)
            assert done.returncode == 1
            assert re.search(r"configuration: .*REDIS_URL.*not trusted", done.stderr)
            assert "Traceback" not in done.stderr
    finally:
        stack.close()
    assert not secure.inside.heard


def test_a_port_without_tls_is_a_wrong_setting(broker: RedisServer) -> None:
    url = f"rediss://:{broker.password}@{LOOPBACK}:{broker.port}/0"
    with Relay(broker.port) as wire:
        # A server may also wait for more than a handshake: that looks as if it were away.
        refused = (ConfigurationError, BrokerUnavailableError)
        with (
            Client(url.replace(str(broker.port), str(wire.port))) as client,
            pytest.raises(refused, match=r"TLS|Timeout") as caught,
        ):
            client.ask("shout", "hi")
        assert broker.password not in str(caught.value)
        assert wire.heard[0] == HANDSHAKE
        assert broker.password.encode() not in wire.heard


def test_a_server_that_never_answers_is_away(broker: RedisServer) -> None:
    """A handshake has a time limit, and its end is no wrong setting."""
    with socket.create_server((LOOPBACK, 0)) as silent:
        url = f"rediss://:not-a-password@{LOOPBACK}:{silent.getsockname()[1]}/0"
        began = time.monotonic()
        with Client(url) as client, pytest.raises(BrokerUnavailableError):
            client.ask("shout", "hi")
        assert time.monotonic() - began < 30


def test_clients_show_their_own_certificate(
    broker: RedisServer, redis_database: int, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "authority")
    certificate, key = authority.signed("client")
    with Relay(broker.port, authority.server_context(asks_clients=True)) as server:
        url = f"rediss://:{broker.password}@localhost:{server.port}/{redis_database}"
        query = f"?ssl_ca_certs={authority.path}"
        with Client(f"{url}{query}&ssl_certfile={certificate}&ssl_keyfile={key}") as client:
            client.ask("shout", "hi")
        with (
            Client(url + query) as stranger,
            pytest.raises((ConfigurationError, BrokerUnavailableError)),
        ):
            stranger.ask("shout", "hi")
