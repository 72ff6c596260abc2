from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from agents.tools import calls
from agents.tools.base import CallContext, Tool, tool, worst
from agents.tools.calls import ToolError, ToolFailedError
from celery_agents.errors import (
    ConfigurationError,
    ProviderRefusedError,
    RateLimitedError,
    StepCancelledError,
)
from celery_agents.noted import Notes


class Place(BaseModel):
    city: str
    country: str = "NO"


@tool(effects="pure")
def distance(
    origin: Place,
    to: Place,
    unit: Literal["km", "mi"] = "km",
    *,
    legs: Annotated[int, Field(ge=1)] = 1,
) -> dict[str, Any]:
    """The distance between two places.

    By road.
    """
    return {"between": [origin.city, to.city], "unit": unit, "legs": legs}


def plain(text: str) -> str:
    return text.upper()


async def waits(text: str) -> str:
    await asyncio.sleep(0)
    return text


def call(target: Tool, arguments: Any, **options: Any) -> Any:
    return asyncio.run(target.call(arguments, **options))


@tool
def bare(text: str) -> str:
    """Says it again."""
    return text


@tool
async def bare_async(text: str) -> str:
    return text


@tool()
def with_nothing(text: str) -> str:
    return text


@pytest.mark.parametrize("made", [bare, bare_async, with_nothing, tool(plain)])
def test_it_decorates_with_or_without_options(made: Any) -> None:
    assert isinstance(made, Tool)
    assert made.effects == "effect"  # nothing is declared, so it may do anything
    assert call(made, {"text": "x"}) in {"x", "X"}


@pytest.mark.parametrize(
    ("effects", "found"),
    [
        ([], "pure"),
        (["pure", "pure"], "pure"),
        (["idempotent", "pure"], "idempotent"),
        (["pure", "effect", "idempotent"], "effect"),
    ],
)
def test_the_worst_of_effects(effects: list[Any], found: str) -> None:
    assert worst(effects) == found


def test_schema_and_description() -> None:
    assert distance.name == "distance"
    assert distance.effects == "pure"
    assert distance.description == "The distance between two places.\n\nBy road."
    schema: Any = distance.parameters
    assert schema["required"] == ["origin", "to"]
    assert schema["properties"]["unit"]["enum"] == ["km", "mi"]
    assert schema["properties"]["legs"]["minimum"] == 1
    assert "Place" in schema["$defs"]


def test_arguments_are_validated_and_converted() -> None:
    told = call(distance, {"origin": {"city": "Oslo"}, "to": {"city": "Rome"}, "legs": "2"})
    assert told == {"between": ["Oslo", "Rome"], "unit": "km", "legs": 2}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({}, "origin: Missing required argument"),
        ({"origin": {}, "to": {"city": "x"}}, "origin.city: Field required"),
        ({"origin": {"city": "x"}, "to": {"city": "y"}, "unit": "ly"}, "unit: Input should be"),
        ({"origin": {"city": "x"}, "to": {"city": "y"}, "legs": 0}, "legs: "),
        ({"origin": {"city": "x"}, "to": {"city": "y"}, "by": 1}, "by: Unexpected keyword"),
        ([1], "must be a JSON object"),
        ("{", "must be a JSON object"),
        (None, "must be a JSON object"),
    ],
)
def test_wrong_arguments(arguments: Any, complaint: str) -> None:
    with pytest.raises(ToolError, match=complaint):
        call(distance, arguments)


def test_a_tool_is_still_its_function() -> None:
    assert distance(Place(city="a"), Place(city="b"))["legs"] == 1
    assert Tool(plain)("x") == "X"


def test_undeclared_effects_are_the_cautious_kind() -> None:
    assert Tool(plain).effects == "effect"


def test_sync_in_the_executor_and_async_on_the_loop() -> None:
    def where() -> str:
        return threading.current_thread().name

    with ThreadPoolExecutor(1, thread_name_prefix="tools") as executor:
        assert call(Tool(where), {}, executor=executor).startswith("tools")
    assert call(Tool(waits), {"text": "x"}) == "x"


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (ToolError("token=abcdef"), ToolError),
        (ValueError("token=abcdef"), ToolFailedError),
        (ProviderRefusedError("no"), ToolFailedError),
        (SystemExit(1), ToolFailedError),
        (RateLimitedError("later"), RateLimitedError),
        (StepCancelledError("stop"), StepCancelledError),
    ],
)
def test_errors(
    raised: BaseException,
    expected: type[Exception],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calls, "note", Notes().note)

    def fails() -> None:
        raise raised

    with pytest.raises(expected) as caught:
        call(Tool(fails), {})
    assert type(caught.value) is expected
    assert "abcdef" not in str(caught.value)
    bugs = [one for one in caplog.records if "in fails" in one.getMessage()]
    assert len(bugs) == isinstance(raised, ValueError | SystemExit)  # what tools may raise is none
    assert "abcdef" not in caplog.text


