"""Our client of MCP as the program that the official conformance suite runs.

``python -m tests.support.client_suite`` runs the suite with it. The suite puts the URL of its
server behind the command, and says in variables which scenario that is and, where the client is
known to an authorization server beforehand, as whom. It lists the server's tools and calls each,
as an agent's step does; where it is to sign in, a browser agrees to everything.

The suite starts a process for each of its scenarios. It starts :data:`RELAY`, and :func:`serving`
forks for it a process that has imported the client: to import that anew took 1.5 s of CPU, 60
times.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import httpx2

from agents.tools.calls import ToolError, ToolSpec
from agents.tools.offered import spec_of
from agents.toolsets.mcp.logins import Logins
from agents.toolsets.mcp.loopback import listening
from agents.toolsets.mcp.toolset import McpToolset
from app.concurrency.garbage import spare_garbage_collection
from celery_agents.errors import AgentsError, ProviderUnavailableError
from deploy.local.servers import LOOPBACK
from tests.support.mcp_servers import Browser, toolset

_SAMPLES: dict[str, Any] = {"integer": 5, "number": 5, "boolean": True, "array": [], "object": {}}
#: A document that nobody reads: the suite looks at its address alone.
_DOCUMENT = "https://conformance-test.local/client-metadata.json"


#: What the suite starts: it gives its files, arguments and variables away, and ends as the fork.
RELAY = """
import json, os, socket, sys
door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
door.connect(sys.argv[1])
told = {"url": sys.argv[-1], "env": dict(os.environ)}
socket.send_fds(door, [json.dumps(told).encode()], [0, 1, 2])
os._exit(int(door.recv(16) or 255))
"""
#: Bytes of what it gives away: the suite's variables have keys and tokens.
_TOLD_MAX = 1 << 17
#: Where nobody answers.
_NOBODY = f"http://{LOOPBACK}:9/mcp"


@contextmanager
def serving(folder: Path) -> Iterator[list[str]]:
    """Serve a command, to which the suite adds its URL, by forks for as long as the block."""
    place, relay = folder / "door", folder / "relay.py"
    relay.write_text(RELAY)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
        door.bind(str(place))
        door.listen(200)
        if not (server := os.fork()):
            _serve(door)
        try:
            yield [sys.executable, "-I", "-S", str(relay), str(place)]
        finally:
            os.kill(server, signal.SIGKILL)
            os.waitpid(server, 0)


def _serve(door: socket.socket) -> NoReturn:
    """Fork for each who comes to a socket."""
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        with suppress(ProviderUnavailableError):  # for what is imported by then
            asyncio.run(_asked(_NOBODY))
        spare_garbage_collection()
        while True:
            relay, _ = door.accept()
            with relay:
                if not os.fork():
                    _served(relay)
    finally:
        traceback.print_exc()
        os._exit(1)


def _served(relay: socket.socket) -> NoReturn:
    """Ask a server with the files and variables of a relay, and tell it how that has ended."""
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        told, files, _, _ = socket.recv_fds(relay, _TOLD_MAX, 3)
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        order = json.loads(told)
        os.environ.update(order["env"])
        asyncio.run(_asked(order["url"]))
        status = 0
    finally:
        if status:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        relay.send(b"%d" % status)
        os._exit(status)


async def _asked(url: str) -> None:
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
    async with listening(0, Browser().open) as person:
        with tempfile.TemporaryDirectory() as folder:
            auth, secrets = await _authorisation(url, context, Path(folder))
            # All scenarios run at once, on machines that may be busy.
            patient = {"connect_timeout_s": 200.0, "call_timeout_s": 200.0}
            fields: dict[str, Any] = {"url": url, "auth": auth, "forms": "defaults", **patient}
            desk = toolset(secrets=secrets, logins=Logins(person), **fields)
            try:
                step: Any = None
                specs = [spec_of(desk, one) for one in await desk.specs(step)]
                for spec in specs:
                    for given in _given(spec, specs, context):
                        await _called(desk, spec.name, given)
            finally:
                await desk.aclose()


async def _authorisation(
    url: str, context: dict[str, Any], folder: Path
) -> tuple[dict[str, Any], dict[str, str]]:
    """The entry's ``auth`` for a scenario, and the secrets that it names."""
    scenario = os.environ.get("MCP_CONFORMANCE_SCENARIO", "")
    if not scenario.startswith("auth/"):
        return {}, {}
    if "client_id" not in context:
        return {"login": True, "client_metadata_url": _DOCUMENT}, {}
    auth: dict[str, Any] = {"client_id": context["client_id"], "issuer": await _issuer(url)}
    if "private_key_pem" in context:
        about = {"key_env": "SECRET", "key_algorithm": context["signing_algorithm"]}
        return auth | about, {"SECRET": context["private_key_pem"]}
    token = folder / "token"
    token.write_text(context.get("valid_jwt") or context.get("idp_id_token") or "")
    if "valid_jwt" in context:
        return auth | {"assertion_file": str(token)}, {}
    auth |= {"secret_env": "SECRET"}
    if "idp_id_token" in context:
        known = {"token_url": context["idp_token_endpoint"], "client_id": context["idp_client_id"]}
        auth |= {"identity": {**known, "token_file": str(token)}}
    elif "client-credentials" not in scenario:
        auth |= {"login": True}
    return auth, {"SECRET": str(context["client_secret"])}


def _given(spec: ToolSpec, specs: Sequence[ToolSpec], context: dict[str, Any]) -> list[Any]:
    """Arguments for the calls of a tool: those of the scenario, else made of its schema."""
    if told := [c["arguments"] for c in context.get("toolCalls", ()) if c["name"] == spec.name]:
        return told
    if spec.name == "json_schema_echo":  # it is told the schema of the other tool as it was read
        return [{"schema": next(one.parameters for one in specs if one is not spec)}]
    properties: Any = spec.parameters.get("properties") or {}
    return [{name: _sample(about) for name, about in properties.items()}]


async def _called(desk: McpToolset, name: str, given: Any) -> None:
    try:
        step: Any = None
        print(name, await desk.call(name, given, key="key-1", step=step))
    except (ToolError, AgentsError) as error:  # the suite judges what was sent
        print(name, type(error).__name__, error, file=sys.stderr)


def _sample(about: dict[str, Any]) -> Any:
    if "default" in about:
        return about["default"]
    return about["enum"][0] if "enum" in about else _SAMPLES.get(str(about.get("type")), "text")


async def _issuer(url: str) -> str:
    """The authorization server that a server names, which an operator would know."""
    parts = urlsplit(url)
    async with httpx2.AsyncClient() as client:
        for path in (parts.path, ""):
            place = f"{parts.scheme}://{parts.netloc}/.well-known/oauth-protected-resource{path}"
            told = await client.get(place)
            if told.status_code == 200:
                return str(told.json()["authorization_servers"][0])
    raise SystemExit(f"{url} names no authorization server")
