"""SDK clients inside a step, over the fake model server: what is answered is asked once."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from agents.current import CURRENT, stand_in
from agents.frameworks.clients import durable_client
from agents.invoke import invoke
from agents.net.sdks import sdk_failure
from celery_agents.contracts.outcome import Answer
from celery_agents.errors import (
    AnswerTooLargeError,
    BudgetExceededError,
    ConfigurationError,
    ProviderUnavailableError,
    RateLimitedError,
)
from tests.fakes.model_server import Does, ModelServer
from tests.support.memory_step import MemoryStep

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of Python's own, at its import
    from google import genai

HELLO: Any = [{"role": "user", "content": "hello"}]
PRICE = {"input_usd": 1.0, "output_usd": 2.0}
Ask = Callable[[], Awaitable[str]]


@pytest.fixture(params=["openai", "anthropic", "google"])
def sdk(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@asynccontextmanager
async def asking(sdk: str, url: str, *, stream: bool = False) -> AsyncIterator[Ask]:
    """A question to the model by a durable client of an SDK."""
    if sdk == "openai":
        ai = durable_client(AsyncOpenAI(base_url=f"{url}/v1", api_key="sk-x"), price=PRICE)
        async with ai:
            yield lambda: openai_says(ai, stream=stream)
    elif sdk == "anthropic":
        async with durable_client(AsyncAnthropic(base_url=url, api_key="x"), price=PRICE) as claude:
            yield lambda: anthropic_says(claude, stream=stream)
    else:
        options: Any = {"base_url": url}
        gemini = durable_client(genai.Client(api_key="x", http_options=options), price=PRICE)
        async with gemini.aio as client:
            yield lambda: google_says(client, stream=stream)


async def openai_says(ai: AsyncOpenAI, *, stream: bool) -> str:
    asked = ai.chat.completions.create
    if not stream:
        said = await asked(model="m", messages=HELLO)
        return said.choices[0].message.content or ""
    text = ""
    async for piece in await asked(
        model="m", messages=HELLO, stream=True, stream_options={"include_usage": True}
    ):
        text += "".join(choice.delta.content or "" for choice in piece.choices)
    return text


async def anthropic_says(ai: AsyncAnthropic, *, stream: bool) -> str:
    about: Any = {"model": "m", "max_tokens": 100, "messages": HELLO}
    if not stream:
        said: Any = await ai.messages.create(**about)
        return str(said.content[0].text)
    async with ai.messages.stream(**about) as pieces:
        return "".join([text async for text in pieces.text_stream])


async def google_says(client: Any, *, stream: bool) -> str:
    about: Any = {"model": "gemini-x", "contents": "hello"}
    if not stream:
        return str((await client.models.generate_content(**about)).text)
    found = await client.models.generate_content_stream(**about)
    return "".join([piece.text or "" async for piece in found])


def within(step: MemoryStep, code: Callable[[], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        stand_in(step)
        return await code()

    return asyncio.run(run())


@pytest.mark.parametrize("stream", [False, True])
def test_what_was_answered_is_not_asked_again(
    server: ModelServer, step: MemoryStep, sdk: str, *, stream: bool
) -> None:
    server.script(Does(text="one of it"), Does(text="another"))

    async def twice() -> list[str]:
        async with asking(sdk, server.url, stream=stream) as ask:
            return [await ask(), await ask()]

    assert within(step, twice) == ["one of it", "another"]  # the same twice is two questions
    assert within(step.again(), twice) == ["one of it", "another"]
    assert len(server.requests) == 2
    asked = server.requests[0]
    assert asked.headers["idempotency-key"] == "step-1-1"  # of the call, not a new one each time
    usage = [answer.usage for answer in step.finished.values()]
    assert [(u.calls, u.input_tokens, u.output_tokens) for u in usage] == [(1, 100, 20)] * 2
    assert usage[0].cost_usd == pytest.approx((100 + 2 * 20) / 1e6)


@pytest.mark.parametrize("stream", [False, True])
def test_outside_of_steps_all_is_as_always(server: ModelServer, sdk: str, *, stream: bool) -> None:
    async def once() -> str:
        assert CURRENT.get() is None
        async with asking(sdk, server.url, stream=stream) as ask:
            return await ask()

    server.script(Does(text="yes"))
    assert [asyncio.run(once()), asyncio.run(once())] == ["yes", "yes"]
    assert len(server.requests) == 2


@pytest.mark.parametrize("stream", [False, True])
def test_refusals_are_the_sdks_and_asked_anew(
    server: ModelServer, step: MemoryStep, *, stream: bool
) -> None:
    slow_down = {"Retry-After": "7"}
    server.script(Does(status=429, headers=slow_down, text="slow down"), Does(text="now"))

    async def once() -> str:
        async with asking("openai", server.url, stream=stream) as ask:
            return await ask()

    with pytest.raises(openai.RateLimitError) as told:
        within(step, once)
    assert len(server.requests) == 1  # it is the step that tries again
    ours = sdk_failure("agent", told.value)
    assert isinstance(ours, RateLimitedError)
    assert ours.details["retry_after_s"] == 7
    assert within(step.again(), once) == "now"


def test_of_nobody_there(step: MemoryStep) -> None:
    async def once() -> None:
        async with asking("openai", "http://127.0.0.1:9") as ask:
            await ask()

    with pytest.raises(openai.APIConnectionError) as told:
        within(step, once)
    assert isinstance(sdk_failure("agent", told.value), ProviderUnavailableError)
    assert not step.finished


def test_a_streams_pieces_come_as_they_arrive(server: ModelServer, step: MemoryStep) -> None:
    server.script(Does(text="a few words", pieces=3, pause_s=0.05))
    seen: list[bool] = []

    async def watch() -> None:
        ai = durable_client(AsyncOpenAI(base_url=f"{server.url}/v1", api_key="x"))
        said = await ai.chat.completions.create(model="m", messages=HELLO, stream=True)
        seen.extend([bool(step.finished) async for _ in said])

    within(step, watch)
    assert not seen[0]
    assert len(step.finished) == 1  # with its last piece
    seen.clear()
    within(step.again(), watch)
    assert len(server.requests) == 1
    assert all(seen)


def test_a_stream_that_is_left_or_breaks_off_is_no_answer(
    server: ModelServer, step: MemoryStep
) -> None:
    async def leave() -> None:
        ai = durable_client(AsyncOpenAI(base_url=f"{server.url}/v1", api_key="x"))
        about: Any = {"model": "m", "messages": HELLO, "stream": True}
        async with await ai.chat.completions.create(**about) as pieces:
            async for _ in pieces:
                break

    server.script(Does(text="a few words", pieces=3, pause_s=0.1))
    within(step, leave)
    assert not step.finished
    server.script(Does(text="a few words", cut=True))
    with pytest.raises(openai.APIConnectionError) as told:
        within(step.again(), lambda: watched(server.url))
    assert isinstance(sdk_failure("agent", told.value), ProviderUnavailableError)
    assert not step.finished


async def watched(url: str) -> str:
    async with asking("openai", url, stream=True) as ask:
        return await ask()


def test_errors_of_the_step_come_through(server: ModelServer, step: MemoryStep, sdk: str) -> None:
    async def refuse(*_: Any, **__: Any) -> Answer:
        raise BudgetExceededError("spent")

    step.call = refuse  # type: ignore[method-assign]

    async def once() -> None:
        async with asking(sdk, server.url) as ask:
            await ask()

    with pytest.raises((BudgetExceededError, anthropic.APIConnectionError)) as told:
        within(step, once)
    assert isinstance(
        sdk_failure("agent", told.value), BudgetExceededError
    )  # also where it is wrapped
    assert not server.requests


def test_what_is_too_large_at_a_streams_end_is_told(server: ModelServer, step: MemoryStep) -> None:
    made = step.call

    async def call(*args: Any, **options: Any) -> Answer:
        await made(*args, **options)
        raise AnswerTooLargeError("too large")

    step.call = call  # type: ignore[method-assign]

    async def once() -> None:
        async with asking("openai", server.url, stream=True) as ask:
            await ask()

    with pytest.raises(AnswerTooLargeError):
        within(step, once)


def test_functions_in_threads_with_loops_of_their_own(
    server: ModelServer, step: MemoryStep
) -> None:
    server.script(Does(text="from a thread"))

    async def once() -> str:
        async with asking("anthropic", server.url, stream=True) as ask:
            return await ask()

    def function(_: Any) -> str:
        return asyncio.run(once())

    assert within(step, lambda: invoke(function, None)) == "from a thread"
    assert within(step.again(), lambda: invoke(function, None)) == "from a thread"
    assert len(server.requests) == 1


def test_http_clients_for_all_others(server: ModelServer, step: MemoryStep) -> None:
    server.script(Does(raw=b'{"id": 7}'))

    async def post() -> list[Any]:
        async with durable_client(httpx2.AsyncClient(base_url=server.url)) as http:
            one = await http.post("/orders", json={"of": 1})
            other = await http.post(
                "/orders", content=b"{}", headers={"content-type": "text/plain"}
            )
            return [one.json(), other.status_code]

    assert within(step, post) == within(step.again(), post) == [{"id": 7}, 200]
    assert [seen.path for seen in server.requests] == ["/orders"] * 3  # twice what is no JSON
    assert step.calls == [f"post:{server.url}/orders"]


def test_what_cannot_be_made_durable() -> None:
    for client in (openai.OpenAI(api_key="x"), object(), None):
        with pytest.raises(ConfigurationError, match="asynchronous client"):
            durable_client(client)
