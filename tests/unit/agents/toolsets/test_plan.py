"""The plan that a model writes down is shown to those who watch."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agents.tools.base import CallContext
from agents.tools.calls import ToolError
from agents.toolsets.plan import plan
from tests.support.memory_step import MemoryStep


def call(step: Any, arguments: Any) -> Any:
    return asyncio.run(plan.call(arguments, context=CallContext("k", step)))


def test_a_plan_is_told_as_progress() -> None:
    step = MemoryStep()
    items = [{"text": "Read it", "state": "done"}, {"text": "Mend it"}]
    assert call(step, {"items": items}) == "1 of 2 done"
    assert step.told == [{"plan": [items[0], {"text": "Mend it", "state": "open"}]}]


@pytest.mark.parametrize(
    "items", [[], [{"text": ""}], [{"text": "x", "state": "later"}], [{"text": "x"}] * 51, "x"]
)
def test_a_plan_has_bounds(items: Any) -> None:
    with pytest.raises(ToolError, match="Wrong arguments"):
        call(MemoryStep(), {"items": items})
