"""Tools of MCP servers, which are real processes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from agents.policies.breaker import BreakerPolicy
from agents.tools.calls import ToolError, ToolFailedError, heard
from agents.toolsets.mcp.entries import McpAuthorisation, McpTools
from agents.toolsets.mcp.toolset import McpToolset
from agents.toolsets.pins import write_pins
from celery_agents.errors import (
    BreakerOpenError,
    ConfigurationError,
    MissingKeyError,
    ProviderUnavailableError,
)
from deploy.local.servers import LOOPBACK
from tests.integration.harness import eventually
from tests.support.apart import apart
from tests.support.mcp_servers import (
    COMMAND,
    alive,
    call,
    closed,
    names,
    on_loop,
    speaking_http,
    toolset,
)
from tests.support.ports import free_port

#: ``MANY_CALLS=1000``: the measured ones.
MANY_CALLS = int(os.environ.get("MANY_CALLS", "40"))
MANY_CONNECTS = int(os.environ.get("MANY_CONNECTS", "6"))
TOKEN = "a-token-of-the-server-0123456789"
SECRET = "a-secret-of-the-client-0123456789"


def servers(program: str = COMMAND[-1]) -> list[int]:
    """Processes of servers that this one has started, or the programs that start them."""
    found = []
    for child in psutil.Process().children(True):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if program in child.cmdline():
                found.append(child.pid)
    return found


def held() -> tuple[int, ...]:
    """Servers, threads, descriptors and tasks of this process, without the loop's own threads."""
    gc.collect()
    own = psutil.Process()
    threads = [t for t in threading.enumerate() if not t.name.startswith("asyncio_")]
    return len(servers()), len(threads), own.num_fds(), len(asyncio.all_tasks())


async def nothing_left(before: tuple[int, ...]) -> None:
    """Wait for threads that look after processes which have just ended.

    Fewer are no fault: what earlier tests left behind may be closed in the meantime.
    """
    for _ in range(1_000):
        now = held()
        if now[0] == before[0] and all(n <= was for n, was in zip(now, before, strict=True)):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{held()} after {before}: servers, threads, descriptors, tasks")


async def warm() -> None:
    """Have the SDK imported, and a thread for that."""
    desk = toolset()
    await names(desk)
    await desk.aclose()


@on_loop
async def test_tools_are_listed_with_names_that_models_take_and_called() -> None:
    desk = toolset(prefix="d_", exclude=["die"])
    found = await closed(desk, _listed_and_called(desk))
    assert found == (["d_add", "d_slow", "d_write", "d_refuse", "d_show_all"], {"result": 5})


async def _listed_and_called(desk: McpToolset) -> tuple[list[str], Any]:
    return await names(desk), await call(desk, "d_add", a=2, b=3)


@on_loop
async def test_a_call_of_a_process_that_has_listed_nothing_finds_its_tool() -> None:
    desk = toolset()
    assert await closed(desk, call(desk, "add", a=2, b=3)) == {"result": 5}


