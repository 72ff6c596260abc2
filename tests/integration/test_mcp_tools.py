"""Tools of workers, prompts and resources, as the official SDK's client has them of ``/mcp``."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import types
from mcp.shared.exceptions import MCPError

from app.access.permissions import Role
from tests.integration.harness import Stack, eventually
from tests.support import conforming
from tests.support.api import made_key, served
from tests.support.mcp_clients import MODES, failure, over_http, run
from tests.support.redis_server import RedisServer
from tests.support.workers import migrate

pytestmark = pytest.mark.databases("sqlite")


@pytest.fixture(scope="module")
def served_tools(
    _session_broker: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Stack, Any]]:
    """A worker with the suite's tools, and a server."""
    folder = tmp_path_factory.mktemp("mcp-tools")
    config, url = folder / "agents.toml", f"sqlite:///{folder / 'journal.db'}"
    config.write_text(conforming.CONFIG)
    migrate(url)
    about = {"AGENTS_CONFIG": str(config), "AGENTS_MODULES": "[]"}
    stack = Stack(_session_broker.fresh_url(), url, folder, about)
    try:
        stack.worker()
        env = {"REDIS_URL": stack.redis_url, "DATABASE_URL": url, "AGENTS_CONFIG": str(config)}
        with served(env, _made(folder / "api")) as http:
            yield stack, http.base_url
    finally:
        stack.close()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize("mode", MODES)
def test_each_tool_has_its_own_schema(served_tools: tuple[Stack, Any], mode: str) -> None:
    stack, url = served_tools
    key = made_key(stack.database_url, Role.USER)

    async def ask() -> None:
        client: Any
        async with over_http(url, key, mode) as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert "conforming" not in tools
            assert tools["greet"].input_schema["required"] == ["name"]
            assert tools["json_schema_2020_12_tool"].input_schema["then"] == {"required": ["phone"]}
            said = await client.call_tool("greet", {"name": "you"})
            assert said.content[0].text == "Hello, you!"
            wrong = await client.call_tool("greet", {"nam": "you"})
            assert wrong.is_error
            assert "name: Missing required argument" in wrong.content[0].text
            picture = (await client.call_tool("test_image_content", {})).content[0]
            assert isinstance(picture, types.ImageContent)
            assert picture.data == conforming.PIXEL
            with pytest.raises(MCPError) as refused:
                await client.call_tool("failing_job", {})
            assert refused.value.error.code in (-32021, -32601)

    run(ask)


@pytest.mark.parametrize("mode", MODES)
def test_prompts_and_resources(served_tools: tuple[Stack, Any], mode: str) -> None:
    stack, url = served_tools
    key = made_key(stack.database_url, Role.USER)

    async def ask() -> None:
        client: Any
        async with over_http(url, key, mode) as client:
            prompts = {one.name for one in (await client.list_prompts()).prompts}
            assert "test_prompt_with_arguments" in prompts
            about = {"arg1": "{arg2}", "arg2": "b"}
            told = await client.get_prompt("test_prompt_with_arguments", about)
            assert told.messages[0].content.text == "Prompt with arguments: arg1='{arg2}', arg2='b'"
            found = await client.read_resource("test://template/7/data")
            assert json.loads(found.contents[0].text)["id"] == "7"
            made = await client.get_prompt("made_by_a_tool", {"name": "you"})
            assert made.messages[0].content.text == "Hello, you!"
            resource = await client.read_resource("test://greeting/you")
            assert resource.contents[0].text == "Hello, you!"
            ref = types.PromptReference(name="test_prompt_with_arguments")
            values = await client.complete(ref, {"name": "arg1", "value": "par"})
            assert values.completion.values == ["paris", "park", "party"]
            for name in ("nothing", "test_prompt_with_arguments"):
                with pytest.raises(MCPError) as wrong:
                    await client.get_prompt(name, {"odd": "x"})
                assert wrong.value.error.code == -32602

    run(ask)


def test_a_key_of_some_agents_has_their_tools_alone(served_tools: tuple[Stack, Any]) -> None:
    stack, url = served_tools
    key = made_key(stack.database_url, Role.USER, agents=["protocol_error_job"])

    async def ask() -> None:
        client: Any
        async with over_http(url, key) as client:
            names = [tool.name for tool in (await client.list_tools()).tools]
            assert names == ["protocol_error_job"]
            with pytest.raises(MCPError, match="Unknown tool"):
                await client.call_tool("greet", {"name": "you"})
            with pytest.raises(MCPError, match="Unknown tool"):
                await client.get_prompt("made_by_a_tool", {"name": "you"})

    try:
        run(ask)
    except BaseExceptionGroup as error:
        raise failure(error) from None


