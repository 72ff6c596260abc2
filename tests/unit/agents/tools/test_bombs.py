"""Tools and replies that would harm their worker: each is stopped, and its model is told so."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from agents.models.provider import Reply
from agents.models.reading.shapes import arguments_of
from agents.plan import Expand
from agents.tools.base import Tool, tool
from agents.tools.calls import ToolCall, ToolResult
from agents.tools.running import Running
from agents.tools.toolbox import Toolbox
from agents.tools.toolset import FunctionToolset
from tests.support.memory_step import MemoryStep
from tests.unit.agents.kinds.test_model import backend, run, says

DEEP = 100_000


def results(step: MemoryStep, used: Tool, *arguments: Any, most: int = 100) -> list[ToolResult]:
    """What comes of one reply that calls the tool with each of these."""

    async def main() -> Any:
        box = Toolbox(FunctionToolset("desk", used), (), list_timeout_s=1)
        running = Running(await box.offered(step), step, most=most)
        return await running.answer(
            [ToolCall(id=str(n), name=used.name, arguments=a) for n, a in enumerate(arguments)]
        )

    found = asyncio.run(main())
    assert isinstance(found, tuple)
    return [*found]


def gives(make: Any, **policy: Any) -> Tool:
    async def look() -> Any:
        return make()

    return tool(name="look", **{"effects": "pure", **policy})(look)


def _cycle() -> Any:
    found: list[Any] = []
    found.append(found)
    return found


def _nested() -> Any:
    found: Any = []
    for _ in range(DEEP):
        found = [found]
    return found


class TestResults:
    @pytest.mark.parametrize(
        ("make", "told"),
        [
            (lambda: float("nan"), "no JSON value"),
            (lambda: [float("inf")], "no JSON value"),
            (_cycle, "no JSON value"),
            (_nested, "no JSON value"),
            (object, "no JSON value"),
            (lambda: 10**5000, "no JSON value"),
            (lambda: b"\xff\xfe", "no JSON value"),
        ],
        ids=["nan", "inf", "cycle", "nested", "object", "integer", "bytes"],
    )
    @pytest.mark.parametrize("effects", ["pure", "effect"])
    def test_without_a_json_form(
        self, step: MemoryStep, make: Any, told: str, effects: Any
    ) -> None:
        (result,) = results(step, gives(make, effects=effects), {})
        assert result.failed
        assert told in str(result.value)

    @pytest.mark.parametrize("endless", [False, True])
    def test_a_generator_is_not_read_without_end(self, step: MemoryStep, endless: bool) -> None:
        def numbers() -> Any:
            n = 0
            while endless or n < 3:
                yield n
                n += 1

        for made in (numbers, lambda: {"found": [numbers()]}, lambda: map(str, numbers())):
            (result,) = results(step, gives(made), {})
            assert result.failed
            assert "no JSON value" in str(result.value)


class TestArguments:
    def test_nested_ones_are_told_as_wrong(self, step: MemoryStep) -> None:
        """What cannot be read stays text, which is no object."""
        text = '{"n": ' + "[" * DEEP + "]" * DEEP + "}"
        read = arguments_of(text)
        assert read == text
        assert "must be a JSON object" in str(results(step, gives(int), read)[0].value)

    @pytest.mark.parametrize("levels", [90, 150, 400, 900])
    def test_levels_that_can_be_read_and_not_kept(self, step: MemoryStep, levels: int) -> None:
        """By a whole answer: they stand in a reply, which is journaled and sent again."""
        deep = arguments_of('{"a": ' + "[" * levels + "]" * levels + "}")
        called = Reply(text="", tool_calls=(ToolCall(id="1", name="add", arguments=deep),))
        agent, _ = backend(called, says("done"))
        assert run(agent, step).value == "done"

    def test_huge_ones_reach_no_person(self, step: MemoryStep) -> None:
        async def look(n: int) -> int:
            return n

        asks = tool(name="look", approve="ask")(look)
        (result,) = results(step, asks, {"n": 1, "more": ["x" * 100] * 100_000})
        assert result.failed


class TestReplies:
    def test_ten_thousand_calls_are_made_to_a_number(self, step: MemoryStep) -> None:
        at_once: list[int] = []
        under_way = 0

        async def look(n: int) -> int:
            nonlocal under_way
            under_way += 1
            at_once.append(under_way)
            await asyncio.sleep(0.01)
            under_way -= 1
            return n

        found = results(step, tool(effects="pure")(look), *({"n": n} for n in range(10_000)))
        assert len(found) == 10_000  # each provider wants an answer to each call
        assert max(at_once) == 100
        assert [r.value for r in found[:100]] == [*range(100)]
        assert all(r.failed and "Not called" in str(r.value) for r in found[100:])

    def test_so_many_wishes_are_no_more_members_than_that(self, step: MemoryStep) -> None:
        async def look(n: int) -> int:
            return n

        asks = tool(name="look", approve="ask")(look)

        async def main() -> Any:
            box = Toolbox(FunctionToolset("desk", asks), (), list_timeout_s=1)
            running = Running(await box.offered(step), step, most=7)
            calls = [ToolCall(id=str(n), name="look", arguments={"n": n}) for n in range(10_000)]
            return await running.answer(calls)

        found = asyncio.run(main())
        assert isinstance(found, Expand)
        assert len(found.members) == 7

    def test_what_was_not_called_may_be_called_in_the_next_reply(self, step: MemoryStep) -> None:
        async def look(n: int) -> int:
            return n

        looks = tool(effects="pure")(look)

        async def main() -> Any:
            box = Toolbox(FunctionToolset("desk", looks), (), list_timeout_s=1)
            running = Running(await box.offered(step), step, most=1)
            calls = [ToolCall(id=str(n), name="look", arguments={"n": n}) for n in range(2)]
            return [await running.answer(calls[n:]) for n in (0, 1)]

        first, second = asyncio.run(main())
        assert [r.failed for r in first] == [False, True]
        assert [(r.failed, r.value) for r in second] == [(False, 1)]


def test_threads_that_a_tool_leaves_behind_hold_nobody_up(
    step: MemoryStep, capsys: pytest.CaptureFixture[str]
) -> None:
    over, printed = threading.Event(), threading.Event()

    def prints() -> None:
        while not over.wait(0.005):
            print("still here")
            printed.set()

    def spawn() -> str:
        for _ in range(20):
            threading.Thread(target=prints, daemon=True).start()
        return "spawned"

    began = time.monotonic()
    (result,) = results(step, tool(effects="pure")(spawn), {})
    assert printed.wait(10)
    over.set()
    assert (result.value, result.failed) == ("spawned", False)
    assert time.monotonic() - began < 20
    assert "still here" in capsys.readouterr().out