def test_a_result_without_json_form() -> None:
    def odd() -> object:
        return object()

    with pytest.raises(ToolError, match="no JSON value"):
        call(Tool(odd), {})


def positional(a: int, /) -> int:
    return a


def many(*numbers: int) -> int:
    return sum(numbers)


def options(**given: int) -> int:
    return len(given)


def unclear(a: threading.Lock) -> None:
    """Locks have no JSON schema."""


@pytest.mark.parametrize(
    "function", [positional, many, options, unclear, lambda: 1, functools.partial(plain), 7]
)
def test_functions_that_cannot_be_tools(function: Any) -> None:
    with pytest.raises(ConfigurationError):
        Tool(function)


@pytest.mark.parametrize("name", ["", "two words", "ü", "x" * 65])
def test_names_that_providers_refuse(name: str) -> None:
    with pytest.raises(ConfigurationError):
        tool(name=name or "?")(plain)


def test_the_context_of_a_call_may_stand_before_what_the_model_gives(step: Any) -> None:
    @tool
    async def say(first: str, call: CallContext, second: str = "b") -> str:
        return f"{first}{second} under {call.key}"

    assert call(say, {"first": "a"}, context=CallContext("k", step)) == "ab under k"
    assert "call" not in str(say.parameters)
    with pytest.raises(ToolError, match="call: Unexpected"):
        call(say, {"first": "a", "call": {"key": "mine"}}, context=CallContext("k", step))


class TestOnTheLoop:
    def test_runs_on_its_thread_with_context_variables_of_its_own(self) -> None:
        seen = contextvars.ContextVar("seen", default="before")

        @tool(run_in_thread=False)
        def looks() -> list[Any]:
            found = [threading.get_ident(), seen.get()]
            seen.set("after")
            return found

        async def main() -> tuple[Any, str]:
            seen.set("within")
            return await looks.call({}), seen.get()

        told, after = asyncio.run(main())
        assert told == [threading.get_ident(), "within"]
        assert after == "within"

    def test_others_run_in_a_thread(self) -> None:
        @tool
        def where() -> int:
            return threading.get_ident()

        assert call(where, {}) != threading.get_ident()

    def test_an_async_one_is_awaited_as_ever(self) -> None:
        assert call(tool(run_in_thread=False)(waits), {"text": "a"}) == "a"

    @pytest.mark.parametrize("error", [SystemExit(3), StopIteration("x"), KeyError("x")])
    def test_an_error_ends_no_loop(self, error: BaseException) -> None:
        @tool(run_in_thread=False)
        def fails() -> None:
            raise error

        with pytest.raises(ToolFailedError, match=type(error).__name__):
            call(fails, {})

    def test_nothing_could_end_it_after_its_time(self) -> None:
        with pytest.raises(ConfigurationError, match="run_in_thread=False"):
            tool(timeout_s=3, run_in_thread=False)(plain)
        assert tool(timeout_s=3, run_in_thread=False)(waits).policy.timeout_s == 3

    def test_it_may_be_said_by_the_arguments_of_a_call(self) -> None:
        def where(text: str) -> int:
            return threading.get_ident()

        long = Tool(where, name="where", run_in_thread=lambda given: len(given["text"]) > 3)
        here = threading.get_ident()
        first = call(long, {"text": "a"})  # it may import something
        assert [first == here, call(long, {"text": "a"}) == here] == [False, True]
        assert call(long, {"text": "abcd"}) != here

    def test_a_parameter_may_have_any_name(self) -> None:
        @tool
        def made(executor: str, function: str, inline: str) -> str:
            return executor + function + inline

        given = {"executor": "a", "function": "b", "inline": "c"}
        assert call(made, given) == "abc"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (10, "numbers.9: "),
        (11, "; and 1 more"),
        (500, "; and 490 more"),
        (501, "They do not fit the schema in 501 places."),
        (200_000, "They do not fit the schema in 200,000 places."),
    ],
)
def test_of_many_mistakes_the_first_are_told(wrong: int, told: str) -> None:
    @tool
    def adds(numbers: list[int]) -> int:
        return sum(numbers)

    with pytest.raises(ToolError) as raised:
        call(adds, {"numbers": ["a"] * wrong})
    text = str(raised.value)
    assert text.startswith("Wrong arguments. ")
    assert told in text
    assert text.count("numbers.") <= 10
    assert len(text) < 2_000


def test_a_mistake_is_told_without_all_of_a_long_name() -> None:
    with pytest.raises(ToolError) as raised:
        call(bare, {"text": "a", "b" * 100_000: 1})
    assert len(str(raised.value)) < 500
