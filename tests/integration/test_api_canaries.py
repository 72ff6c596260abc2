"""Keys, tokens, passwords and data of persons through the API: where they are looked for after."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from api.services import Services
from app.access.permissions import Role
from app.access.tokens import AccessTokens
from app.telemetry.lines import Lines
from celery_agents.traces import span_of
from deploy.local.servers import LOOPBACK
from tests.fakes.model_server import Does, ModelServer
from tests.integration.harness import COROUTINES, FAST, Stack, eventually
from tests.integration.test_canaries import WHOLE, _columns, _holds
from tests.integration.test_traces import begun
from tests.support.api import JWT_KEY, Asked, in_process, made_key, served, settings
from tests.support.otlp_sink import Sink, sink
from tests.support.ports import free_port

pytestmark = pytest.mark.databases("sqlite")

PERSON = "jane.roe.q7zr2xw9@example.org"
PASSWORD = "pw5" + "Vb3Hm6Yc5Jf1Gs0Lp7Z"
TEXT = "One word after the other, until all of them have been said to whoever watches. " * 3


@pytest.fixture
def collector() -> Iterator[Sink]:
    with sink() as made:
        yield made


@pytest.fixture
def stack(
    database_url: str,
    redis_url: str,
    tmp_path: Path,
    model: ModelServer,
    collector: Sink,
) -> Iterator[Stack]:
    """A worker that logs all and tells traces and metrics, with a model, on each database."""
    config = tmp_path / "agents.toml"
    about = f'kind = "openai"\nmodel = "m"\nbase_url = "{model.url}/v1"\nstream = true'
    config.write_text(f"[agents.gpt]\n{about}\n")
    env = {**FAST, "AGENTS_CONFIG": str(config), "AGENTS_JWT_KEYS": json.dumps([JWT_KEY])}
    env |= {"AGENTS_HEALTH_PORT": str(free_port()), "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    env |= {"AGENTS_TRACES_INTERVAL_S": "0.2", "AGENTS_TRACES_DELAY_S": "3"}
    made = Stack(redis_url, database_url, tmp_path, env)
    made.worker([*COROUTINES, "--loglevel", "DEBUG"])
    yield made
    made.close()


def secrets_of(stack: Stack) -> dict[str, str]:
    """A key and a token that hold."""
    given = settings(stack.redis_url, stack.database_url)
    claims = {"sub": "ada", "role": "admin", "tenant": ""}
    return {
        "key": made_key(stack.database_url, Role.ADMIN, tenant=None),
        "token": AccessTokens(given).sign(claims, 600.0),
    }


def ask_all(http: Any, secret: str) -> str:
    """Requests that succeed and that are refused, each with all that is not to be found again."""
    headers = {"Authorization": f"Bearer {secret}"}
    private = f"{PERSON} password={PASSWORD} {secret}"
    ask = {"task": "ask", "agent": "noop", "input": f"I am {PERSON}, password={PASSWORD}"}
    told = ""
    for method, path, body, more in [
        ("POST", "/tasks", ask, {"Prefer": "wait=20"}),
        ("POST", "/tasks", {**ask, private: 1}, {}),
        ("POST", "/tasks", {**ask, "agent": f"{private}\n"}, {}),
        ("POST", "/tasks", {**ask, "task": private}, {}),
        ("POST", "/tasks", ask, {"Idempotency-Key": "a b" + PASSWORD}),
        ("POST", "/tasks", ask, {"Agents-Webhook": f"https://me:{PASSWORD}@example.org/"}),
        ("POST", "/tasks", ask, {"Authorization": f"Bearer {secret[:-1]}"}),
        ("POST", "/tasks", ask, {"Authorization": f"Basic {secret}"}),
        ("POST", "/agents", {"name": "x", "entry": {"kind": "http", "url": private}}, {}),
        ("POST", "/keys", {"name": "x", "role": private}, {}),
        ("GET", f"/tasks/{secret}", None, {}),
        ("GET", f"/tasks?cursor={secret}&api_key={secret}", None, {}),
        ("GET", f"/{PASSWORD}/{secret}", None, {}),
        ("DELETE", "/agents/gone", None, {}),
        ("GET", "/sessions/x", None, {"Cookie": f"agents_key={secret}"}),
    ]:
        response = http.request(method, path, json=body, headers={**headers, **more})
        assert response.status_code < 500, (path, response.text)
        if response.status_code >= 400:  # whoever asked for an input is told it
            told += f"{response.text} {response.headers}"
    return told


def _values(stack: Stack) -> str:
    """What Redis keeps, under which keys."""
    found: list[Any] = list(stack.redis.keys("*"))
    return repr(found + [stack.redis.dump(key) for key in found])


@pytest.mark.timeout(200)
def test_no_canary_is_anywhere(stack: Stack, tmp_path: Path, collector: Sink) -> None:
    given = secrets_of(stack)
    begun(stack, collector)
    texts: dict[str, str] = {}
    with served(stack.env, tmp_path) as http:
        texts["responses"] = "".join(ask_all(http, secret) for secret in given.values())
        texts["crash"] = _crash(http, stack, given["key"])
    with served(stack.env, tmp_path) as http:
        headers = {"Authorization": f"Bearer {given['key']}"}
        pages = (
            "/metrics",
            "/tasks",
            "/agents",
            "/keys",
            "/dead-letters",
            "/stats",
            "/ui",
            "/ui/agents",
        )
        cookie = {"Cookie": f"agents_key={given['key']}", "Accept": "text/html"}
        for page in pages:
            texts[page] = http.get(page, headers=cookie if "ui" in page else headers).text
    texts["spans"] = _spans(stack, collector)
    texts["worker's metrics"] = _metrics(stack)
    texts["log"] = (tmp_path / "api.log").read_text() + stack.workers[0].logs()
    columns = _columns(stack)
    texts |= {name: told for name, told in columns.items() if name not in WHOLE}
    texts["redis"] = _values(stack)
    whole = {"redis": texts["redis"]} | {name: columns[name] for name in WHOLE}
    texts["redis keys"] = repr(stack.redis.keys("*"))
    hits = [
        (place, name)
        for place, told in texts.items()
        for name, secret in {**given, "password": PASSWORD, "person": PERSON}.items()
        if _holds(told, _secret_of(secret))
        and (place not in whole or name in given)  # what was asked is kept, and keys never
    ]
    assert not hits, hits
    assert [n for n in given if any(_holds(t, _secret_of(given[n])) for t in whole.values())] == []
    assert _holds(columns["steps.payload"], PERSON)  # what is there is found
    assert "agent.drop" in columns["audit.action"]
    assert "agents_runs_total" in texts["worker's metrics"]
    assert all(texts[page] for page in pages)


def _spans(stack: Stack, collector: Sink) -> str:
    """The spans of all runs that have ended."""
    query = "SELECT id FROM steps WHERE agent = 'noop' AND state = 'succeeded'"
    ids = {span_of(i) for i in stack.read(lambda c: c.exec_driver_sql(query).scalars().all())}
    told = "all spans"  # by a process of the lowest priority: on a busy machine it has to wait
    eventually(lambda: ids <= {s.span_id for s in collector.spans}, told, timeout_s=180)
    assert len(ids) > len(secrets_of(stack))
    return repr(collector.spans)


def _metrics(stack: Stack) -> str:
    return httpx2.get(f"http://{LOOPBACK}:{stack.env['AGENTS_HEALTH_PORT']}/metrics").text


def _secret_of(given: str) -> str:
    """The part of a key or a token that lets somebody in."""
    if given.startswith("ca_"):
        return given.split("_", 2)[2]
    return given.rpartition(".")[2] if given.startswith("eyJ") else given


def _crash(http: Any, stack: Stack, key: str) -> str:
    """Kill the API amid a request."""
    body = {"task": "ask", "agent": "slow", "input": {"seconds": 2, "value": PERSON}}
    headers = {"Authorization": f"Bearer {key}", "Prefer": "wait=20"}

    def waits() -> None:
        with pytest.raises(httpx2.TransportError):
            http.post("/tasks", json=body, headers=headers)

    thread = threading.Thread(target=waits)
    thread.start()
    query = "SELECT count(*) FROM steps WHERE agent = 'slow' AND state = 'running'"
    eventually(lambda: stack.read(lambda c: c.exec_driver_sql(query).scalar()))
    http.child.kill()
    thread.join(20)
    assert not thread.is_alive()
    return "killed"


def test_no_canary_is_in_the_log_of_a_failure(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """500 and 503, whose errors quote all that was sent."""
    given = secrets_of(stack)
    caplog.set_level(logging.DEBUG)
    text = f"{given['key']} {given['token']} password={PASSWORD} Authorization: {given['token']}"

    async def fails(*_: Any) -> Any:
        raise RuntimeError(f"cannot read: {text}")

    with in_process(settings(stack.redis_url, stack.database_url)) as http:
        user = Asked(http, given["key"])
        user("GET", "/tasks", status=200)
        monkeypatch.setattr(Services, "read", fails)
        told = user("GET", "/tasks")
        assert told.status_code == 500
    lines = Lines(logging.Formatter())  # as the handlers of a process write them
    shown = "".join(lines.format(record) for record in caplog.records)
    for secret in (*given.values(), PASSWORD):
        assert not _holds(told.text + shown, _secret_of(secret))
    assert "cannot read" in shown


def test_a_watcher_goes_on_when_its_server_is_killed(
    stack: Stack, tmp_path: Path, model: ModelServer
) -> None:
    model.script(Does(text=TEXT, pieces=40, pause_s=0.05))
    key = made_key(stack.database_url, Role.USER)
    headers = {"Authorization": f"Bearer {key}"}
    heard: list[dict[str, Any]] = []
    with served(stack.env, tmp_path) as http:
        body = {"task": "ask", "agent": "gpt", "input": "tell", "stream": True}
        run_id = Asked(http, key)("POST", "/tasks", body, status=202)["id"]
        with pytest.raises(httpx2.TransportError):
            _watch(http, run_id, headers, heard)
    before = len(heard)
    assert heard[-1]["type"] != "end"
    with served(stack.env, tmp_path) as http:
        more = {**headers, "Last-Event-ID": heard[-1]["id"]}
        rest = http.get(f"/tasks/{run_id}/events", headers=more).text
        heard += [json.loads(x[6:]) for x in rest.splitlines() if x.startswith("data: ")]
        whole = http.get(f"/tasks/{run_id}/events", headers=headers).text
    assert len(heard) > before
    assert [e["id"] for e in heard] == [
        json.loads(x[6:])["id"] for x in whole.splitlines() if x.startswith("data: ")
    ]
    assert "".join(e.get("text", "") for e in heard if e["type"] == "text") == TEXT
    assert heard[-1]["type"] == "end"


def _watch(http: Any, run_id: str, headers: dict[str, str], heard: list[dict[str, Any]]) -> None:
    """Hear five pieces of text; then the API is killed."""
    with http.stream("GET", f"/tasks/{run_id}/events", headers=headers) as stream:
        for line in stream.iter_lines():
            if line.startswith("data: "):
                heard.append(json.loads(line[6:]))
            if sum(e["type"] == "text" for e in heard) == 5:
                http.child.kill()
