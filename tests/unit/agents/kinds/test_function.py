"""Python functions as agents."""

from __future__ import annotations

import asyncio
import contextvars
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel

from agents.base import Answer, Turn
from agents.kinds.function import FunctionBackend
from celery_agents.agent import Effects
from celery_agents.contracts.conversation import ChatMessage
from celery_agents.contracts.outcome import Usage
from celery_agents.errors import (
    AgentFailedError,
    AgentsError,
    BadAnswerError,
    ConfigurationError,
    ProviderRefusedError,
    ProviderUnavailableError,
)

TURN = Turn(input="in", instructions="be nice", choices=("a", "b"))
colour = contextvars.ContextVar("colour", default="none")


class Shape(BaseModel):
    name: str
    made: datetime


@dataclass
class Point:
    x: int
    y: tuple[int, ...]


def run(function: Any, step: Any, turn: Turn = TURN, **options: Any) -> Answer:
    return asyncio.run(FunctionBackend(function, **options).answer(turn, step))


@pytest.mark.parametrize("effects", ["idempotent", "effect"])
def test_what_it_does_not_say_it_cost_is_what_its_calls_did(step: Any, effects: Effects) -> None:
    paid, said = Usage(calls=1, cost_usd=0.5), Usage(calls=1, cost_usd=0.25)

    async def asks(*, says: bool) -> Any:
        await step.call("model", lambda _: _answer(paid))
        return Answer(value=1, usage=said) if says else 1

    async def bare(_: Any) -> Any:
        return await asks(says=False)

    async def counts(_: Any) -> Any:
        return await asks(says=True)

    assert run(bare, step, effects=effects).usage == paid
    assert run(bare, step.again(), effects=effects).usage.calls <= 1
    assert run(counts, step.again(), effects=effects).usage == said


async def _answer(usage: Usage) -> Answer:
    return Answer(value="x", usage=usage)


def test_input_comes_first_and_extras_by_name(step: Any) -> None:
    def plain(text: str) -> Any:
        return text

    def wants(text: str, *, choices: Any, instructions: Any, step: Any, schema: Any) -> Any:
        return [text, choices, instructions, step.step_id, schema]

    async def asynchronous(text: str, step: Any, other: int = 3) -> Any:
        await step.progress(done=True)
        return [text, step.attempt, other]

    class Judge:
        async def __call__(self, text: str) -> Any:
            return f"judged {text}"

    assert run(plain, step).value == "in"
    assert run(wants, step.again()).value == ["in", ["a", "b"], "be nice", "step-1", None]
    assert run(asynchronous, step.again()).value == ["in", 3, 3]
    assert step.told == [{"done": True}]
    assert run(Judge(), step.again()).value == "judged in"
    assert run(str.upper, step.again()).value == "IN"


@pytest.mark.parametrize(
    ("result", "value"),
    [
        (None, None),
        ({"a": [1, 2.5, True]}, {"a": [1, 2.5, True]}),
        ((1, 2), [1, 2]),
        (Point(1, (2, 3)), {"x": 1, "y": [2, 3]}),
        (
            Shape(name="o", made=datetime(2025, 1, 2, tzinfo=UTC)),
            {"name": "o", "made": "2025-01-02T00:00:00Z"},
        ),
        (Decimal("1.50"), "1.50"),
    ],
)
def test_results(result: Any, value: Any, step: Any) -> None:
    assert run(lambda _: result, step).value == value


def test_an_answer_keeps_its_usage(step: Any) -> None:
    told = Answer(value=1, usage=Usage(calls=4, cost_usd=0.25))
    assert run(lambda _: told, step) == told


@pytest.mark.parametrize("result", [object(), float("nan"), {"x": float("inf")}, threading.Lock()])
def test_results_without_json_form(result: Any, step: Any) -> None:
    with pytest.raises(AgentFailedError, match="no JSON form"):
        run(lambda _: result, step)