@pytest.mark.parametrize("mode", MODES)
def test_a_tool_asks_its_client(served_tools: tuple[Stack, Any], mode: str) -> None:
    stack, url = served_tools
    key = made_key(stack.database_url, Role.USER)
    asked: list[str] = []

    async def fill(_: Any, params: Any) -> types.ElicitResult:
        asked.append(params.message)
        return types.ElicitResult(action="accept", content={"name": "Ada", "color": "green"})

    async def ask() -> None:
        client: Any
        async with over_http(url, key, mode, elicitation_callback=fill) as client:
            said = await client.call_tool("test_input_required_result_multi_round", {})
            assert said.content[0].text == "Ada likes green"
            assert asked == ["Step 1: your name?", "Step 2: your color?"]
        async with over_http(url, key, mode) as client:
            call = client.call_tool("test_input_required_result_elicitation", {})
            if mode == "legacy":
                said = await call
                assert said.is_error
                assert "cannot be asked for elicitation" in said.content[0].text
            else:
                with pytest.raises(MCPError) as lacking:
                    await call
                assert lacking.value.error.code == -32021

    run(ask)


@pytest.mark.parametrize("mode", MODES)
def test_progress_of_a_tool_is_told(served_tools: tuple[Stack, Any], mode: str) -> None:
    stack, url = served_tools
    key = made_key(stack.database_url, Role.USER)
    told: list[tuple[float, float | None]] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total))

    async def ask() -> None:
        async with over_http(url, key, mode) as client:
            await client.call_tool("test_tool_with_progress", {}, progress_callback=hear)

    run(ask)
    assert [one for one in told if one[1]] == [(0, 100), (50, 100), (100, 100)]


def test_nobody_else_answers_a_question(served_tools: tuple[Stack, Any]) -> None:
    stack, url = served_tools
    one, other = (made_key(stack.database_url, Role.USER) for _ in range(2))
    session = "e-" + "0" * 32
    about = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
    call = {**about, "params": {"name": "test_input_required_result_elicitation", "arguments": {}}}

    def headers(key: str) -> dict[str, str]:
        accept = "application/json, text/event-stream"
        return {"Authorization": f"Bearer {key}", "Accept": accept, "Mcp-Session-Id": session}

    with httpx2.Client(base_url=str(url), timeout=60) as http:

        def answered(key: str, **about: Any) -> int:
            told = {"jsonrpc": "2.0", **about}
            return int(http.post("/mcp", json=told, headers=headers(key)).status_code)

        with http.stream("POST", "/mcp", json=call, headers=headers(one)) as stream:
            lines = (x for x in stream.iter_lines() if x.startswith("data: {"))
            asked = json.loads(next(lines).removeprefix("data: "))
            assert asked["method"] == "elicitation/create"
            good = {"action": "accept", "content": {"name": "Eve"}}
            assert answered(other, id=asked["id"], result=good) == 404
            assert answered(one, id=f"{asked['id']}0", result=good) == 404
            assert answered(one, id=asked["id"], result={"action": "steal"}) == 422
            assert answered(one, id=asked["id"], result={"action": "accept", "content": {}}) == 422
            good["content"] = {"name": "Ada"}
            assert answered(one, id=asked["id"], result=good) == 202
            assert answered(one, id=asked["id"], result=good) == 202
            done = json.loads(next(lines).removeprefix("data: "))
        assert done["result"]["content"][0]["text"] == "Hello, Ada!"


def later(key: str, named: str, method: str = "tools/call", /, **params: Any) -> dict[str, Any]:
    """A message of 2026-07-28, of a client that can be asked and knows tasks."""
    about = {
        "Authorization": f"Bearer {key}",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": method,
        "Mcp-Name": named,
    }
    can: dict[str, Any] = {"elicitation": {}, **params.pop("can", {})}
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "a test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": can,
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
    return {"json": body, "headers": about}


ASKS = "test_input_required_result_elicitation"
ANSWER = {"action": "accept", "content": {"name": "Ada"}}


