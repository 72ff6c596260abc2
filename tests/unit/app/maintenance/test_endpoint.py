from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any
from urllib.error import HTTPError

import pytest
from celery import Celery

from agents.catalog.probes import Probe
from app.caching import sights as caching
from app.execution.runtime import Active, Runtime
from app.maintenance import endpoint
from app.maintenance.endpoint import Endpoint
from app.maintenance.health import record
from app.settings import Settings
from app.telemetry.metrics import Metrics
from celery_agents.contracts.caching import CacheState
from celery_agents.errors import ConfigurationError, JournalUnavailableError
from celery_agents.noted import note
from tests.support.beside import beside
from tests.support.readable import readable


@pytest.fixture
def served(runtime: Runtime) -> Iterator[str]:
    made = Endpoint(runtime)  # port 0: any
    made.start()
    yield f"http://127.0.0.1:{made.port}"
    made.stop()


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def test_alive_while_the_broker_is_away(served: str) -> None:
    assert get(f"{served}/healthz") == (200, "ok\n")
    status, text = get(f"{served}/readyz")
    assert (status, text) == (503, "broker away\njournal ok\n")
    assert get(f"{served}/other")[0] == 404


def test_ready(served: str, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "probe_broker", lambda _: Probe("broker"))
    assert get(f"{served}/readyz?x=1") == (200, "broker ok\njournal ok\n")
    runtime._stopped.set()
    try:
        assert get(f"{served}/readyz") == (503, "stopping\n")
        assert get(f"{served}/healthz")[0] == 200
    finally:
        runtime._stopped.clear()


