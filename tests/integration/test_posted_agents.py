"""Agents that are made over the API, on real workers and a real journal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from app.access.permissions import Role
from celery_agents.errors import AgentsError
from deploy.local.servers import LOOPBACK
from tests.fakes.model_server import Does, ModelServer
from tests.integration.harness import COROUTINES, FAST, SOON_S, Location, Stack, eventually
from tests.support.api import Asked, in_process, made_key, settings

pytestmark = pytest.mark.databases("postgres")

SECRET = "tok7" + "Zr2Xw9Kd4Tn8Vb3Hm6"
ENV = {
    **FAST,
    "AGENTS_API_SECRETS": f"HOOK_TOKEN@{LOOPBACK},OPENAI_API_KEY",
    "AGENTS_PRIVATE_HOSTS": LOOPBACK,
    "HOOK_TOKEN": SECRET,
}
GIVEN: dict[str, Any] = {
    "api_secrets": tuple(ENV["AGENTS_API_SECRETS"].split(",")),
    "private_hosts": (LOOPBACK,),
}


@pytest.fixture(scope="module")
def stack(location: Location) -> Iterator[Stack]:
    made = Stack(*location, ENV)
    made.worker(COROUTINES, name="first@here")
    yield made
    made.close()


@pytest.fixture(scope="module")
def admin(stack: Stack) -> Iterator[Asked]:
    key = made_key(stack.database_url, Role.ADMIN, tenant=None)
    with in_process(settings(stack.redis_url, stack.database_url, **GIVEN)) as http:
        yield Asked(http, key)


def offered(asked: Asked, name: str) -> Any:
    items = asked("GET", "/agents", status=200)["items"]
    return next((item for item in items if item["name"] == name), None)


def test_from_its_making_to_its_end(stack: Stack, admin: Asked, model: ModelServer) -> None:
    body: dict[str, Any] = {
        "name": "made",
        "entry": {
            "kind": "openai",
            "model": "m",
            "base_url": f"{model.url}/v1",
            "api_key_env": "HOOK_TOKEN",
        },
    }
    model.script(Does(text="one"), Does(text="two"))
    admin("POST", "/agents", body, status=201)
    # At once: a worker that does not know it looks.
    assert stack.client.ask("made", "?").get(timeout=SOON_S) == "one"
    assert model.requests[-1].headers["authorization"] == f"Bearer {SECRET}"
    found = eventually(lambda: (row := offered(admin, "made")) and row["workers"] and row)
    assert (found["kind"], found["posted"]) == ("openai", True)
    assert found["workers"] == ["first@here"]
    assert found["queues"] == ["agents", "agents.control"]
    own = offered(admin, "shout")
    assert (own["kind"], own["posted"], own["workers"]) == ("function", False, ["first@here"])
    # Another worker has it from its start, and changes within a heartbeat.
    second = stack.worker(COROUTINES, name="second@here")
    eventually(lambda: offered(admin, "made")["workers"] == ["first@here", "second@here"])
    admin("POST", "/agents", {**body, "entry": {**body["entry"], "description": "new"}}, status=201)
    eventually(lambda: offered(admin, "made")["description"] == "new")
    admin("DELETE", "/agents/made", status=204)
    admin("DELETE", "/agents/made", status=404)
    eventually(lambda: offered(admin, "made") is None)
    eventually(lambda: _is_unknown(stack))
    second.terminate()


def _is_unknown(stack: Stack) -> bool:
    try:
        stack.client.ask("made", "?").get(timeout=SOON_S)
    except AgentsError as error:
        return error.kind == "unknown_agent"
    return False


HTTP = {"kind": "http", "url": f"http://{LOOPBACK}:9/"}


@pytest.mark.parametrize(
    ("entry", "status"),
    [
        ({"kind": "function", "function": "os:system"}, 422),
        ({"kind": "celery", "task": "t", "queue": "q"}, 422),
        ({"kind": "scripted"}, 422),
        ({"kind": "openai", "model": "m", "api_key_env": "OPENAI_API_KEY", "tools": ["os:x"]}, 422),
        ({"kind": "openai", "model": "m", "api_key_env": "OPENAI_API_KEY"}, 201),
        ({"kind": "openai", "model": "m"}, 422),
        ({"kind": "anthropic", "model": "m", "api_key_env": "DATABASE_URL"}, 422),
        (
            {"kind": "openai", "model": "m", "api_key_env": "OPENAI_API_KEY"}
            | {"base_url": "https://evil.example/v1"},
            422,
        ),
        (HTTP | {"token_env": "OPENAI_API_KEY"}, 422),
        (HTTP | {"url": "https://evil.example/", "token_env": "HOOK_TOKEN"}, 422),
        (HTTP | {"url": "http://169.254.169.254/"}, 422),
        (HTTP | {"health_url": "http://10.0.0.1/"}, 422),
        (HTTP, 201),
    ],
)
def test_what_may_be_made(idle: Asked, entry: dict[str, Any], status: int) -> None:
    told = idle("POST", "/agents", {"name": "x", "entry": entry})
    assert told.status_code == status, told.text


@pytest.fixture
def idle(redis_url: str, sqlite_journal_url: str) -> Iterator[Asked]:
    """An API without a worker."""
    key = made_key(sqlite_journal_url, Role.ADMIN, tenant=None)
    with in_process(settings(redis_url, sqlite_journal_url, **GIVEN)) as http:
        yield Asked(http, key)


def test_a_url_is_looked_at_when_it_is_asked(stack: Stack, admin: Asked) -> None:
    for name, host in (("inside", "127.0.0.2"), ("odd", "2130706434")):
        entry = {"kind": "http", "url": f"http://{host}:9/"}
        status = 422 if name == "inside" else 201
        admin("POST", "/agents", {"name": name, "entry": entry}, status=status)
    found = admin.ask("odd", "?")
    assert found["error"]["kind"] == "address_refused"


def test_workers_keep_their_own(stack: Stack, admin: Asked) -> None:
    admin("POST", "/agents", {"name": "shout", "entry": HTTP}, status=409)
    assert stack.client.ask("shout", "a").get(timeout=SOON_S) == "A"


def test_who_may_make_one(stack: Stack, admin: Asked) -> None:
    body = {"name": "x", "entry": HTTP}
    for role, tenant in ((Role.ADMIN, "acme"), (Role.USER, None), (Role.SERVICE, None)):
        other = Asked(admin.http, made_key(stack.database_url, role, tenant=tenant))
        other("POST", "/agents", body, status=403)
        other("DELETE", "/agents/x", status=404 if role is Role.ADMIN else 403)
    query = "SELECT action, target FROM audit WHERE target = 'x'"
    assert stack.read(lambda c: c.exec_driver_sql(query).all()) == []
    admin("POST", "/agents", body, status=201)
    acts = stack.read(lambda c: c.exec_driver_sql(query).all())
    assert [tuple(act) for act in acts] == [("agent.put", "x")]
