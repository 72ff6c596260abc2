"""Ends of runs as results of tools: whatever they hold, they can be sent."""

from __future__ import annotations

from typing import Any

import pytest

from api.mcp.answers import result_of
from celery_agents.contracts.outcome import Outcome, State


@pytest.mark.parametrize("value", [{"a": "\ud83d"}, {"\ud83d": [{"a": "\udc00"}]}, "\ud83d"])
def test_halves_of_surrogate_pairs_can_be_sent(value: Any) -> None:
    """A server on pipes would end by one that cannot."""
    outcome = Outcome.model_construct(state=State.SUCCEEDED, value=value)
    result = result_of("run-1", "ask", outcome)
    assert "\N{REPLACEMENT CHARACTER}" in result.model_dump_json() or value == "\ud83d"
    assert (result.structured_content is not None) is isinstance(value, dict)
