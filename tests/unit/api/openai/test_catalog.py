"""What is known of models, and of flows that are tools."""

from __future__ import annotations

from typing import Any

from api.mcp.flows import OfferedFlow
from api.openai.catalog import ModelCatalog


async def nothing() -> list[Any]:
    return []


def test_tools_of_one_flow_have_their_signals_together() -> None:
    told = {
        "refund": OfferedFlow.model_validate({"flow": "refund", "signals": {"approve": {}}}),
        "refund_later": OfferedFlow.model_validate({"flow": "refund", "signals": {"wait": {}}}),
        "other": OfferedFlow.model_validate({"flow": "other"}),
    }
    found = ModelCatalog({}, nothing, flows=told).signals
    assert {flow: {*signals} for flow, signals in found.items()} == {"refund": {"approve", "wait"}}