@pytest.mark.parametrize(
    "error", [JournalUnavailableError("full"), OSError(28, "No space left"), KeyError("a bug")]
)
def test_a_journal_that_takes_no_heartbeat(
    served: str, runtime: Runtime, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(endpoint, "probe_broker", lambda _: Probe("broker"))
    beat = runtime.journal.beat

    def full() -> Any:
        raise error

    monkeypatch.setattr(runtime.journal, "beat", full)
    runtime._try_beat()
    assert get(f"{served}/readyz") == (503, "broker ok\njournal away\n")
    assert get(f"{served}/healthz")[0] == 200  # no restart would help
    monkeypatch.setattr(runtime.journal, "beat", beat)
    runtime._try_beat()
    assert get(f"{served}/readyz") == (200, "broker ok\njournal ok\n")


def test_a_stuck_loop_wants_a_restart(
    served: str, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "LOOP_PATIENCE_S", 0.05)
    goes_on = threading.Event()
    runtime.loop.loop.call_soon_threadsafe(goes_on.wait, 30)
    try:
        assert get(f"{served}/healthz") == (503, "the loop is stuck\n")
    finally:
        goes_on.set()


@pytest.fixture
def found(runtime: Runtime) -> None:
    """Probes of three agents, of which one is not known well enough."""
    pytest.importorskip("prometheus_client")
    for _ in range(2):
        probes = [Probe("agent:a", "down"), Probe("agent:b", latency_ms=2.0)]
        record(runtime.journal, probes, runtime.settings)
    record(runtime.journal, [Probe("agent:new", "down")], runtime.settings)


@pytest.mark.usefixtures("found")
def test_gauges_of_the_service(served: str) -> None:
    status, text = get(f"{served}/metrics/service")
    lines = text.splitlines()
    assert status == 200
    assert 'agents_healthy{target="agent:a"} 0.0' in lines
    assert 'agents_healthy{target="agent:b"} 1.0' in lines
    assert 'agents_probe_latency_seconds{target="agent:b"} 0.002' in lines
    assert not any("agents_healthy" in line and "agent:new" in line for line in lines)
    assert any(line.startswith('agents_probe_age_seconds{target="agent:a"}') for line in lines)


@pytest.mark.usefixtures("found")
def test_cached_answers_of_the_service(
    served: str, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = f"{served}/metrics/service"
    assert "agents_cache" not in get(page)[1]
    state = CacheState(name="gpt", entries=2, local_hits=3, shared_hits=1, saved_usd=0.5)
    monkeypatch.setattr(caching, "states", lambda *_: [state])
    assert runtime.agents.caches
    lines = get(page)[1].splitlines()
    assert 'agents_cache_hits_total{layer="local",name="gpt"} 3.0' in lines
    assert 'agents_cache_hits_total{layer="shared",name="gpt"} 1.0' in lines
    assert 'agents_cache_saved_usd_total{name="gpt"} 0.5' in lines
    assert 'agents_cache_entries{name="gpt"} 2.0' in lines


@pytest.mark.usefixtures("found")
def test_metrics_of_a_worker_repeat_none_of_the_service(served: str, runtime: Runtime) -> None:
    place = "test of the endpoint"
    for _ in range(3):
        note(logging.getLogger(__name__), place, "It failed")
    runtime.active["waits"] = Active()
    runtime.active["runs"] = Active(work=runtime.loop.submit(asyncio.sleep(0)))
    runtime.writes = False
    runtime.metrics = Metrics()
    try:
        status, text = get(f"{served}/metrics")
    finally:
        runtime.active.clear()
        runtime.metrics = None
    lines = text.splitlines()
    assert status == 200
    assert f'agents_noted_total{{place="{place}"}} 3.0' in lines
    assert "agents_steps_running 1.0" in lines
    assert "agents_journal_writable 0.0" in lines
    assert names(text).isdisjoint(names(get(f"{served}/metrics/service")[1]))


def names(text: str) -> set[str]:
    """Of the metrics on a page."""
    return {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}


def test_a_port_that_is_taken(app: Celery, runtime: Runtime) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        values = runtime.settings.model_dump() | {"health_port": taken.getsockname()[1]}
        runtime.settings = Settings.model_construct(**values)
        with pytest.raises(ConfigurationError, match=r"health_port .* cannot be used"):
            Endpoint(runtime)


def test_the_words_tell_nothing_else(served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "probe_broker", lambda _: Probe("broker", "redis://u:secret@h"))
    assert "secret" not in get(f"{served}/readyz")[1]


def connected(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def is_closed(one: socket.socket) -> bool:
    try:
        return one.recv(1) == b""
    except ConnectionError:
        return True


def wait_for_an_answer(url: str) -> None:
    """Until threads of connections that are closed end."""
    answer = None
    while answer is None:
        with suppress(OSError):
            answer = get(f"{url}/healthz")
        time.sleep(0.05)
    assert answer == (200, "ok\n")


def test_a_client_that_trickles_is_closed(served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "PATIENCE_S", 0.3)
    with connected(served) as slow:
        slow.sendall(b"GET /healthz HTTP/1.0\r\n")
        began = time.monotonic()
        while time.monotonic() - began < 20:
            try:
                slow.sendall(b"X")
            except OSError:
                break
            time.sleep(0.05)
        assert is_closed(slow)


@contextmanager
def trickling(url: str, count: int) -> Iterator[None]:
    """So many clients that never end their requests, and come again where they are closed."""
    clients = [connected(url) for _ in range(count)]

    def trickle(over: threading.Event) -> None:
        while not over.is_set():
            for place, one in enumerate(clients):
                try:
                    one.sendall(b"GET /healthz HTTP/1.1\r\nX: 1\r\n")
                except OSError:
                    one.close()
                    clients[place] = connected(url)
                over.wait(0.001)

    try:
        with beside(trickle):
            yield
    finally:
        for one in clients:
            one.close()


def test_slow_clients_do_not_have_a_probe_refused(served: str) -> None:
    """A supervisor would end a worker that is well."""
    with trickling(served, 300):
        for _ in range(20):
            assert get(f"{served}/healthz") == (200, "ok\n")
            answering = [t for t in threading.enumerate() if "process_request" in t.name]
            assert 0 < len(answering) <= 2 * endpoint.CONNECTIONS_MAX + 1


def test_who_is_being_answered_stays(
    app: Celery, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that asked is not closed for another one; who comes when all are answered is."""
    asked, answer = threading.Semaphore(0), threading.Event()

    def page(_: Runtime) -> tuple[HTTPStatus, str]:
        asked.release()
        answer.wait(30)
        return HTTPStatus.OK, "at last\n"

    monkeypatch.setattr(endpoint, "CONNECTIONS_MAX", 3)
    monkeypatch.setattr(endpoint, "ROOM_S", 0.2)
    monkeypatch.setattr(endpoint, "ready", page)
    made = Endpoint(runtime)
    made.start()
    url = f"http://127.0.0.1:{made.port}"
    try:
        with connected(url) as first, connected(url) as slow, connected(url) as third:
            for one in (first, third):
                one.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
            assert all(asked.acquire(timeout=30) for _ in range(2))
            with connected(url) as newer:
                assert is_closed(slow)
                newer.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
                assert asked.acquire(timeout=30)
                with connected(url) as one_more:
                    assert is_closed(one_more)
                answer.set()
                for one in (first, third, newer):
                    assert b"at last" in one.makefile("rb").read()
    finally:
        answer.set()
        made.stop()


@pytest.mark.slow
def test_the_bounds_that_are_told(served: str) -> None:
    """32 connections at once, each closed after 10 s, answered or not (docs/security.md)."""
    began = time.monotonic()
    held = [connected(served) for _ in range(32)]
    assert readable(held, 0.5) == [], "there is room for 32"
    held.append(connected(served))
    for one in held:
        one.settimeout(60)
    assert is_closed(held[0]), "the one that has taken longest makes room"
    assert readable(held[1:], 0) == [], "none of the others is closed yet"
    readable(held[1:], 60)
    assert time.monotonic() - began > 9
    for one in held:
        assert is_closed(one)
        one.close()
    assert time.monotonic() - began < 30
    wait_for_an_answer(served)


def test_a_loop_that_the_watchdog_saw_stand_still(
    served: str, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime.watchdog, "_stood_s", 1e9)
    monkeypatch.setattr(runtime.watchdog, "look", lambda: None)
    assert get(f"{served}/healthz") == (503, "the loop is stuck\n")
