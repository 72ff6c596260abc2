"""Tasks of MCP are runs: any process answers for each, in the words of both versions."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.access.permissions import Role
from tests.integration.harness import SOON_S, Stack, eventually
from tests.integration.test_mcp_server import RUN, env_of, post, told
from tests.support.api import Asked, made_key, served

pytestmark = pytest.mark.databases("sqlite")

CORE, LATER = "2025-11-25", "2026-07-28"
EXTENSION = "io.modelcontextprotocol/tasks"
ENDED = {"completed", "failed", "cancelled"}


class Speaker:
    """Sends messages of one version under one key."""

    def __init__(self, api: Any, key: str, version: str = CORE) -> None:
        self.api, self.key, self.version = api, key, version

    def __call__(self, method: str, named: str | None = None, **params: Any) -> Any:
        about = {"MCP-Protocol-Version": self.version}
        if self.version == LATER:
            about |= {"Mcp-Method": method}
            if (name := named or params.get("name") or params.get("taskId")) is not None:
                about |= {"Mcp-Name": name}
            params["_meta"] = {
                "io.modelcontextprotocol/protocolVersion": LATER,
                "io.modelcontextprotocol/clientInfo": {"name": "a test", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {"extensions": {EXTENSION: {}}},
            }
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return told(post(self.api, self.key, body, **about))

    def begin(self, agent: str, **arguments: Any) -> dict[str, Any]:
        """A task that an agent does."""
        extra: dict[str, Any] = {"task": {"ttl": 60_000}} if self.version == CORE else {}
        made = self("tools/call", name=agent, arguments=arguments, **extra)["result"]
        if self.version == LATER:
            assert made["resultType"] == "task"
            return dict(made)
        return dict(made["task"])

    def get(self, task_id: str) -> dict[str, Any]:
        return dict(self("tasks/get", taskId=task_id)["result"])

    def end(self, task_id: str) -> dict[str, Any]:
        """A task once it has ended."""
        found: dict[str, Any] = {}

        def over() -> bool:
            found.update(self.get(task_id))
            return found["status"] in ENDED

        eventually(over, "the task has ended")
        return found


@pytest.fixture(scope="module")
def api(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """A process of the API beside the shared stack."""
    with served(env_of(stack), tmp_path_factory.mktemp("api")) as http:
        yield http


@pytest.fixture(scope="module")
def key(stack: Stack) -> str:
    return made_key(stack.database_url, Role.USER, tenant="acme")


@pytest.fixture
def core(api: Any, key: str) -> Speaker:
    return Speaker(api, key)


@pytest.fixture
def later(api: Any, key: str) -> Speaker:
    return Speaker(api, key, LATER)


def test_a_task_is_a_run(core: Speaker) -> None:
    made = core.begin("shout", input="hello")
    assert (made["status"], made["pollInterval"]) == ("working", 1000)
    done = core.end(made["taskId"])
    assert done["status"] == "completed"
    assert made["createdAt"][:10] == done["createdAt"][:10]
    assert done["ttl"] == 30 * 86_400_000
    result = core("tasks/result", taskId=made["taskId"])["result"]
    assert result["content"] == [{"type": "text", "text": "HELLO"}]
    assert result["_meta"] == {
        RUN: made["taskId"],
        "io.modelcontextprotocol/related-task": {"taskId": made["taskId"]},
    }
    listed = core("tasks/list")["result"]
    assert made["taskId"] in {task["taskId"] for task in listed["tasks"]}
    run = Asked(core.api, core.key)("GET", f"/tasks/{made['taskId']}", status=200)
    assert run["value"] == "HELLO"


def test_the_server_says_that_it_has_tasks(core: Speaker, later: Speaker) -> None:
    client: Any = {"clientInfo": {"name": "a test", "version": "1"}, "capabilities": {}}
    hello = core("initialize", protocolVersion=CORE, **client)["result"]
    assert hello["capabilities"]["tasks"]["requests"] == {"tools": {"call": {}}}
    old = core("initialize", protocolVersion="2025-06-18", **client)["result"]
    assert "tasks" not in old["capabilities"]
    (shout,) = [t for t in core("tools/list")["result"]["tools"] if t["name"] == "shout"]
    assert shout["execution"] == {"taskSupport": "optional"}
    assert EXTENSION in later("server/discover")["result"]["capabilities"]["extensions"]
    assert later("tasks/list")["error"]["code"] == -32601


def test_a_task_that_is_null_is_none(core: Speaker) -> None:
    about: dict[str, Any] = {"name": "shout", "arguments": {"input": "hello"}, "task": None}
    found = core("tools/call", **about)["result"]
    assert found["content"] == [{"type": "text", "text": "HELLO"}]


@pytest.mark.parametrize("version", [CORE, LATER])
def test_a_tool_that_fails_is_told_as_each_version_has_it(api: Any, key: str, version: str) -> None:
    speaker = Speaker(api, key, version)
    made = speaker.begin("fails_after_a_while", input="?")
    done = speaker.end(made["taskId"])
    assert done["status"] == ("failed" if version == CORE else "completed")
    if version == CORE:
        assert speaker("tasks/result", taskId=done["taskId"])["result"]["isError"]
    else:
        assert done["result"]["isError"]
        assert isinstance(done["ttlMs"], int)


def test_what_is_over_quickly_is_no_task(later: Speaker) -> None:
    """With the extension: a client that asks for nothing gets the answer itself, or its task."""
    found = later("tools/call", name="shout", arguments={"input": "hello"})["result"]
    if found["resultType"] == "task":  # a busy machine
        found = later.end(found["taskId"])["result"]
    assert found["content"] == [{"type": "text", "text": "HELLO"}]
    assert "taskId" not in found


@pytest.mark.parametrize(("named", "status"), [(" tools/list\t ", 200), ("tools / list", 400)])
def test_blanks_around_a_header_are_none_of_it(later: Speaker, named: str, status: int) -> None:
    meta = {
        "io.modelcontextprotocol/protocolVersion": LATER,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    sent = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta}}
    url = later.api.base_url
    headers = {
        "Authorization": f"Bearer {later.key}",
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": LATER,
        "Mcp-Method": named,
    }
    connection = http.client.HTTPConnection(url.host, url.port, timeout=SOON_S)  # as it is said
    connection.request("POST", "/mcp", json.dumps(sent), headers)
    assert connection.getresponse().status == status
    connection.close()


@pytest.mark.parametrize("version", [CORE, LATER])
def test_a_task_is_cancelled_when_its_client_asks(api: Any, key: str, version: str) -> None:
    speaker = Speaker(api, key, version)
    made = speaker.begin("hangs", input="?")
    eventually(lambda: "steps" in Asked(api, key)("GET", f"/tasks/{made['taskId']}", status=200))
    told = speaker("tasks/cancel", taskId=made["taskId"])["result"]
    if version == CORE:
        assert told["status"] == "cancelled"
        again = speaker("tasks/cancel", taskId=made["taskId"])
        assert again["error"]["code"] == -32602
    assert speaker.end(made["taskId"])["status"] == "cancelled"


def test_others_tasks_are_unknown(stack: Stack, core: Speaker, later: Speaker) -> None:
    made = core.begin("shout", input="hello")
    key = made_key(stack.database_url, Role.USER, tenant="other")
    for speaker in (Speaker(core.api, key), Speaker(core.api, key, LATER)):
        for method in ("tasks/get", "tasks/cancel"):
            known, unknown = (
                speaker(method, taskId=task_id)["error"] for task_id in (made["taskId"], "gone")
            )
            assert known == unknown
            assert known["code"] == -32602
    listed = Speaker(core.api, key)("tasks/list")["result"]["tasks"]
    assert made["taskId"] not in {task["taskId"] for task in listed}
    reader = Speaker(core.api, made_key(stack.database_url, Role.READONLY, tenant="acme"))
    core.end(made["taskId"])
    assert reader.get(made["taskId"])["status"] == "completed"
    assert "runs:cancel" in reader("tasks/cancel", taskId=made["taskId"])["error"]["message"]


def test_what_waits_for_a_person_asks_the_client(core: Speaker, later: Speaker) -> None:
    asked = {"task": "vote", "voters": ["yes", "no"], "input": "?", "rule": "unanimous"}
    people = Asked(core.api, core.key)
    run = people("POST", "/tasks", {**asked, "escalate": "person"}, status=202)["id"]
    eventually(lambda: core.get(run)["status"] == "input_required", "a person is asked")
    found = later.get(run)
    ((key, form),) = found["inputRequests"].items()
    assert form["method"] == "elicitation/create"
    assert form["params"]["requestedSchema"]["required"] == ["choice"]
    wrong = later("tasks/update", taskId=run, inputResponses={key: {"action": "accept"}})
    assert wrong["error"]["code"] == -32602
    assert later.get(run)["status"] == "input_required"
    answer = {"action": "accept", "content": {"choice": "yes"}}
    other = later("tasks/update", named="another", taskId=run, inputResponses={key: answer})
    assert other["error"]["code"] == -32020
    assert "error" not in later("tasks/update", taskId=run, inputResponses={key: answer})
    done = later.end(run)
    assert (done["status"], done["result"]["content"][0]["text"]) == ("completed", "yes")


def test_any_process_answers_while_one_is_killed_each_second(fast: Stack, tmp_path: Path) -> None:
    """And the worker in the middle of the work: it is completed once."""
    worker = fast.worker()
    key = made_key(fast.database_url, Role.USER)
    written = tmp_path / "written"
    with served(env_of(fast), tmp_path) as first:
        assert fast.client.ask("noop", 1).get(timeout=SOON_S) == 1
        made = Speaker(first, key).begin("slow", input={"seconds": 3, "path": str(written)})
        first.child.kill()  # type: ignore[attr-defined]
    eventually(written.exists, "a worker has begun")
    worker.kill()
    fast.worker()
    for _ in range(3):
        with served(env_of(fast), tmp_path) as next_one:
            until = time.monotonic() + 1.0
            while time.monotonic() < until:
                found = Speaker(next_one, key)("tasks/get", taskId=made["taskId"])
                assert found["result"]["taskId"] == made["taskId"]
                time.sleep(0.1)
            next_one.child.kill()  # type: ignore[attr-defined]
    with served(env_of(fast), tmp_path) as last:
        assert Speaker(last, key).end(made["taskId"])["status"] == "completed"
    assert written.read_text().split().count("end") == 1


SIGNALLED = """
[mcp.flows.refund]
input = { type = "object", properties = { path = { type = "string" } }, required = ["path"] }