@on_loop
async def test_what_a_tool_says_is_told_whatever_form_it_promised() -> None:
    desk = toolset(secrets={"A_SECRET": TOKEN}, env={"TOKEN": "A_SECRET"})
    text, picture = await closed(desk, call(desk, "show_all"))
    assert picture == {"type": "image", "mime_type": "image/png", "base64_characters": 4}
    told = json.loads(text)
    assert told["meta"]["celery-agents/idempotency-key"] == "key-1"
    # Of the worker's own variables none but those without which nothing runs.
    assert (
        {"TOKEN"}
        < told["env"].keys()
        <= {*("TOKEN", "PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "LC_CTYPE")}
    )


@on_loop
async def test_a_tool_that_fails_is_an_error_without_secrets() -> None:
    desk = toolset(secrets={"A_SECRET": TOKEN}, env={"TOKEN": "A_SECRET"})
    with pytest.raises(ToolError, match=r"^no, ") as raised:
        await closed(desk, _heard(desk, "refuse"))
    assert TOKEN not in str(raised.value)


async def _heard(desk: McpToolset, name: str) -> Any:
    return await heard(call(desk, name))


@on_loop
async def test_what_is_no_tool_any_more_is_said() -> None:
    desk = toolset(exclude=["add"])
    with pytest.raises(ToolError, match="no tool 'add' any more"):
        await closed(desk, call(desk, "add", a=1, b=1))


@on_loop
async def test_calls_leave_nothing() -> None:
    desk = toolset()
    await call(desk, "add", a=0, b=0)
    before = held()
    for start in range(0, MANY_CALLS, 20):
        made = await asyncio.gather(*(call(desk, "add", a=start, b=n) for n in range(20)))
        assert [one["result"] for one in made] == [start + n for n in range(20)]
    await nothing_left(before)
    await desk.aclose()
    assert held()[0] == 0


@on_loop
async def test_a_server_that_dies_in_a_call_is_an_error_and_the_next_call_works() -> None:
    desk = toolset(effects={"*": "idempotent"})
    for _ in range(2):
        with pytest.raises(ToolFailedError, match="was lost in the call, and what it did is not"):
            await call(desk, "die")
        assert await call(desk, "add", a=1, b=1) == {"result": 2}
    await desk.aclose()


@on_loop
async def test_a_server_that_died_between_calls_is_started_anew() -> None:
    desk = toolset()
    shown = json.loads((await call(desk, "show_all"))[0])
    os.kill(shown["pid"], signal.SIGKILL)
    await asyncio.to_thread(eventually, lambda: not alive(shown["pid"]), "the server is dead")
    for _ in range(100):
        await asyncio.sleep(0)  # the loop hears of it
    assert await call(desk, "add", a=1, b=1) == {"result": 2}
    await desk.aclose()


@on_loop
async def test_a_call_may_last_as_long_as_it_tells_that_it_goes_on() -> None:
    desk = toolset(call_timeout_s=5.0)
    assert await call(desk, "slow", seconds=0.3) == "done"
    short = toolset(call_timeout_s=0.4, call_timeout_max_s=600.0)
    with pytest.raises(ToolFailedError, match="slow did not end within"):
        await call(short, "slow", seconds=30, tells=False)
    most = toolset(call_timeout_s=0.5, call_timeout_max_s=0.6)
    with pytest.raises(ToolFailedError, match="slow did not end within"):
        await call(most, "slow", seconds=30)
    for one in (desk, short, most):
        await one.aclose()


@on_loop
async def test_connecting_that_is_cancelled_leaves_no_process() -> None:
    await warm()
    before = held()
    cancelled = 0
    for number in range(MANY_CONNECTS):
        desk = toolset()
        asking = asyncio.create_task(call(desk, "add", a=1, b=1))
        await asyncio.sleep(0.024 * number / MANY_CONNECTS)
        asking.cancel()
        await asyncio.wait([asking])
        cancelled += asking.cancelled()  # else it was quicker, on a machine that is busy
        await desk.aclose()
    assert cancelled
    await nothing_left(before)


@on_loop
async def test_a_call_that_is_cancelled_leaves_the_connection_to_the_others() -> None:
    desk = toolset()
    await names(desk)
    asking = asyncio.create_task(call(desk, "slow", seconds=0.5))
    await asyncio.sleep(0.05)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    first = json.loads((await call(desk, "show_all"))[0])["pid"]
    assert json.loads((await call(desk, "show_all"))[0])["pid"] == first
    await desk.aclose()


def serve_for_ever(folder: Path) -> None:
    """Be a worker with a server that stays, and leave the server's id in the folder."""

    async def main() -> None:
        desk = toolset(secrets={"S": "1"}, env={"STAYS": "S"})
        shown = json.loads((await call(desk, "show_all"))[0])
        (folder / "part").write_text(str(shown["pid"]))
        (folder / "part").rename(folder / "pid")
        await asyncio.sleep(3600)

    asyncio.run(main())


@pytest.mark.skipif(sys.platform != "linux", reason="the system tells of a parent's death there")
def test_a_program_that_stays_ends_with_the_worker_that_is_killed(tmp_path: Path) -> None:
    worker = apart.Process(target=serve_for_ever, args=(tmp_path,))
    worker.start()
    eventually((tmp_path / "pid").exists, "the worker has its server", timeout_s=100)
    server = int((tmp_path / "pid").read_text())
    assert alive(server)
    assert os.getpgid(server) == server  # a group of its own
    worker.kill()
    worker.join()
    eventually(lambda: not alive(server), "the server has ended")


@on_loop
async def test_a_server_that_cannot_be_started_is_left_alone_for_a_while() -> None:
    policy = BreakerPolicy(failures=2, open_s=600.0).model_dump()
    desk = toolset(command=(sys.executable, "-c", "raise SystemExit(1)"), breaker=policy)
    for _ in range(2):
        with pytest.raises(ProviderUnavailableError, match="'desk' cannot be used"):
            await names(desk)
    with pytest.raises(BreakerOpenError, match="is not asked for") as raised:
        await names(desk)
    assert raised.value.retry_after_s
    with pytest.raises(ToolFailedError, match="is not asked for"):
        await call(desk, "add", a=1, b=1)


@on_loop
async def test_a_server_that_says_nothing_is_given_up() -> None:
    quiet = (sys.executable, "-c", "import time; time.sleep(3600)")
    desk = toolset(command=quiet, connect_timeout_s=0.5)
    with pytest.raises(ProviderUnavailableError, match=r"was not there within 0\.5 s"):
        await names(desk)
    await desk.aclose()
    assert not servers(quiet[-1])


@on_loop
async def test_what_is_missing_is_said() -> None:
    with pytest.raises(ConfigurationError, match="there is no no-such-program"):
        await names(toolset(command=("no-such-program",)))
    with pytest.raises(MissingKeyError, match="A_SECRET is not set"):
        await names(toolset(secrets={}, env={"TOKEN": "A_SECRET"}))


@on_loop
async def test_a_pattern_of_approve_that_fits_nothing_is_refused() -> None:
    desk = toolset(approve={"delete*": "ask"})
    with pytest.raises(ConfigurationError, match="approve: no tool has a name like delete"):
        await closed(desk, names(desk))


@on_loop
async def test_a_tool_that_has_changed_is_withheld_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    there = tmp_path / "tools.json"
    there.write_text(json.dumps({"add": None, "slow": None}))
    given: dict[str, Any] = {"secrets": {"T": str(there)}, "env": {"TOOLS": "T"}}
    desk = toolset(**given)
    step: Any = None
    write_pins(await closed(desk, desk.specs(step)), tmp_path / "desk.pins")
    there.write_text(json.dumps({"add": "Adds, and tells me both.", "slow": None, "refuse": None}))
    pinned = toolset(**given, pin=str(tmp_path / "desk.pins"))
    with caplog.at_level(logging.WARNING):
        assert await names(pinned) == ["slow"]
    assert "add, refuse" in caplog.text
    with pytest.raises(ToolError, match="offers no tool 'add'"):
        await closed(pinned, call(pinned, "add", a=1, b=1))


@on_loop
async def test_http_with_sessions_and_a_token() -> None:
    port = free_port()
    url = f"http://{LOOPBACK}:{port}/mcp"
    told: dict[str, Any] = {"url": url, "auth": {"bearer_env": "T"}}
    desk = toolset(secrets={"T": TOKEN}, call_timeout_s=5.0, **told)
    wrong = toolset(secrets={"T": "another"}, **told)
    with speaking_http(port, TOKEN=TOKEN):
        assert await call(desk, "add", a=1, b=1) == {"result": 2}
        assert await call(desk, "slow", seconds=0.3) == "done"
        with pytest.raises(ProviderUnavailableError, match="HTTP 401"):
            await names(wrong)
    with pytest.raises(ToolFailedError, match="does not answer"):
        await call(desk, "add", a=1, b=1)
    with speaking_http(port, TOKEN=TOKEN):  # it knows none of the sessions
        assert await call(desk, "add", a=1, b=1) == {"result": 2}
    await desk.aclose()
    await wrong.aclose()


@on_loop
async def test_a_call_for_a_session_that_is_forgotten_is_made_in_another() -> None:
    port = free_port()
    desk = toolset(url=f"http://{LOOPBACK}:{port}/mcp")
    with speaking_http(port):
        assert await call(desk, "add", a=1, b=1) == {"result": 2}
    with speaking_http(port):
        assert await call(desk, "add", a=1, b=2) == {"result": 3}
    await desk.aclose()


@on_loop
async def test_a_server_by_http_that_dies_in_a_call() -> None:
    port = free_port()
    desk = toolset(url=f"http://{LOOPBACK}:{port}/mcp")
    with speaking_http(port), pytest.raises(ToolFailedError, match="was lost in the call"):
        await call(desk, "die")
    with speaking_http(port):
        assert await call(desk, "add", a=1, b=2) == {"result": 3}
    await desk.aclose()


@pytest.mark.parametrize("secret", [SECRET, "a-wrong-one-0123456789"])
@on_loop
async def test_client_credentials(secret: str, caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    where = f"http://{LOOPBACK}:{port}"
    auth = {"client_id": "desk", "secret_env": "S", "issuer": where}
    desk = toolset(secrets={"S": secret}, url=f"{where}/mcp", auth=auth)
    with speaking_http(port, TOKEN=TOKEN, CLIENT_SECRET=SECRET):
        if secret == SECRET:
            assert await closed(desk, call(desk, "add", a=1, b=1)) == {"result": 2}
        else:
            with pytest.raises(ProviderUnavailableError, match="OAuth") as raised:
                await closed(desk, names(desk))
            assert secret not in str(raised.value)
    assert TOKEN not in caplog.text
    assert secret not in caplog.text


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"url": "http://x/mcp"}, "either command or url"),
        ({"env": {"A": "B"}, "command": None, "url": "http://x/mcp"}, "go with command"),
        ({"auth": {"bearer_env": "T"}}, "auth goes with url"),
        ({"call_timeout_max_s": 1.0}, "less than call_timeout_s"),
    ],
)
def test_entries_that_cannot_be_meant(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        McpTools.model_validate({"kind": "mcp", "command": COMMAND, **fields})


@pytest.mark.parametrize(
    ("auth", "told"),
    [
        ({"client_id": "a"}, "go together"),
        ({"client_id": "a", "secret_env": "B", "issuer": "http://i", "bearer_env": "C"}, "either"),
        ({"scope": "a"}, "scope goes with"),
    ],
)
def test_authorisations_that_cannot_be_meant(auth: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        McpAuthorisation.model_validate(auth)
