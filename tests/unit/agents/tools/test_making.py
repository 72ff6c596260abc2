"""Keys of calls that are not journaled, and who checks what a call gives."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.base import StepContext
from agents.tools.base import tool
from agents.tools.calls import ToolCall
from agents.tools.making import key_of_pure
from agents.tools.running import Running
from agents.tools.toolbox import Toolbox
from agents.tools.toolset import FunctionToolset
from celery_agents.contracts.base import JsonValue
from tests.support.memory_step import MemoryStep


@given(st.text(), st.text())
def test_a_key_is_a_uuid_of_the_step_and_what_is_asked_for(step: str, asked: str) -> None:
    wanted = uuid.uuid5(uuid.NAMESPACE_OID, f"{step}/{asked}")
    assert key_of_pure(step, asked) == str(wanted)


@tool(effects="pure")
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


class Careless(FunctionToolset):
    """Gives what is no JSON value, in a call of its own."""

    async def call(self, name: str, arguments: JsonValue, *, key: str, step: StepContext) -> Any:
        del name, arguments, key, step
        return object()


@pytest.mark.parametrize(("kind", "failed"), [(FunctionToolset, False), (Careless, True)])
def test_what_a_users_own_call_gives_is_looked_at(
    kind: type[FunctionToolset], failed: bool
) -> None:
    async def called() -> Any:
        step = MemoryStep()
        box = Toolbox(kind("desk", add), list_timeout_s=10)
        running = Running(await box.offered(step), step)
        return await running.answer([ToolCall(id="1", name="add", arguments={"a": 1, "b": 2})])

    found = asyncio.run(called())
    assert isinstance(found, tuple)
    assert (found[0].failed, "no JSON value" in str(found[0].value)) == (failed, failed)
    assert failed or found[0].value == 3
