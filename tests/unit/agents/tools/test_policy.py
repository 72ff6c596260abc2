from __future__ import annotations

from typing import Any

import pytest

from agents.tools import CallContext, tool
from agents.tools.policy import ToolPolicy
from celery_agents.errors import ConfigurationError


@pytest.mark.parametrize(
    ("policy", "tries"),
    [
        ({}, 1),
        ({"effects": "effect", "tries": 1}, 1),
        ({"effects": "pure"}, 1),
        ({"effects": "pure", "tries": 3}, 3),
        ({"effects": "idempotent"}, 2),
        ({"effects": "idempotent", "tries": 1}, 1),
    ],
)
def test_tries(policy: dict[str, Any], tries: int) -> None:
    assert ToolPolicy(**policy).tries_max == tries


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ({"effects": "none"}, "effects"),
        ({"tries": 2}, "^@tool: Value error, a tool with effects has one try"),
        ({"effects": "pure", "tries": 0}, "tries"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"max_result_bytes": 1}, "max_result_bytes"),
        ({"on_uncertain": "again"}, "on_uncertain"),
        ({"effect": "pure"}, "effect: .*did you mean effects"),
        ({"aprove": "ask"}, "did you mean approve"),
    ],
)
def test_wrong_options_of_a_tool(policy: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        tool(**policy)


def test_the_context_of_a_call_may_be_left_out_by_who_calls_it() -> None:
    def asks(text: str, call: CallContext | None = None) -> str:
        return text if call is None else call.key

    made = tool(asks)
    assert made("yes") == "yes"
    assert list(made.parameters["properties"]) == ["text"]  # type: ignore[arg-type]


@pytest.mark.parametrize(("given", "tries"), [({}, 1), ({"tries": 3}, 3)])
def test_a_function_that_may_make_calls_of_its_step_is_tried_once(given: Any, tries: int) -> None:
    """Another try would make them anew: they are counted in the attempt."""

    async def asks(call: CallContext) -> str:
        return call.key

    assert tool(effects="idempotent", **given)(asks).policy.tries_max == tries
