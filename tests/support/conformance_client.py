"""Our client of MCP as the program that the official conformance suite runs.

``python -m tests.support.client_suite`` runs the suite with it. The suite puts the URL of its
server behind the command, and says in variables which scenario that is and, where the client is
known to an authorization server beforehand, as whom. It lists the server's tools and calls each,
as an agent's step does; where it is to sign in, a browser agrees to everything.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2

from agents.tools.calls import ToolError, ToolSpec
from agents.tools.offered import spec_of
from agents.toolsets.mcp.logins import Logins
from agents.toolsets.mcp.loopback import listening
from agents.toolsets.mcp.toolset import McpToolset
from celery_agents.errors import AgentsError
from tests.support.mcp_servers import Browser, toolset

_SAMPLES: dict[str, Any] = {"integer": 5, "number": 5, "boolean": True, "array": [], "object": {}}
#: A document that nobody reads: the suite looks at its address alone.
_DOCUMENT = "https://conformance-test.local/client-metadata.json"


def main() -> None:
    """Ask the server of that URL."""
    asyncio.run(_asked(sys.argv[-1]))


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


if __name__ == "__main__":
    main()