@pytest.mark.parametrize(
    ("raised", "error"),
    [
        (ValueError("boom"), AgentFailedError),
        (KeyError("k"), AgentFailedError),
        (StopIteration(), AgentFailedError),
        (SystemExit(3), AgentFailedError),
        (FileNotFoundError("f"), AgentFailedError),
        (PermissionError("f"), AgentFailedError),
        (ConnectionResetError("r"), ProviderUnavailableError),
        (TimeoutError("t"), ProviderUnavailableError),
        (socket.gaierror("g"), ProviderUnavailableError),
        (OSError("o"), ProviderUnavailableError),
        (BadAnswerError("b"), BadAnswerError),
        (ProviderRefusedError("r"), ProviderRefusedError),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_errors(raised: BaseException, error: type[AgentsError], kind: str, step: Any) -> None:
    def fails(_: Any) -> Any:
        raise raised

    async def fails_async(_: Any) -> Any:
        raise raised

    async def bounded() -> None:
        function = fails if kind == "sync" else fails_async
        await asyncio.wait_for(FunctionBackend(function).answer(TURN, step), 20)

    with pytest.raises(AgentsError) as caught:
        asyncio.run(bounded())
    assert type(caught.value) is error


def test_errors_say_where_and_hide_secrets(step: Any) -> None:
    def connects(_: Any) -> Any:
        raise ValueError("cannot use postgres://me:hunter2@db/x")

    with pytest.raises(AgentFailedError) as caught:
        run(connects, step)
    assert "connects raised ValueError" in caught.value.message
    assert "hunter2" not in caught.value.message
    assert caught.value.details["where"].startswith("test_function.py:")
    assert caught.value.__suppress_context__


def test_sync_functions_run_in_the_executor_with_the_context(step: Any) -> None:
    def where(_: Any) -> Any:
        return [threading.current_thread().name, colour.get()]

    async def scene() -> Any:
        colour.set("green")
        with ThreadPoolExecutor(1, thread_name_prefix="mine") as executor:
            backend = FunctionBackend(where, executor=executor)
            return (await backend.answer(TURN, step)).value

    name, seen = asyncio.run(scene())
    assert name.startswith("mine")
    assert seen == "green"


def test_the_loop_goes_on_while_a_sync_function_waits(step: Any) -> None:
    release = threading.Event()

    async def scene() -> Any:
        task = asyncio.create_task(FunctionBackend(lambda _: release.wait(20)).answer(TURN, step))
        await asyncio.sleep(0.01)
        release.set()
        return (await task).value

    assert asyncio.run(scene()) is True


def test_a_conversation_by_its_name(step: Any) -> None:
    def wants(text: str, messages: list[Any]) -> Any:
        return [text, *messages]

    said = ChatMessage(role="user", content="Hello")
    found = run(wants, step, Turn(input="x", messages=(said,))).value
    assert found == ["x", {"role": "user", "content": "Hello"}]
    assert run(wants, step, Turn(input="x")).value == ["x"]


def test_one_with_an_effect_is_a_call_of_its_step(step: Any) -> None:
    count = iter(range(10))

    def counts(_: Any) -> int:
        return next(count)

    first = run(counts, step, effects="effect")
    assert run(counts, step.again(), effects="effect") == first
    assert step.calls == ["function"]


@pytest.mark.parametrize("effects", ["pure", "idempotent"])
def test_of_others_the_step_says_as_much(step: Any, effects: Effects) -> None:
    """By its claim, and by its end: a row of the call's own would say the same once more."""
    assert run(lambda _: 7, step, effects=effects).value == 7
    assert step.calls == []


def test_cancelling_an_async_function(step: Any) -> None:
    cancelled = []
    begun = asyncio.Event()

    async def slow(_: Any) -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def scene() -> None:
        task = asyncio.create_task(FunctionBackend(slow).answer(TURN, step))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scene())
    assert cancelled


@pytest.mark.parametrize("function", [lambda: 1, lambda a, b: (a, b), lambda *, step: step])
def test_functions_that_cannot_be_agents(function: Any) -> None:
    with pytest.raises(ConfigurationError, match="cannot be an agent"):
        FunctionBackend(function)


def test_step_as_first_parameter_is_the_input(step: Any) -> None:
    assert run(lambda step: step, step).value == "in"


def test_deep_results_fail_clearly(step: Any) -> None:
    deep: Any = []
    for _ in range(sys.getrecursionlimit() * 2):
        deep = [deep]
    with pytest.raises(AgentFailedError, match="no JSON form"):
        run(lambda _: deep, step)
