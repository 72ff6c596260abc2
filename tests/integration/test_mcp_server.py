"""``/mcp`` as the official SDK's client asks it: processes of the API, real workers."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp.client.client import Client
from mcp.shared.exceptions import MCPError
from sqlalchemy import func, select

from api.mcp.holding import HELD_MAX
from app.access.permissions import Role
from app.journal.schema.models import Run, Step
from app.journal.stores.keys import ApiKeys
from deploy.local.servers import LOOPBACK, is_free
from tests.integration.harness import SOON_S, Stack, celery, eventually
from tests.support import forks
from tests.support.api import Asked, in_process, made_key, served, settings
from tests.support.mcp_clients import MODES, over_http, over_its_command, over_pipes, run
from tests.support.ports import free_port
from tests.support.service import SERVICE

pytestmark = pytest.mark.databases("sqlite")

ENV = ("REDIS_URL", "DATABASE_URL", "AGENTS_CONFIG")
RUN = "celery-agents/run"


def env_of(stack: Stack) -> dict[str, str]:
    return {name: stack.env[name] for name in ENV if name in stack.env}


@pytest.fixture(scope="module")
def api(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """A process of the API beside the shared stack."""
    with served(env_of(stack), tmp_path_factory.mktemp("api")) as http:
        yield http


@pytest.fixture(scope="module")
def key(stack: Stack) -> str:
    return made_key(stack.database_url, Role.USER, tenant="acme")


@pytest.fixture(params=["http", "pipes"])
def opened(request: pytest.FixtureRequest, stack: Stack, api: httpx2.Client, key: str) -> Any:
    """Opens a client of the key, on each transport."""

    @asynccontextmanager
    async def make(mode: str = "legacy", whose: str = key) -> AsyncIterator[Client]:
        env = {**env_of(stack), "AGENTS_MCP_KEY": whose}
        way = over_http(api.base_url, whose, mode) if request.param == "http" else None
        async with way or over_pipes(env, mode) as client:
            yield client

    return make


def post(api: Any, key: str | None, body: Any, **headers: str) -> Any:
    """What one message is answered, as bytes on the wire."""
    about = {"Accept": "application/json, text/event-stream", **headers}
    if key is not None:
        about["Authorization"] = f"Bearer {key}"
    if isinstance(body, bytes):
        about.setdefault("Content-Type", "application/json")
        return api.post("/mcp", content=body, headers=about)
    return api.post("/mcp", json=body, headers=about)


def asking(name: str, **arguments: Any) -> dict[str, Any]:
    params = {"name": name, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


def told(response: Any) -> Any:
    """The last message of a response, which may be a stream."""
    if not response.headers["content-type"].startswith("text/event-stream"):
        return response.json()
    lines = [x for x in response.text.splitlines() if x.startswith("data: {")]
    return json.loads(lines[-1].removeprefix("data: "))


# -- tools


@pytest.mark.parametrize("mode", MODES)
def test_agents_and_panels_are_tools(opened: Any, mode: str) -> None:
    async def ask() -> None:
        async with opened(mode) as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert {"shout", "gpt", "triage", "first"} <= set(tools)
            assert tools["shout"].description == "Says it louder."
            assert tools["shout"].input_schema["required"] == ["input"]
            assert set(tools["triage"].input_schema["properties"]) == {"input", "instructions"}
            said = await client.call_tool("shout", {"input": "hello"})
            assert (said.content[0].text, said.is_error) == ("HELLO", False)
            assert said.meta is not None
            assert said.meta[RUN]
            voted = await client.call_tool("triage", {"input": "?"})
            assert voted.content[0].text == "yes"
            assert voted.structured_content is not None

    run(ask)


def test_an_answer_that_is_no_text_ends_no_server(opened: Any) -> None:
    async def ask() -> None:
        async with opened() as client:
            said = await client.call_tool("cut_short", {"input": "?"})
            assert said.structured_content == {"a": "\N{REPLACEMENT CHARACTER}"}
            again = await client.call_tool("shout", {"input": "hello"})
            assert again.content[0].text == "HELLO"

    run(ask)


def test_a_call_that_fails_is_told_to_the_model(opened: Any) -> None:
    async def ask() -> None:
        async with opened() as client:
            failed = await client.call_tool("bad", {"input": "?"})
            assert failed.is_error
            assert "hunter2" not in failed.content[0].text
            assert failed.meta is not None
            assert failed.meta[RUN]
            wrong = await client.call_tool("shout", {"input": "a", "sesion": "x"})
            assert wrong.is_error
            assert "sesion" in wrong.content[0].text
            large = await client.call_tool("shout", {"input": "a" * 300_000})
            assert large.is_error
            assert "262,144" in large.content[0].text
            with pytest.raises(MCPError) as unknown:
                await client.call_tool("nobody", {"input": "?"})
            assert unknown.value.error.code == -32602

    run(ask)


def test_tools_of_a_key_that_may_ask_some(stack: Stack, opened: Any) -> None:
    """What is not for a key is unknown to it."""
    narrow = made_key(stack.database_url, Role.USER, agents=["yes", "sho*"])

    async def ask() -> None:
        async with opened(whose=narrow) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            assert {"yes", "shout"} <= names
            assert not names & {"no", "triage", "gpt"}
            errors = []
            for name in ("no", "triage", "nobody"):
                with pytest.raises(MCPError) as unknown:
                    await client.call_tool(name, {"input": "?"})
                errors.append(unknown.value.error.message.removesuffix(name))
            assert len(set(errors)) == 1

    run(ask)


def test_the_same_key_of_a_call_is_the_same_run(opened: Any) -> None:
    async def ask() -> None:
        async with opened() as client:
            meta: Any = {"celery-agents/idempotency-key": f"order-{time.time()}"}
            first = await client.call_tool("shout", {"input": "once"}, meta=meta)
            again = await client.call_tool("shout", {"input": "once"}, meta=meta)
            assert first.meta[RUN] == again.meta[RUN]
            other = await client.call_tool("shout", {"input": "twice"}, meta=meta)
            assert other.is_error
            assert "else was asked" in other.content[0].text

    run(ask)


def test_a_large_answer_is_cut_and_says_where_the_rest_is(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.mcp.answers.TEXT_MAX", 10)
    key = made_key(stack.database_url, Role.USER)
    with in_process(settings(stack.redis_url, stack.database_url)) as http:
        result = told(post(http, key, asking("shout", input="a" * 50)))["result"]
        text = result["content"][0]["text"]
        assert text.startswith("A" * 10 + "\n[cut: 40 characters more.")
        assert f"run://{result['_meta'][RUN]}" in text


# -- resources


@pytest.mark.parametrize("mode", MODES)
def test_runs_and_agents_are_resources(stack: Stack, opened: Any, mode: str) -> None:
    foreign = made_key(stack.database_url, Role.USER, tenant="other")

    async def ask() -> None:
        async with opened(mode) as client:
            said = await client.call_tool("shout", {"input": "hello"})
            uri = f"run://{said.meta[RUN]}"
            shown = json.loads((await client.read_resource(uri)).contents[0].text)
            assert (shown["value"], shown["state"], shown["tenant"]) == (
                "HELLO",
                "succeeded",
                "acme",
            )
            listed = {str(r.uri) for r in (await client.list_resources()).resources}
            assert {uri, "agent://shout"} <= listed
            agent = json.loads((await client.read_resource("agent://shout")).contents[0].text)
            assert agent["kind"] == "function"
            forms = (await client.list_resource_templates()).resource_templates
            assert [t.uri_template for t in forms] == [
                "run://{id}",
                "memory://{space}",
                "agent://{name}",
            ]
        async with opened(mode, foreign) as client:
            listed = {str(r.uri) for r in (await client.list_resources()).resources}
            assert uri not in listed
            for gone in (uri, "run://nobody", "agent://nobody", "file:///etc/passwd", "run://"):
                with pytest.raises(MCPError) as unknown:
                    await client.read_resource(gone)
                assert unknown.value.error.message == "There is no such resource."

    run(ask)


def test_a_key_that_may_not_ask_may_read(stack: Stack, opened: Any, key: str) -> None:
    reader = made_key(stack.database_url, Role.READONLY, tenant="acme")

    async def ask() -> None:
        async with opened() as client:
            said = await client.call_tool("shout", {"input": "hello"})
        async with opened(whose=reader) as client:
            assert (await client.read_resource(f"run://{said.meta[RUN]}")).contents
            with pytest.raises(MCPError) as refused:
                await client.call_tool("shout", {"input": "hello"})
            assert "runs:create" in refused.value.error.message

    run(ask)


# -- what is sent, and by whom


BAD: dict[str, tuple[bytes, int]] = {
    "no JSON": (b"{", -32700),
    "no text": (b"\xff\xfe", -32700),
    "nothing": (b"", -32700),
    "deep": (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":' + b"[" * 100_000, -32700),
    "no number": (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":NaN}}', -32700),
    "half a pair": (b'{"jsonrpc":"2.0","id":1,"method":"\\ud800"}', -32700),
    "a batch": (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', -32600),
    "a text": (b'"ping"', -32600),
    "no version": (b'{"id":1,"method":"ping"}', -32600),
    "a wrong id": (b'{"jsonrpc":"2.0","id":{},"method":"ping"}', -32600),
    "a wrong method": (b'{"jsonrpc":"2.0","id":1,"method":1}', -32600),
    "wrong params": (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}', -32600),
    "a wrong error": (b'{"jsonrpc":"2.0","id":1,"error":1}', -32600),
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("version", [None, "2025-11-25", "2026-07-28"])
def test_what_is_no_message_is_an_error_of_the_protocol(
    api: Any, key: str, what: str, version: str | None
) -> None:
    body, code = BAD[what]
    about = {} if version is None else {"MCP-Protocol-Version": version}
    response = post(api, key, body, **about)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == code
    assert response.json()["id"] is None


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("tools/call", {}, -32602),
        ("tools/call", {"name": 1}, -32602),
        ("tools/call", {"name": "shout", "arguments": [1]}, -32602),
        ("tools/call", {"name": "x" * 100_000}, -32602),
        ("resources/read", {"uri": "run://" + "%00" * 1000}, -32002),
        ("resources/read", {"uri": "run://a%00b"}, -32002),
        ("resources/read", {"uri": "run://" + "x" * 200}, -32002),
        ("tasks/get", {"taskId": "a\0b"}, -32602),
        ("tasks/get", {"taskId": "x" * 156}, -32602),
        ("tasks/cancel", {"taskId": "a\nb"}, -32602),
        ("tasks/result", {"taskId": ""}, -32602),
        ("tasks/list", {"cursor": "a\0b"}, -32602),
        ("resources/read", {}, -32602),
        ("no/such", {}, -32601),
        ("tools/list", {"cursor": 1}, -32602),
    ],
)
def test_what_a_message_lacks_is_told(
    api: Any, key: str, method: str, params: Any, code: int
) -> None:
    refuses(api, key, method, params, code)


@pytest.mark.postgres
def test_ids_that_no_database_takes_are_unknown_ones(
    redis_url: str, postgres_journal_url: str
) -> None:
    key = made_key(postgres_journal_url, Role.USER)
    with in_process(settings(redis_url, postgres_journal_url)) as http:
        for uri in ("run://" + "%00" * 300, "run://a%00b", "run://" + "x" * 200):
            refuses(http, key, "resources/read", {"uri": uri}, -32002)
        for task_id in ("a\0b", "\0", "x" * 156, "a\nb", ""):
            for method in ("tasks/get", "tasks/result", "tasks/cancel"):
                refuses(http, key, method, {"taskId": task_id}, -32602)


def refuses(api: Any, key: str, method: str, params: Any, code: int) -> None:
    body = {"jsonrpc": "2.0", "id": "a", "method": method, "params": params}
    answer = told(post(api, key, body, **{"MCP-Protocol-Version": "2025-11-25"}))
    assert (answer["error"]["code"], answer["id"]) == (code, "a")
    assert len(json.dumps(answer)) < 3_000


def test_notifications_are_taken_and_streams_are_not(api: Any, key: str) -> None:
    note = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert post(api, key, note).status_code == 202
    for method in ("GET", "DELETE"):
        assert Asked(api, key)(method, "/mcp").status_code == 405


def test_a_body_has_bounds(stack: Stack) -> None:
    key = made_key(stack.database_url, Role.USER)
    with in_process(
        settings(stack.redis_url, stack.database_url, payload_limit_bytes=1000)
    ) as http:
        assert post(http, key, asking("shout", input="a" * 10_000)).status_code == 413


def test_nobody_is_let_in_without_a_key(api: Any) -> None:
    for key in (None, "ca_abcdefgh_" + "x" * 43):
        response = post(api, key, asking("shout", input="a"))
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"


def test_no_page_of_another_site_may_ask(stack: Stack, api: Any, key: str) -> None:
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
        assert post(api, key, ping, Origin=origin).status_code == 403
    own = str(api.base_url).rstrip("/")
    assert told(post(api, key, ping, Origin=own))["result"] == {}
    local = settings(stack.redis_url, stack.database_url, api_auth="none")
    with in_process(local) as http:
        assert post(http, None, ping).status_code == 403  # under the name of a test
        for host in ("evil.example", "127.0.0.1.evil.example"):
            assert post(http, None, ping, Host=host).status_code == 403
        here = {"Host": "127.0.0.1:8000"}
        assert told(post(http, None, ping, **here))["result"] == {}
        assert post(http, None, ping, **here, Origin="https://evil.example").status_code == 403
        assert post(http, None, ping, **here, **{"Sec-Fetch-Site": "cross-site"}).status_code == 403


def test_an_unexpected_error_is_told_by_its_id_alone(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "sk-proj-0123456789abcdef0123456789"

    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError(f"the key {secret} of /srv/secret/place")

    monkeypatch.setattr("api.openai.catalog.ModelCatalog.offers", broken)
    key = made_key(stack.database_url, Role.USER)
    with in_process(settings(stack.redis_url, stack.database_url)) as http:
        for version in ("2025-11-25", "2025-03-26"):
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
            response = post(http, key, body, **{"MCP-Protocol-Version": version})
            error = told(response)["error"]
            assert error["code"] == -32603
            assert "srv" not in response.text
            assert secret not in response.text
            assert error["data"]["id"] in error["message"]
            assert error["data"]["id"] in caplog.text
    assert "/srv/secret/place" in caplog.text
    assert secret not in caplog.text


# -- calls that are held


@pytest.mark.parametrize("how", ["revoked", "over"])
def test_a_held_call_ends_with_its_key(fast: Stack, how: str) -> None:
    """No worker begins its run: nothing else ends it."""
    url = fast.database_url
    worker = fast.worker()
    with in_process(settings(fast.redis_url, url, api_accepts="journal")) as http:
        eventually(lambda: fast.client.ask("noop", 1).get(timeout=SOON_S), "it offers agents")
        worker.kill()
        key, chief = made_key(url, Role.USER), Asked(http, made_key(url, Role.ADMIN, tenant=None))
        ended: list[float] = []
        ready = select(Step.id).filter_by(state="ready")

        def end() -> None:
            eventually(lambda: fast.read(lambda c: c.execute(ready).first()), "it is held")
            after_s = 0.0 if how == "revoked" else 0.5
            ApiKeys(fast.engine).revoke(key.split("_")[1], after_s=after_s)
            ended.append(time.monotonic() + after_s)

        threading.Thread(target=end).start()
        error = told(post(http, key, asking("noop", input=1)))["error"]
        assert time.monotonic() - ended[0] < SOON_S  # it would be held for ten minutes
        assert "holds no longer" in error["message"]
        (run_of_it,) = chief("GET", "/tasks?state=ready", status=200)["runs"]
        assert run_of_it["agent"] == "noop"


def hanging(stack: Stack) -> set[str]:
    """Steps that hang, and have begun."""
    begun = select(Step.id).where(Step.agent == "hangs", Step.started_at.is_not(None))
    return stack.read(lambda c: {*c.execute(begun).scalars()})


def test_a_key_on_pipes_ends_a_held_call_and_all_that_follow(stack: Stack) -> None:
    key = made_key(stack.database_url, Role.USER)
    key_id = key.split("_")[1]
    before = hanging(stack)

    async def ask() -> None:
        async with over_pipes({**env_of(stack), "AGENTS_MCP_KEY": key}) as client:
            held = asyncio.ensure_future(client.call_tool("hangs", {"input": "?"}))
            while hanging(stack) == before:  # noqa: ASYNC110 - rows of another process
                await asyncio.sleep(0.05)
            assert not held.done()
            ApiKeys(stack.engine).revoke(key_id)
            began = time.monotonic()
            with pytest.raises(MCPError) as over:
                await held
            assert time.monotonic() - began < SOON_S
            assert "holds no longer" in over.value.error.message
            with pytest.raises(MCPError):
                await client.list_tools()

    try:
        run(ask)
    finally:
        for found in stack.client.runs.list(agent="hangs").runs:
            stack.client.runs.cancel(found.id)


def test_calls_of_a_key_are_held_in_a_bounded_number(
    stack: Stack, api: Any, tmp_path: Path
) -> None:
    """One that is too many asks for nothing; those that are held go on."""
    crowd = made_key(stack.database_url, Role.USER, tenant="crowd")
    after = tmp_path / "after"
    order = {"input": {"seconds": 0, "after": str(after), "value": "held"}}
    most, too_many = HELD_MAX, 26

    async def ask() -> None:
        async with over_http(api.base_url, crowd) as opened:
            client: Any = opened
            many = [
                asyncio.ensure_future(client.call_tool("slow", order))
                for _ in range(most + too_many)
            ]
            until = time.monotonic() + SOON_S
            while sum(c.done() for c in many) < too_many and time.monotonic() < until:
                await asyncio.wait(many, timeout=0.05)
            after.touch()
            done: Any = await asyncio.gather(*many, return_exceptions=True)
            refused = [d.error for d in done if isinstance(d, MCPError)]
            assert [d.data["kind"] for d in refused] == ["too_many_held"] * too_many
            held = [d for d in done if not isinstance(d, MCPError)]
            assert [d.content[0].text for d in held] == ["held"] * most
            again = await client.call_tool("shout", {"input": "again"})
            assert again.content[0].text == "AGAIN"

    run(ask, 120)
    asked = select(func.count()).select_from(Run).where(Run.tenant == "crowd")
    assert stack.read(lambda c: c.execute(asked).scalar_one()) == most + 1


def test_a_run_goes_on_whose_caller_goes_away(stack: Stack, api: Any, key: str) -> None:
    headers = {"Authorization": f"Bearer {key}", "Accept": "application/json, text/event-stream"}
    before = {r["id"] for r in Asked(api, key)("GET", "/tasks", status=200)["runs"]}
    body = asking("slow", input={"seconds": 3})
    with pytest.raises(httpx2.TimeoutException):
        httpx2.post(api.base_url.join("/mcp"), json=body, headers=headers, timeout=1.0)

    def ended() -> Any:
        runs = Asked(api, key)("GET", "/tasks", status=200)["runs"]
        new = [r for r in runs if r["id"] not in before and r["agent"] == "slow"]
        return [r for r in new if r["finished_at"] is not None]

    (found,) = eventually(ended, "its run has ended")
    assert found["state"] == "succeeded"


# -- programs


def become(*words: str, env: dict[str, str]) -> Any:
    """Run the program that ``celery -A app agents mcp`` becomes, to its end."""
    argv = [str(SERVICE.python), "-P", "-m", SERVICE.qualified("api.mcp"), *words]
    return forks.run(argv, SERVICE.environment(env), SERVICE.folder, 60)


def test_on_pipes_a_key_is_needed(stack: Stack) -> None:
    done = become("--stdio", env=env_of(stack))
    assert done.returncode == 1
    assert "AGENTS_MCP_KEY" in done.stderr
    assert done.stdout == ""
    for words in (["mcp"], ["mcp", "--stdio", "--http", "127.0.0.1:1"]):
        assert celery("-A", SERVICE.app, "agents", *words, env=env_of(stack)).returncode == 2
    assert become("--http", "x", env=env_of(stack)).returncode == 1


@pytest.mark.timeout(300)
def test_without_keys_it_is_served_on_this_machine_alone(stack: Stack) -> None:
    env = {**env_of(stack), "AGENTS_API_AUTH": "none"}
    assert become("--http", "0.0.0.0:0", env=env).returncode == 1
    done = become("--http", "0.0.0.0:8765", env=env)
    assert done.returncode == 1
    assert "AGENTS_API_AUTH=none" in done.stderr

    async def ask() -> None:
        async with over_its_command(env) as opened:
            client: Any = opened
            said = await client.call_tool("shout", {"input": "hello"})
            assert said.content[0].text == "HELLO"

    run(ask, 200)  # the command becomes the server, which is started as ever


def test_over_http_it_serves_messages_and_nothing_else(stack: Stack, tmp_path: Path) -> None:
    key, port = made_key(stack.database_url, Role.USER), free_port()
    words = ("-P", "-m", SERVICE.qualified("api.mcp"), "--http", f"{LOOPBACK}:{port}")
    env, output = SERVICE.environment(env_of(stack)), tmp_path / "mcp.log"
    child = forks.Fork(
        [str(SERVICE.python), *words],
        pid_file=tmp_path / "mcp.pid",
        output=output,
        env=env,
        cwd=SERVICE.folder,
    )
    url = f"http://{LOOPBACK}:{port}"
    try:
        eventually(lambda: child.returncode is not None or not is_free(port), "it listens")
        assert child.returncode is None, output.read_text()

        async def ask() -> None:
            async with over_http(url, key) as opened:
                client: Any = opened
                said = await client.call_tool("shout", {"input": "hello"})
                assert said.content[0].text == "HELLO"

        run(ask)
        assert (
            httpx2.get(f"{url}/tasks", headers={"Authorization": f"Bearer {key}"}).status_code
            == 404
        )
    finally:
        child.kill()
