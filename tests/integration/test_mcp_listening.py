"""Clients of MCP are told of changes: each of its own, by any process, as long as its key holds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp.client.subscriptions import SubscriptionLost
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import PromptsListChanged, ResourceUpdated, ToolsListChanged

from app.access.permissions import Role
from app.journal.schema.rows import NewMemory
from app.journal.stores.keys import ApiKeys
from app.journal.stores.memories import MemoryStore
from app.journal.stores.posted import PostedAgents
from celery_agents.contracts.flows.workflow import WORKFLOW
from celery_agents.contracts.memory import MemoryPolicy
from celery_agents.errors import AgentsError
from deploy.local.servers import LOOPBACK
from tests.integration.harness import SOON_S, Stack
from tests.integration.test_mcp_server import asking, env_of, post
from tests.support.api import Asked, made_key, served
from tests.support.mcp_clients import over_http, over_pipes, run

pytestmark = pytest.mark.databases("sqlite")

LATER = "2026-07-28"
FLOWS = f'[mcp.flows.workflow]\nflow = "{WORKFLOW}"\n'
PROMPT = '[mcp.prompts.first]\ntext = "One."\n'
TWO = f'{PROMPT}[mcp.prompts.second]\ntext = "Two."\n'
NONE = f"{TWO}[mcp.prompts.third]\n"
ENTRY = {"kind": "http", "url": f"http://{LOOPBACK}:9/"}


@pytest.fixture(scope="module")
def config(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of the server alone, beside that of the workers."""
    path = tmp_path_factory.mktemp("config") / "agents.toml"
    path.write_text(FLOWS + PROMPT)
    return path


@pytest.fixture(scope="module")
def env(stack: Stack, config: Path) -> dict[str, str]:
    return {**env_of(stack), "AGENTS_CONFIG": str(config)}


