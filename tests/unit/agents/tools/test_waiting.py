"""Calls that wait for a time: their step waits for a member that no worker takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agents.plan import Expand, Member
from agents.tools.base import Tool, tool
from agents.tools.calls import ToolCall, ToolError, WaitsUntilError
from agents.tools.running import Running
from agents.tools.toolbox import Toolbox
from agents.tools.toolset import FunctionToolset
from agents.tools.waiting import WaitsError, merged
from agents.tools.wrappers import Prefixed
from agents.toolsets.builtin.catalogue import functions
from agents.toolsets.builtin.offer import made
from celery_agents import names
from celery_agents.contracts.outcome import Outcome, State
from tests.support.memory_step import MemoryStep

WAITS = made(functions()["dates.wait_until"])
OVER = Outcome(state=State.CANCELLED)


def at(**later: float) -> str:
    return (datetime.now(UTC) + timedelta(**later)).isoformat()


def answer(step: MemoryStep, *calls: tuple[str, Any], tools: tuple[Tool, ...] = (WAITS,)) -> Any:
    async def main() -> Any:
        box = Toolbox(FunctionToolset("desk", *tools), list_timeout_s=1)
        running = Running(await box.offered(step), step)
        return await running.answer(
            [ToolCall(id=str(n), name=name, arguments=a) for n, (name, a) in enumerate(calls)]
        )

    return asyncio.run(main())


def test_a_step_waits_until_then_and_goes_on(step: MemoryStep) -> None:
    wish = ("wait_until", {"time": at(minutes=5)})
    plan = answer(step, wish)
    assert isinstance(plan, Expand)
    (member,) = plan.members
    assert (member.task, member.waits) == (names.WAIT, True)
    assert 290 < (plan.join.timeout_s or 0) <= 300
    step.ended[member.key] = OVER
    (result,) = answer(step.again(), wish)  # the clock of its machine may go behind
    assert not result.failed
    assert result.value["reached"] == wish[1]["time"]


def test_all_of_a_reply_wait_for_the_latest(step: MemoryStep) -> None:
    plan = answer(step, *(("wait_until", {"time": at(minutes=n)}) for n in (1, 9, 3)))
    assert len(plan.members) == len({member.key for member in plan.members}) == 3
    assert 530 < (plan.join.timeout_s or 0) <= 540


def test_what_is_over_is_told_at_once(step: MemoryStep) -> None:
    (result,) = answer(step, ("wait_until", {"time": "2024-05-04", "zone": "Asia/Tokyo"}))
    assert result.value == {"reached": "2024-05-04T00:00:00+09:00", "weekday": "Saturday"}


@pytest.mark.parametrize(
    ("time", "told"),
    [(None, "31"), ("9999-12-31", "31"), ("soon", "ISO 8601"), ("1" * 101, "100")],
)
def test_it_waits_for_no_longer(step: MemoryStep, time: str | None, told: str) -> None:
    (result,) = answer(step, ("wait_until", {"time": time or at(days=33)}))
    assert result.failed
    assert told in str(result.value)


def test_other_calls_of_the_reply_are_made_once(step: MemoryStep) -> None:
    done: list[int] = []

    @tool
    async def pays(cents: int) -> int:
        done.append(cents)
        return cents

    calls = [("wait_until", {"time": at(hours=1)}), ("pays", {"cents": 7})]
    plan = answer(step, *calls, tools=(WAITS, pays))
    step.ended[plan.members[0].key] = OVER
    waited, paid = answer(step.again(), *calls, tools=(WAITS, pays))
    assert (paid.value, done) == (7, [7])
    assert "reached" in waited.value


def test_a_person_is_asked_before_the_time_is_waited_for(step: MemoryStep) -> None:
    @tool(approve="ask")
    async def pays(cents: int) -> int:
        return cents

    calls = [("wait_until", {"time": at(hours=1)}), ("pays", {"cents": 7})]
    plan = answer(step, *calls, tools=(WAITS, pays))
    assert [member.task for member in plan.members] == [names.APPROVAL]
    assert plan.join.timeout_s is None


def test_a_tool_behind_a_prefix_waits_too(step: MemoryStep) -> None:
    async def main() -> Any:
        box = Toolbox(
            FunctionToolset("none"), [Prefixed(FunctionToolset("desk", WAITS), "my_")],
            list_timeout_s=1,
        )  # fmt: skip
        running = Running(await box.offered(step), step)
        call = ToolCall(id="1", name="my_wait_until", arguments={"time": at(hours=1)})
        return await running.answer([call])

    assert isinstance(asyncio.run(main()), Expand)


def test_outside_of_a_step_it_says_so() -> None:
    with pytest.raises(ToolError, match="step of an agent"):
        asyncio.run(WAITS.call({"time": at(hours=1)}))


def test_of_several_waits_those_without_an_end_come_first() -> None:
    member: Callable[[str], Member] = lambda key: Member(  # noqa: E731
        key=key, task=names.WAIT, input=None, options={}, waits=True
    )
    timed = [WaitsError([member("a")], 3.0), WaitsError([member("b")], 5.0)]
    assert merged(timed).timeout_s == 5.0
    assert [one.key for one in merged(timed).members] == ["a", "b"]
    both = merged([*timed, WaitsError([member("c")])])
    assert ([one.key for one in both.members], both.timeout_s) == (["c"], None)


def test_it_is_an_error_of_tools() -> None:
    assert issubclass(WaitsUntilError, ToolError)
