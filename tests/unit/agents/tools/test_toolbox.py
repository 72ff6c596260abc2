"""All tools of an agent, in one step and its later attempts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agents.tools import FunctionToolset, Prefixed, Toolset
from agents.tools.calls import ToolCall, ToolResult
from agents.tools.running import Running
from agents.tools.toolbox import Toolbox
from celery_agents.errors import (
    AgentFailedError,
    ConfigurationError,
    ProviderUnavailableError,
    RateLimitedError,
    StepCancelledError,
)
from tests.support.toolsets import Desk, Shelf, charge, find, spec


def toolbox(*toolsets: Toolset, functions: tuple[Any, ...] = (), within_s: float = 60) -> Toolbox:
    return Toolbox(FunctionToolset("functions", *functions), toolsets, list_timeout_s=within_s)


def listed(box: Toolbox, step: Any) -> list[str]:
    return [s.name for s in asyncio.run(box.offered(step)).specs]


def use(box: Toolbox, name: str, arguments: Any, step: Any) -> ToolResult:
    async def main() -> ToolResult:
        offered = await box.offered(step)
        calls = [ToolCall(id="1", name=name, arguments=arguments)]
        found = await Running(offered, step).answer(calls)
        assert isinstance(found, tuple)
        return found[0]

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("effects", "worst"),
    [
        ([], "pure"),
        (["pure", "idempotent"], "idempotent"),
        (["effect", "pure"], "effect"),
    ],
)
def test_its_effects_are_the_worst_of_its_sources(effects: list[Any], worst: str) -> None:
    shelves = [Shelf([], name=str(n), effects=e) for n, e in enumerate(effects)]
    assert toolbox(*shelves, functions=(find,)).effects == worst
    assert toolbox(*shelves, functions=(charge,)).effects == "effect"


def test_functions_alone_are_not_listed_in_the_journal(step: Any) -> None:
    box = toolbox(functions=(find,))
    assert listed(box, step) == ["find"]
    assert use(box, "find", {"number": 3}, step).value == {"number": 3}
    assert step.calls == []  # nor are calls of pure ones


def test_functions_and_toolsets_are_offered_together(step: Any) -> None:
    shelf = Shelf([spec("fly")], effects="idempotent")
    box = toolbox(Prefixed(Desk(), "desk_"), shelf, functions=(find,))
    assert listed(box, step) == ["find", "desk_find", "desk_fail", "fly"]
    assert use(box, "desk_find", {"number": 3}, step.again()).value == {"number": 3}
    assert use(box, "fly", [1], step.again()).value == "done"
    assert step.calls == ["tools", "tool:fly"]
    assert shelf.called == [("fly", [1], "step-1-2", "step-1")]


def test_a_step_keeps_its_list_and_the_next_one_gets_its_own(step: Any) -> None:
    shelf = Shelf([spec("fly"), spec("swim")], [spec("walk")])
    box = toolbox(shelf)
    assert listed(box, step) == ["fly", "swim"]
    assert listed(box, step.again()) == ["fly", "swim"]
    assert shelf.listed == 1
    assert use(box, "walk", {}, step.again()).value == "There is no tool 'walk'."
    assert listed(box, type(step)()) == ["walk"]


@pytest.mark.parametrize("toolsets", [(Shelf([]),), (Shelf([]), Shelf((), name="other"))])
def test_nothing_listed_is_nothing_offered(toolsets: tuple[Toolset, ...], step: Any) -> None:
    assert listed(toolbox(*toolsets), step) == []
    assert listed(toolbox(*toolsets, functions=(find,)), type(step)()) == ["find"]


@pytest.mark.parametrize(
    ("lists", "error", "told"),
    [
        (ValueError("bad pass" + "word=hunter2"), AgentFailedError, "'shelf' raised ValueError"),
        (SystemExit(1), AgentFailedError, "'shelf' raised RuntimeError"),
        (ConnectionError("gone"), ProviderUnavailableError, "'shelf' raised ConnectionError"),
        (RateLimitedError("later"), RateLimitedError, "later"),
        (StepCancelledError("stop"), StepCancelledError, "stop"),
        (..., ProviderUnavailableError, r"'shelf' did not list its tools within 0.05 s"),
        (None, ConfigurationError, "'shelf' lists no tools but 'None'"),
        ("fly", ConfigurationError, "'shelf' lists no tools but 'fly'"),
        ([7], ConfigurationError, "'shelf' lists what is no tool"),
        ([spec("fly", parameters={"a": object()})], ConfigurationError, "what is no tool"),
        ([spec("fly", parameters=[])], ConfigurationError, "what is no tool"),
        ([spec("fly", description=None)], ConfigurationError, "what is no tool"),
        ([spec(None)], ConfigurationError, "what is no tool"),
        ([spec("two words")], ConfigurationError, "'two words', which is no name for a tool"),
        ([spec("x" * 65)], ConfigurationError, "which is no name for a tool"),
        ([charge], ConfigurationError, "'charge', whose effects are 'effect', and says .* 'pure'"),
        ([find, find], ConfigurationError, "'find': one of 'shelf', one of 'shelf'"),
        ([spec("known")], ConfigurationError, "'known': one of 'functions', one of 'shelf'"),
    ],
)
def test_a_list_that_cannot_be_offered_is_not_kept(
    lists: Any, error: type[Exception], told: str, step: Any
) -> None:
    def known(text: str) -> str:
        return text

    box = toolbox(Shelf(lists, [spec("fly")]), functions=(known,), within_s=0.05)
    with pytest.raises(error, match=told) as caught:
        listed(box, step)
    assert "hunter2" not in str(caught.value)
    assert type(caught.value) is error
    assert listed(box, step.again()) == ["known", "fly"]


def test_tools_of_two_toolsets_clash(step: Any) -> None:
    box = toolbox(Shelf([find], name="crm"), Desk())
    with pytest.raises(ConfigurationError, match="'find': one of 'crm', one of 'desk'"):
        listed(box, step)


def test_halves_of_characters_in_a_list_are_mended(step: Any) -> None:
    text = "\N{GRINNING FACE}".encode("utf-16-le").decode("utf-16-le", "surrogatepass")
    box = toolbox(Shelf([spec("fly", description="\ud83d" + text, parameters={"a": "\ude00"})]))
    (found,) = asyncio.run(box.offered(step)).specs
    assert found.description == "\N{REPLACEMENT CHARACTER}" + text
    assert found.parameters == {"a": "\N{REPLACEMENT CHARACTER}"}


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (ValueError("gone, pass" + "word=hunter2"), "ValueError: gone"),
        (SystemExit(3), "RuntimeError"),
        (ConnectionError("gone"), "ConnectionError: gone"),
        (object(), "no JSON value"),
        (float("nan"), "no JSON value"),
    ],
)
def test_the_model_is_told_what_went_wrong(answer: Any, told: str, step: Any) -> None:
    result = use(toolbox(Shelf([spec("fly")], answer=answer)), "fly", {}, step)
    assert result.failed
    assert told in str(result.value)
    assert "hunter2" not in str(result.value)


def test_the_model_is_told_the_bare_text_of_a_tool_error(step: Any) -> None:
    result = use(toolbox(Desk()), "fail", {}, step)
    assert str(result.value).startswith("No such order, ")
    assert "hunter2" not in str(result.value)


@pytest.mark.parametrize("error", [RateLimitedError("later"), StepCancelledError("stop")])
def test_some_errors_end_the_attempt(error: Exception, step: Any) -> None:
    shelf = Shelf([spec("fly")], answer=error, effects="effect")
    with pytest.raises(type(error)):
        use(toolbox(shelf), "fly", {}, step)
    shelf.answer = "done"
    assert use(toolbox(shelf), "fly", {}, step.again()).value == "done"
    assert [key for _, _, key, _ in shelf.called] == ["step-1-2"] * 2  # the same in each attempt


def test_an_error_of_one_leaves_no_other_open() -> None:
    first, second = Shelf([], answer=OSError("x")), Shelf([], name="second")
    asyncio.run(toolbox(first, second).aclose())
    assert (first.closed, second.closed) == (1, 1)
