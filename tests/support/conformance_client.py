"""Our client of MCP as the program that the official conformance suite runs.

``npx @modelcontextprotocol/conformance@0.2.0-alpha.12 client --spec-version 2025-11-25 --suite all
--command "python -m tests.support.conformance_client"``, in the checkout's folder. The suite puts
the URL of its server behind that, and who asks, where a scenario has client credentials, into a
variable. It lists the server's tools and calls each, as an agent's step does.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx2

from agents.tools.calls import ToolError, ToolSpec
from agents.tools.offered import spec_of
from agents.toolsets.mcp.toolset import McpToolset
from celery_agents.errors import AgentsError
from tests.support.mcp_servers import toolset

_SAMPLES: dict[str, Any] = {"integer": 5, "number": 5, "boolean": True, "array": [], "object": {}}


def main() -> None:
    """Ask the server of that URL."""
    asyncio.run(_asked(sys.argv[-1]))


async def _asked(url: str) -> None:
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
    secrets = {"SECRET": str(context.get("client_secret", ""))}
    fields: dict[str, Any] = {"url": url}
    if secrets["SECRET"]:
        about = {"client_id": context["client_id"], "secret_env": "SECRET"}
        fields["auth"] = about | {"issuer": await _issuer(url)}
    desk = toolset(secrets=secrets, **fields)
    try:
        step: Any = None
        specs = [spec_of(desk, one) for one in await desk.specs(step)]
        for spec in specs:
            await _called(desk, spec, specs)
    finally:
        await desk.aclose()


async def _called(desk: McpToolset, spec: ToolSpec, specs: Sequence[ToolSpec]) -> None:
    properties: Any = spec.parameters.get("properties") or {}
    given = {name: _sample(about) for name, about in properties.items()}
    if spec.name == "json_schema_echo":  # it is told the schema of the other tool as it was read
        given = {"schema": next(one.parameters for one in specs if one is not spec)}
    try:
        step: Any = None
        print(spec.name, await desk.call(spec.name, given, key="key-1", step=step))
    except (ToolError, AgentsError) as error:  # the suite judges what was sent
        print(spec.name, type(error).__name__, error, file=sys.stderr)


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
