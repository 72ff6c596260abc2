"""Flows as tools, for keys that may ask all agents."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from api.bodies import FlowBody
from api.mcp.calls import _body
from api.mcp.flows import OfferedFlow, read_flows
from api.mcp.offered import _tool, callable_tools
from api.openai.catalog import ModelCatalog
from app.access.permissions import Principal, Role
from celery_agents.errors import ConfigurationError, InvalidPayloadError

TABLE = """
[mcp.flows.refund]
flow = "refunds/all"
version = 2
input = { properties = { order = { type = "string" } }, required = ["order"] }
[mcp.flows.plain]
"""


async def nobody() -> list[Any]:
    return []


def read(folder: Path, text: str = TABLE) -> dict[str, OfferedFlow]:
    (folder / "agents.toml").write_text(text)
    return read_flows(folder / "agents.toml")


def test_a_flow_is_a_tool_with_its_schema(tmp_path: Path) -> None:
    catalog = ModelCatalog({}, nobody, flows=read(tmp_path))
    tools = callable_tools(asyncio.run(catalog.offers(Principal(id="k", role=Role.USER))))
    assert set(tools) == {"refund", "plain"}
    told = _tool(tools["refund"])
    assert told.input_schema["required"] == ["order"]
    assert told.input_schema["type"] == "object"
    assert told.description == "Start the flow refund."
    assert _tool(tools["plain"]).input_schema["required"] == ["input"]
    body = _body(tools["refund"], {"order": "7"}, ())
    assert isinstance(body, FlowBody)
    assert (body.flow, body.version, body.input) == ("refunds/all", 2, {"order": "7"})
    assert _body(tools["plain"], {"input": 1}, ()).input == 1
    for wrong in ({}, {"order": 7}):
        with pytest.raises(InvalidPayloadError):
            _body(tools["refund"], wrong, ())
    with pytest.raises(InvalidPayloadError):
        _body(tools["plain"], {"input": 1, "more": 2}, ())


def test_a_key_that_may_ask_some_agents_has_none(tmp_path: Path) -> None:
    catalog = ModelCatalog({}, nobody, flows=read(tmp_path))
    narrow = Principal(id="k", role=Role.USER, agents=("*",))
    assert asyncio.run(catalog.offers(narrow)) == []


def test_a_table_that_is_none_is_named(tmp_path: Path) -> None:
    assert read_flows(None) == {}
    for wrong in ("flow = 1", "inptu = {}", "version = 'x'", "input = 1"):
        with pytest.raises(ConfigurationError, match=r"mcp\.flows\.one"):
            read(tmp_path, f"[mcp.flows.one]\n{wrong}\n")
    for wrong in ("[mcp]\nflows = 1\n", "[mcp.flows]\none = 1\n"):
        with pytest.raises(ConfigurationError):
            read(tmp_path, wrong)
