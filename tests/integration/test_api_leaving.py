"""A process of the API that is asked to stop: its streams end at once, and nothing is lost."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from api.streams.leaving import GRACE_S
from app.access.permissions import Role
from tests.integration.harness import SOON_S, Stack, eventually
from tests.integration.test_mcp_server import asking, env_of
from tests.integration.test_mcp_tasks import CORE, EXTENSION, LATER
from tests.support.api import Asked, made_key, served

pytestmark = pytest.mark.databases("sqlite")

STREAMS = {"Accept": "application/json, text/event-stream"}


def lines(response: Any) -> Iterator[str]:
    return (line for line in response.iter_lines() if line)


def last(found: Iterator[str]) -> list[str]:
    """The lines up to the end, which is an end and no connection that was cut."""
    return [*found]


def meta(version: str) -> dict[str, Any]:
    about: dict[str, Any] = {"extensions": {EXTENSION: {}}}
    name = "io.modelcontextprotocol"
    told: dict[str, Any] = {f"{name}/protocolVersion": version}
    told[f"{name}/clientInfo"] = {"name": "a test", "version": "1"}
    return {**told, f"{name}/clientCapabilities": about}


def subscribing(**wanted: Any) -> dict[str, Any]:
    params = {"notifications": wanted, "_meta": meta(LATER)}
    return {"jsonrpc": "2.0", "id": 7, "method": "subscriptions/listen", "params": params}


@pytest.fixture
def key(stack: Stack) -> str:
    return made_key(stack.database_url, Role.USER)


def test_streams_end_at_once_and_go_on_in_another_process(
    stack: Stack, key: str, tmp_path: Path
) -> None:
    """Of a run's events, a session, a subscription and a call of a client that comes back."""
    about = {**STREAMS, "Authorization": f"Bearer {key}"}
    core = {**about, "MCP-Protocol-Version": CORE}
    later = {**about, "MCP-Protocol-Version": LATER, "Mcp-Method": "subscriptions/listen"}
    with served(env_of(stack), tmp_path) as other, served(env_of(stack), tmp_path) as api:
        people = Asked(other, key)
        told = {"task": "ask", "agent": "hangs", "input": "?", "stream": True}
        run = str(people("POST", "/tasks", told, status=202)["id"])
        hello = {"protocolVersion": CORE, "capabilities": {}, "clientInfo": {"name": "a"}}
        hello["clientInfo"] = {"name": "a test", "version": "1"}
        body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
        session = api.post("/mcp", json=body, headers=about).headers["mcp-session-id"]
        call = asking("hangs", input="?")
        call["params"]["_meta"] = {"progressToken": 1}
        with ExitStack() as opened:
            streams = {
                "events": api.stream("GET", f"/tasks/{run}/events", headers=about),
                "session": api.stream("GET", "/mcp", headers={**core, "Mcp-Session-Id": session}),
                "listen": api.stream(
                    "POST", "/mcp", json=subscribing(toolsListChanged=True), headers=later
                ),
                "call": api.stream("POST", "/mcp", json=call, headers=core),
            }
            found = {n: lines(opened.enter_context(stream)) for n, stream in streams.items()}
            begun = {name: next(one) for name, one in found.items()}
            os.kill(api.child.pid, signal.SIGTERM)  # type: ignore[attr-defined]
            ends = {name: last(one) for name, one in found.items()}
        assert '"resultType":"complete"' in "".join(ends["listen"]).replace(" ", "")
        assert api.child.wait(SOON_S) is not None  # type: ignore[attr-defined]
        assert "exceeded" not in (tmp_path / "api.log").read_text()  # it did not wait for them
        assert begun["call"].startswith("id: ")
        again = {
            **core,
            "Mcp-Session-Id": session,
            "Last-Event-ID": begun["call"].removeprefix("id: "),
        }
        with other.stream("GET", "/mcp", headers=again) as resumed:
            assert next(lines(resumed)) == begun["call"]
        assert people("GET", f"/tasks/{run}", status=200)["finished_at"] is None
        people("POST", f"/tasks/{run}/cancel")
        assert GRACE_S > 1


def test_a_client_is_told_of_its_tasks_as_they_change(
    stack: Stack, key: str, tmp_path: Path
) -> None:
    """What they ask for, and their end; of others' tasks, and of none, nothing."""
    asked = {"task": "vote", "voters": ["yes", "no"], "input": "?", "rule": "unanimous"}
    headers = {**STREAMS, "Authorization": f"Bearer {key}", "MCP-Protocol-Version": LATER}
    headers |= {"Mcp-Method": "subscriptions/listen"}
    stranger = made_key(stack.database_url, Role.USER, tenant="other")
    with served(env_of(stack), tmp_path) as api:
        people, theirs = Asked(api, key), Asked(api, stranger)
        told = {"task": "ask", "agent": "hangs", "input": "?"}
        run = str(people("POST", "/tasks", told, status=202)["id"])
        foreign = str(theirs("POST", "/tasks", told, status=202)["id"])
        body = subscribing(taskIds=[run, foreign, "gone", 3])
        with api.stream("POST", "/mcp", json=body, headers=headers, timeout=SOON_S) as stream:
            said = messages(stream)
            ready = next(said)
            assert ready["params"]["notifications"] == {"taskIds": [run]}
            theirs("POST", f"/tasks/{foreign}/cancel")
            people("POST", f"/tasks/{run}/cancel")
            ended = next(said)
            assert ended["method"] == "notifications/tasks"
            assert (ended["params"]["taskId"], ended["params"]["status"]) == (run, "cancelled")
            assert ended["params"]["_meta"] == ready["params"]["_meta"]
        vote = {**asked, "escalate": "person"}
        run = str(people("POST", "/tasks", vote, status=202)["id"])
        body = subscribing(taskIds=[run])
        with api.stream("POST", "/mcp", json=body, headers=headers, timeout=SOON_S) as stream:
            said = messages(stream)
            assert next(said)["params"]["notifications"] == {"taskIds": [run]}
            (wish,) = waiting(people, run)
            people("POST", f"/tasks/{run}/approve", {"choice": "yes", "key": wish})
            states = [task["params"]["status"] for task in said_until(said, "completed")]
            assert set(states) <= {"working", "input_required", "completed"}


def messages(stream: Any) -> Iterator[dict[str, Any]]:
    for line in lines(stream):
        if line.startswith("data: {"):
            yield json.loads(line.removeprefix("data: "))


def said_until(said: Iterator[dict[str, Any]], status: str) -> Iterator[dict[str, Any]]:
    for task in said:
        yield task
        if task["params"]["status"] == status:
            return


def waiting(people: Asked, run: str) -> list[str]:
    """The keys of what a run waits for, once it does."""
    found: list[str] = []

    def asks() -> bool:
        rows = people("GET", "/waiting", status=200)["items"]
        found[:] = [row["key"] for row in rows if row["run_id"] == run]
        return bool(found)

    eventually(asks, "it asks somebody")
    return found