[mcp.flows.refund.signals.approve]
message = "May it be paid back?"
value = { type = "boolean", title = "Pay" }
"""


def test_a_flow_asks_its_client_for_the_signal_that_it_waits_for(
    fast: Stack, tmp_path: Path
) -> None:
    """Once for each wait; what is no answer, or comes twice, gives it nothing."""
    config = tmp_path / "agents.toml"
    config.write_text(SIGNALLED)
    fast.worker(env={"AGENTS_MODULES": '["tests.support.agents", "tests.support.lasting"]'})
    key = made_key(fast.database_url, Role.USER)
    with served({**env_of(fast), "AGENTS_CONFIG": str(config)}, tmp_path) as api:
        later, core = Speaker(api, key, LATER), Speaker(api, key)
        made = later("tools/call", name="refund", arguments={"path": str(tmp_path / "lines")})
        task_id = made["result"]["taskId"]
        eventually(lambda: later.get(task_id)["status"] == "input_required", "it waits")
        assert core.get(task_id)["status"] == "input_required"
        ((wait, form),) = later.get(task_id)["inputRequests"].items()
        assert form["params"]["message"] == "May it be paid back?"
        wanted = {"value": {"type": "boolean", "title": "Pay"}}
        assert form["params"]["requestedSchema"]["properties"] == wanted
        for odd in ("x", {"action": "accept", "content": {"value": "yes"}}, {"action": "accept"}):
            told = later("tasks/update", taskId=task_id, inputResponses={wait: odd})
            assert told["error"]["code"] == -32602
        declined = later(
            "tasks/update", taskId=task_id, inputResponses={wait: {"action": "cancel"}}
        )
        assert "error" not in declined
        assert later.get(task_id)["inputRequests"].keys() == {wait}
        reader = Speaker(api, made_key(fast.database_url, Role.READONLY), LATER)
        answer = {wait: {"action": "accept", "content": {"value": True}}}
        assert "runs:signal" in str(reader("tasks/update", taskId=task_id, inputResponses=answer))
        for _ in range(2):
            assert "error" not in later("tasks/update", taskId=task_id, inputResponses=answer)
        done = later.end(task_id)
        assert "true" in done["result"]["content"][0]["text"]