def test_a_state_of_one_process_is_known_to_another_and_to_nobody_else(
    served_tools: tuple[Stack, Any], tmp_path: Path
) -> None:
    """Whatever was lost of Redis in between; what settings say makes none."""
    stack, url = served_tools
    one, other = (made_key(stack.database_url, Role.USER) for _ in range(2))
    call = {"name": ASKS, "arguments": {}}
    with httpx2.Client(base_url=str(url), timeout=60) as first:
        asked = first.post("/mcp", **later(one, ASKS, **call)).json()["result"]
        assert asked["resultType"] == "input_required"
        state = asked["requestState"]
    (name,) = asked["inputRequests"]
    again = {**call, "requestState": state, "inputResponses": {name: ANSWER}}
    env = {"REDIS_URL": stack.redis_url, "DATABASE_URL": stack.database_url}
    env["AGENTS_CONFIG"] = str(stack.directory / "agents.toml")
    with served(env, tmp_path) as second:
        place, _, _ = state.rpartition(".")
        told = json.dumps([one_id(one), place, ["tools/call", [ASKS, {}]]], sort_keys=True)
        guessed = hashlib.sha256(f"mcp\n{stack.redis_url}\n{stack.database_url}".encode()).digest()
        forged = hmac.new(guessed, told.encode(), "sha256").hexdigest()[:32]
        for key, odd in ((other, state), (one, f"{place}.{forged}"), (one, f"{state}0")):
            refused = second.post("/mcp", **later(key, ASKS, **{**again, "requestState": odd}))
            assert "requestState" in refused.json()["error"]["message"]
        done = second.post("/mcp", **later(one, ASKS, **again)).json()["result"]
    assert done["content"][0]["text"] == "Hello, Ada!"


def one_id(key: str) -> str:
    """The id of a key."""
    return key.split("_")[1]


def test_who_called_answers_the_question_of_a_task_and_no_other_of_its_tenant(
    served_tools: tuple[Stack, Any],
) -> None:
    stack, url = served_tools
    made: dict[str, str] = {
        name: made_key(stack.database_url, role, tenant="acme")
        for name, role in (
            ("caller", Role.SERVICE),
            ("service", Role.SERVICE),
            ("user", Role.USER),
            ("reader", Role.READONLY),
            ("admin", Role.ADMIN),
        )
    }
    made["stranger"] = made_key(stack.database_url, Role.ADMIN, tenant="other")
    tasks: dict[str, Any] = {"can": {"extensions": {"io.modelcontextprotocol/tasks": {}}}}
    with httpx2.Client(base_url=str(url), timeout=60) as http:

        def begun() -> tuple[str, str]:
            """A task that asks its client, and the key of the question."""
            call = later(made["caller"], ASKS, name=ASKS, arguments={}, **tasks)
            told = http.post("/mcp", **call).json()["result"]  # one of both, as quick as it is
            task = told.get("taskId") or told["requestState"].partition(".")[0]
            found: dict[str, Any] = {}

            def asks() -> bool:
                message = later(made["caller"], task, "tasks/get", taskId=task, **tasks)
                found.update(http.post("/mcp", **message).json()["result"])
                return bool(found["status"] == "input_required")

            eventually(asks, "the client is asked")
            (key,) = found["inputRequests"]
            return task, key

        def update(who: str, task: str, key: str) -> Any:
            about = {"taskId": task, "inputResponses": {key: ANSWER}, **tasks}
            message = later(made[who], task, "tasks/update", **about)
            return http.post("/mcp", **message).json().get("error", {}).get("message")

        for answers in ("caller", "admin"):
            task, key = begun()
            assert "Others are asked" in update("user", task, key)
            for who in ("service", "reader"):
                assert "runs:approve" in update(who, task, key)
            assert "There is no such task" in update("stranger", task, key)
            headers = {"Authorization": f"Bearer {made['user']}"}
            choice = {"choice": ANSWER, "key": key}
            refused = http.post(f"/tasks/{task}/approve", json=choice, headers=headers)
            assert refused.status_code == 403, refused.text
            assert update(answers, task, key) is None
            done: dict[str, Any] = {}

            def over(task: str = task, done: dict[str, Any] = done) -> bool:
                message = later(made["caller"], task, "tasks/get", taskId=task, **tasks)
                done.update(http.post("/mcp", **message).json()["result"])
                return bool(done["status"] == "completed")

            eventually(over, "it is answered")
            assert done["result"]["content"][0]["text"] == "Hello, Ada!"