@pytest.fixture(scope="module")
def api(env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    with served(env, tmp_path_factory.mktemp("api")) as http:
        yield http


class Told:
    """A client of an older version, and the methods and addresses that it was told of."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str | None]] = []
        self.heard = asyncio.Event()
        self.client: Any = None

    async def take(self, message: Any) -> None:
        """Note what it is told."""
        uri = getattr(getattr(message, "params", None), "uri", None)
        self.said.append((message.method, uri))
        self.heard.set()

    async def hears(self, method: str, uri: str | None = None) -> None:
        """Wait until it is told."""
        while (f"notifications/{method}", uri) not in self.said:
            self.heard.clear()
            await self.heard.wait()


@asynccontextmanager
async def older(api: Any, key: str, env: dict[str, str] | None = None) -> AsyncIterator[Told]:
    """One over HTTP; with ``env`` on pipes."""
    told = Told()
    if env is None:
        way = over_http(api.base_url, key, message_handler=told.take)
    else:
        way = over_pipes({**env, "AGENTS_MCP_KEY": key}, message_handler=told.take)
    async with way as told.client:
        yield told


def offer(stack: Stack, name: str) -> None:
    """Have the workers offer one agent more, which cannot be reached."""
    PostedAgents(stack.engine).put(name, ENTRY, "a test")
    with pytest.raises(AgentsError):  # who is asked for what it does not know looks
        stack.client.ask(name, "?").get(timeout=SOON_S)


def hanging(api: Any, key: str) -> str:
    body = {"task": "ask", "agent": "hangs", "input": "?"}
    return str(Asked(api, key)("POST", "/tasks", body, status=202)["id"])


def cancel(api: Any, key: str, run_id: str) -> None:
    Asked(api, key)("POST", f"/tasks/{run_id}/cancel")


async def event(subscription: Any) -> Any:
    return await anext(aiter(subscription))


def test_each_is_told_of_its_own_and_of_nothing_else(stack: Stack, api: Any) -> None:
    """A key that may not ask an agent hears nothing of it, nor of another tenant's run."""
    key = made_key(stack.database_url, Role.USER, tenant="told")
    narrow = made_key(stack.database_url, Role.USER, tenant="other", agents=["yes", "hangs"])
    run_id = hanging(api, key)
    own = hanging(api, narrow)
    name = "offered_later"

    async def ask() -> None:
        async with (
            over_http(api.base_url, key, LATER) as wide,
            over_http(api.base_url, narrow, LATER) as small,
        ):
            uris = [f"run://{run_id}", f"run://{own}"]
            about: Any = {"tools_list_changed": True, "resource_subscriptions": uris}
            async with wide.listen(**about) as all_of_it, small.listen(**about) as less:
                await asyncio.to_thread(offer, stack, name)
                assert await event(all_of_it) == ToolsListChanged()
                assert name in {tool.name for tool in (await wide.list_tools()).tools}
                await asyncio.to_thread(cancel, api, key, run_id)
                while (told := await event(all_of_it)) == ToolsListChanged():
                    pass
                assert told == ResourceUpdated(uri=f"run://{run_id}")
                await asyncio.to_thread(cancel, api, narrow, own)
                assert await event(less) == ResourceUpdated(uri=f"run://{own}")

    try:
        run(ask, 120)
    finally:
        PostedAgents(stack.engine).drop(name)
        cancel(api, key, run_id)
        cancel(api, narrow, own)


def test_prompts_are_those_of_the_file_as_it_is(stack: Stack, api: Any, config: Path) -> None:
    key = made_key(stack.database_url, Role.READONLY)

    async def ask() -> None:
        async with (
            over_http(api.base_url, key, LATER) as client,
            client.listen(prompts_list_changed=True) as told,
        ):
            await asyncio.to_thread(config.write_text, TWO)
            assert await event(told) == PromptsListChanged()
            assert len((await client.list_prompts()).prompts) == 2
            await asyncio.to_thread(config.write_text, NONE)  # it is none
            assert len((await client.list_prompts()).prompts) == 2
            await asyncio.to_thread(config.write_text, PROMPT)
            assert await event(told) == PromptsListChanged()
            assert len((await client.list_prompts()).prompts) == 1

    run(ask)


@pytest.mark.parametrize("way", ["http", "pipes"])
def test_a_session_is_told(stack: Stack, api: Any, env: dict[str, str], way: str) -> None:
    key = made_key(stack.database_url, Role.USER, tenant="told")
    run_id = hanging(api, key)
    uri = f"run://{run_id}"

    async def ask() -> None:
        async with older(api, key, env if way == "pipes" else None) as told:
            assert told.client.server_capabilities.tools.list_changed
            assert told.client.server_capabilities.resources.subscribe
            await told.client.subscribe_resource("run://of-nobody")
            await told.client.subscribe_resource(uri)
            await told.client.subscribe_resource("agent://hangs")
            await told.client.unsubscribe_resource("agent://hangs")
            await asyncio.to_thread(cancel, api, key, run_id)
            await told.hears("resources/updated", uri)
            assert {said for said in told.said if said[1]} == {
                ("notifications/resources/updated", uri)
            }

    try:
        run(ask, 120)
    finally:
        cancel(api, key, run_id)


def test_what_happens_while_nobody_listens_is_told_later(stack: Stack, api: Any) -> None:
    """The subscription is the session's, and stands where each process finds it."""
    key = made_key(stack.database_url, Role.USER, tenant="told")
    run_id = hanging(api, key)
    session = "-" + "5" * 32
    about = {"Mcp-Session-Id": session, "MCP-Protocol-Version": "2025-11-25"}
    params = {"uri": f"run://{run_id}"}
    body = {"jsonrpc": "2.0", "id": 1, "method": "resources/subscribe", "params": params}
    assert post(api, key, body, **about).status_code == 200
    cancel(api, key, run_id)
    with stream(api, key, session) as response:
        lines = response.iter_lines()
        assert any(params["uri"] in line for line in lines)
        others = made_key(stack.database_url, Role.USER, tenant="told")
        assert asked(api, others, "DELETE", session) == 204  # of the same name, and its own
        assert asked(api, key, "DELETE", session) == 204
        assert not any(line.startswith("data") for line in lines)  # to its end
    assert post(api, key, body, **about).status_code == 404
    assert asked(api, key, "GET", session) == 404


def stream(api: Any, key: str, session: str) -> Any:
    headers = {"Authorization": f"Bearer {key}", "Mcp-Session-Id": session}
    return api.stream("GET", "/mcp", headers=headers, timeout=SOON_S)


def asked(api: Any, key: str, method: str, session: str) -> int:
    headers = {"Authorization": f"Bearer {key}", "Mcp-Session-Id": session}
    return int(api.request(method, "/mcp", headers=headers).status_code)


def test_a_subscription_ends_with_its_key(stack: Stack, api: Any) -> None:
    key = made_key(stack.database_url, Role.USER)

    async def ask() -> None:
        async with (
            over_http(api.base_url, key, LATER) as client,
            client.listen(tools_list_changed=True) as told,
        ):
            ApiKeys(stack.engine).revoke(key.split("_")[1])
            with pytest.raises(SubscriptionLost) as lost:
                await event(told)
            assert "holds no longer" in str(lost.value.__cause__)

    run(ask)
    other = made_key(stack.database_url, Role.USER)
    with stream(api, other, "-" + "6" * 32) as response:
        lines = response.iter_lines()
        assert next(lines) == ": begins"
        ApiKeys(stack.engine).revoke(other.split("_")[1])
        assert any("holds no longer" in line for line in lines)


def test_a_key_follows_a_bounded_number_of_streams(stack: Stack, api: Any) -> None:
    key = made_key(stack.database_url, Role.USER)

    async def ask() -> None:
        headers = {"Authorization": f"Bearer {key}", "Mcp-Session-Id": "-" + "7" * 32}
        place = api.base_url.join("/mcp")
        async with (
            httpx2.AsyncClient(headers=headers, timeout=SOON_S) as http,
            AsyncExitStack() as opened,
        ):
            for _ in range(16):
                one = await opened.enter_async_context(http.stream("GET", place))
                assert one.status_code == 200
            assert (await http.get(place)).status_code == 429

    run(ask)


def test_a_call_goes_on_whose_stream_was_cut(stack: Stack, api: Any) -> None:
    """The event that its stream began with names the run, for its principal alone."""
    key = made_key(stack.database_url, Role.USER, tenant="told")
    session = "-" + "8" * 32
    about = {
        "Authorization": f"Bearer {key}",
        "Accept": "application/json, text/event-stream",
        "Mcp-Session-Id": session,
        "MCP-Protocol-Version": "2025-11-25",
    }
    body = {**asking("slow", input={"seconds": 1}), "id": "the one"}
    with api.stream("POST", "/mcp", json=body, headers=about, timeout=SOON_S) as response:
        lines = response.iter_lines()
        first = next(line for line in lines if line.startswith("id: ")).removeprefix("id: ")
        assert next(lines).startswith("retry: ")
    for _ in range(2):  # while it lasts, and after its end
        back = api.get("/mcp", headers={**about, "Last-Event-ID": first}, timeout=SOON_S)
        told = json.loads(back.text.splitlines()[-2].removeprefix("data: "))
        assert told["id"] == "the one"
        assert not told["result"]["isError"]
    other = made_key(stack.database_url, Role.USER, tenant="told")
    for given, whose in ((first, other), (f"x{first}", key), ("1", key)):
        headers = {**about, "Last-Event-ID": given, "Authorization": f"Bearer {whose}"}
        assert api.get("/mcp", headers=headers).status_code == 404


def test_a_flow_is_called_as_a_tool(stack: Stack, api: Any) -> None:
    wide = made_key(stack.database_url, Role.USER, tenant="told")
    narrow = made_key(stack.database_url, Role.USER, tenant="told", agents=["*"])
    step = {"key": "a", "task": "agents.ask", "args": ["hello"], "kwargs": {"agent": "shout"}}

    async def ask() -> None:
        async with over_http(api.base_url, wide) as client:
            assert "workflow" in {tool.name for tool in (await client.list_tools()).tools}
            said: Any = await client.call_tool("workflow", {"input": {"steps": [step]}})
            assert "HELLO" in said.content[0].text
            assert not said.is_error
        async with over_http(api.base_url, narrow) as client:
            assert "workflow" not in {tool.name for tool in (await client.list_tools()).tools}
            with pytest.raises(MCPError):
                await client.call_tool("workflow", {"input": {"steps": [step]}})

    run(ask)


def test_memories_are_read_by_their_own_tenant(stack: Stack, api: Any) -> None:
    policy = MemoryPolicy(space="desk")
    kept = [
        NewMemory(f"m{n}", "told", "desk of all", f"shoe {n}", tokens=3, policy=policy)
        for n in range(3)
    ]
    keys = [
        made_key(stack.database_url, Role.USER, tenant="told"),
        made_key(stack.database_url, Role.USER, tenant="other"),
        made_key(stack.database_url, Role.USER, tenant="told", agents=["*"]),
    ]
    uri = "memory://desk%20of%20all"
    MemoryStore(stack.engine).keep(kept)

    async def ask() -> None:
        async with over_http(api.base_url, keys[0], LATER) as client:
            assert uri in {str(one.uri) for one in (await client.list_resources()).resources}
            told: Any = (await client.read_resource(uri)).contents[0]
            texts = [one["text"] for one in json.loads(told.text)["memories"]]
            assert texts == ["shoe 0", "shoe 1", "shoe 2"]
        for key in keys[1:]:
            async with over_http(api.base_url, key, LATER) as client:
                listed = (await client.list_resources()).resources
                assert not [one for one in listed if str(one.uri).startswith("memory:")]
                with pytest.raises(MCPError) as none:
                    await client.read_resource(uri)
                assert none.value.error.code == -32602

    run(ask)
