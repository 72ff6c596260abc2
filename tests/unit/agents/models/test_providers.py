"""The three providers over real HTTP against the fake model server, through the agent loop."""

from __future__ import annotations

import asyncio
import contextlib
import time
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from agents.base import Answer, Turn
from agents.kinds.model import ModelBackend
from agents.models.config import ModelConfig
from agents.models.provider import ModelRequest
from agents.models.providers import PROVIDERS
from agents.net.clients import SharedClients, http_client
from celery_agents.errors import (
    AgentsError,
    BadAnswerError,
    ConfigurationError,
    MissingKeyError,
    ProviderRefusedError,
    ProviderUnavailableError,
    RateLimitedError,
)
from tests.fakes.model_server import Does, ModelServer

KEY = "the-secret-0123456789"
BALLOT = Turn(input="Is water wet?", choices=("yes", "no"))
QUESTION = Turn(input="Say something.")

each_provider = pytest.mark.parametrize("provider", PROVIDERS)
each_way = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def weather(city: str, days: int = 1) -> dict[str, Any]:
    """The weather of a city."""
    if city == "Atlantis":
        raise LookupError("no such city; password=hunter2")
    return {"city": city, "sky": "clear", "days": days}


def configured(provider: str, server: ModelServer, **fields: Any) -> ModelConfig:
    url = f"{server.url}/v1" if provider == "openai" else server.url
    given = {"base_url": url, "api_key_env": "TEST_KEY", "request_timeout_s": 20} | fields
    return ModelConfig(provider=provider, model="fake-1", **given)


def ask(
    config: ModelConfig,
    turn: Turn,
    step: Any,
    *,
    secrets: dict[str, str] | None = None,
    around: Callable[[ModelBackend], Any] | None = None,
) -> Answer:
    """One answer on a loop of its own; ``around`` may do it in another way."""

    async def run() -> Answer:
        resolve = {"TEST_KEY": KEY}.get if secrets is None else secrets.get
        provider = PROVIDERS[config.provider](
            config, clients=SharedClients(), resolve_secret=resolve
        )
        backend = ModelBackend(config, provider)
        try:
            found: Any = await (around(backend) if around else backend.answer(turn, step))
            answer: Answer = found
            return answer
        finally:
            await backend.aclose()

    return asyncio.run(run())


def failure(config: ModelConfig, turn: Turn, step: Any) -> AgentsError:
    with pytest.raises(AgentsError) as caught:
        ask(config, turn, step)
    # What Celery stores is the error and its traceback: nothing secret, no SDK's error behind it.
    assert KEY not in f"{caught.value} {caught.value.details}"
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__cause__ is None
    return caught.value


@each_provider
@each_way
class TestAnswers:
    def test_text_with_usage(
        self, provider: str, stream: bool, server: ModelServer, step: Any
    ) -> None:
        server.script(Does(text="Grüße, 世界 — as asked."))
        answer = ask(configured(provider, server, stream=stream), QUESTION, step)
        assert answer.value == "Grüße, 世界 — as asked."
        usage = answer.usage
        assert (usage.calls, usage.input_tokens, usage.output_tokens) == (1, 100, 20)
        assert usage.cached_tokens == 40
        assert usage.cost_usd is None  # "fake-1" has no price
        assert step.calls == [f"model:{provider}/fake-1"]

    def test_ballot(self, provider: str, stream: bool, server: ModelServer, step: Any) -> None:
        ballot = {"option": "no", "confidence": 0.75, "reason": "It makes things wet."}
        server.script(Does(json=ballot))
        assert ask(configured(provider, server, stream=stream), BALLOT, step).value == ballot

    def test_the_request_asks_for_the_schema(
        self, provider: str, stream: bool, server: ModelServer, step: Any
    ) -> None:
        # Unscripted, the server answers by the schema that it finds in the request.
        value = ask(configured(provider, server, stream=stream), BALLOT, step).value
        assert isinstance(value, dict)
        assert value["option"] == "yes"

    def test_json_of_a_schema(
        self, provider: str, stream: bool, server: ModelServer, step: Any
    ) -> None:
        schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
        server.script(Does(json={"n": 7}))
        turn = Turn(input="How many?", answer_schema=schema)
        assert ask(configured(provider, server, stream=stream), turn, step).value == {"n": 7}

    def test_tool_then_answer(
        self, provider: str, stream: bool, server: ModelServer, step: Any
    ) -> None:
        server.script(
            Does(text="Let me look.", tool=("weather", {"city": "Oslo", "days": 2})),
            Does(text="It is clear in Oslo."),
        )
        config = configured(provider, server, stream=stream, tools=[f"{__name__}:weather"])
        answer = ask(config, QUESTION, step)
        assert answer.value == "It is clear in Oslo."
        assert answer.usage.calls == 2
        assert answer.usage.input_tokens == 200
        model = f"model:{provider}/fake-1"
        assert step.calls == [model, "tool:weather", model]
        first, second = (str(seen.body) for seen in server.requests)
        assert "'weather'" in first
        assert "The weather of a city." in first
        assert "clear" not in first
        assert "clear" in second  # the result went back
        assert "Let me look." in second  # and so did the reply that asked for it

    def test_a_failing_tool_is_told_to_the_model(
        self, provider: str, stream: bool, server: ModelServer, step: Any
    ) -> None:
        server.script(Does(tool=("weather", {"city": "Atlantis"})), Does(text="No idea."))
        config = configured(provider, server, stream=stream, tools=[f"{__name__}:weather"])
        assert ask(config, QUESTION, step).value == "No idea."
        told = str(server.requests[1].body)
        assert "no such city" in told
        assert "hunter2" not in told


@each_provider
@each_way
class TestFailures:
    @pytest.mark.parametrize(
        ("does", "error"),
        [
            (Does(status=400), ProviderRefusedError),
            (Does(status=401, text=f"bad key {KEY}"), ProviderRefusedError),
            (Does(status=403), ProviderRefusedError),
            (Does(status=404), ProviderRefusedError),
            (Does(status=307, headers={"Location": "/elsewhere"}), ProviderRefusedError),
            (Does(status=408), ProviderUnavailableError),
            (Does(status=500), ProviderUnavailableError),
            (Does(status=502, raw=b"<h1>Bad gateway</h1>"), ProviderUnavailableError),
            (Does(status=503), ProviderUnavailableError),
            (Does(status=529), ProviderUnavailableError),
            (Does(stop="refusal"), ProviderRefusedError),
            (Does(text=""), BadAnswerError),
            (Does(text="  \n"), BadAnswerError),
            (
                Does(raw=b"<html>hello</html>", headers={"Content-Type": "text/html"}),
                BadAnswerError,
            ),
            (Does(raw=b"{broken"), BadAnswerError),
            (Does(raw=b"{}"), BadAnswerError),
            (Does(raw=b"[]"), BadAnswerError),
            (Does(raw=b"null"), BadAnswerError),
            (Does(raw=b""), BadAnswerError),
        ],
        ids=lambda value: (
            f"{value.status}-{value.raw!r}-{value.text or value.stop}"
            if isinstance(value, Does)
            else ""
        ),
    )
    def test_mapping(
        self,
        *,
        provider: str,
        stream: bool,
        does: Does,
        error: type[AgentsError],
        server: ModelServer,
        step: Any,
    ) -> None:
        if does.raw is not None and does.status == 502:
            does = Does(status=502, text="bad gateway")
        server.script(does)
        raised = failure(configured(provider, server, stream=stream), QUESTION, step)
        assert type(raised) is error
        assert f"{provider}/fake-1" in raised.message
        assert len(server.requests) == 1  # nobody retried below us

    @pytest.mark.parametrize(
        ("headers", "wait"),
        [({"Retry-After": "7"}, 7.0), ({"retry-after-ms": "1500"}, 1.5), ({}, None)],
    )
    def test_rate_limit(
        self,
        *,
        provider: str,
        stream: bool,
        headers: dict[str, str],
        wait: float | None,
        server: ModelServer,
        step: Any,
    ) -> None:
        server.script(Does(status=429, text="slow down", headers=headers))
        raised = failure(configured(provider, server, stream=stream), QUESTION, step)
        assert isinstance(raised, RateLimitedError)
        assert raised.retry_after_s == wait
        assert "slow down" in raised.message
        assert len(server.requests) == 1

    @pytest.mark.parametrize(
        "text",
        [
            "no JSON at all",
            '{"option": "maybe", "confidence": 0.5, "reason": "x"}',
            '{"option": "yes", "confidence": 7, "reason": "x"}',
            '{"option": "yes", "confidence": NaN, "reason": "x"}',
            '{"option": "yes"}',
            '["yes"]',
            '{"option": "yes", "confi',
        ],
    )
    def test_malformed_ballot(
        self, provider: str, stream: bool, text: str, server: ModelServer, step: Any
    ) -> None:
        server.script(Does(text=text))
        raised = failure(configured(provider, server, stream=stream), BALLOT, step)
        assert isinstance(raised, BadAnswerError)
        assert raised.details["usage"]["input_tokens"] == 100  # it was paid for

    def test_hanging_server(
        self, provider: str, stream: bool, server: ModelServer, step: Any
    ) -> None:
        server.script(Does(text="ok"), Does(hang=True))

        async def hung(backend: ModelBackend) -> None:
            await asyncio.wait_for(_first(backend), 30)  # its client is made, however busy it is
            with pytest.raises(ProviderUnavailableError, match=r"0\.5 s"):
                await backend.answer(QUESTION, step)

        async def _first(backend: ModelBackend) -> None:
            while True:
                with contextlib.suppress(ProviderUnavailableError):
                    await backend.answer(QUESTION, step)
                    return
                server.script(Does(text="ok"), Does(hang=True))

        config = configured(provider, server, stream=stream, request_timeout_s=0.5)
        ask(config, QUESTION, step, around=hung)
        assert server.disconnected.wait(5)

    def test_cancelling_ends_the_request(
        self, provider: str, stream: bool, server: ModelServer, step: Any
    ) -> None:
        server.script(Does(hang=True))

        async def cancelled(backend: ModelBackend) -> bool:
            task = asyncio.create_task(backend.answer(QUESTION, step))
            await asyncio.to_thread(server.requested.wait, 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            # While the client is still open: the request itself was ended.
            return await asyncio.to_thread(server.disconnected.wait, 5)

        assert ask(configured(provider, server, stream=stream), QUESTION, step, around=cancelled)

    def test_nobody_listens(
        self, provider: str, stream: bool, server: ModelServer, step: Any
    ) -> None:
        config = configured(provider, server, stream=stream, base_url="http://127.0.0.1:9")
        assert isinstance(failure(config, QUESTION, step), ProviderUnavailableError)

    def test_missing_key_before_any_request(
        self, provider: str, stream: bool, server: ModelServer, step: Any
    ) -> None:
        with pytest.raises(MissingKeyError, match="TEST_KEY"):
            ask(configured(provider, server, stream=stream), QUESTION, step, secrets={})
        assert server.requests == []


@each_provider
class TestStreams:
    def test_broken_off(self, provider: str, server: ModelServer, step: Any) -> None:
        server.script(Does(text="and never the rest of it", cut=True))
        raised = failure(configured(provider, server, stream=True), QUESTION, step)
        assert isinstance(raised, ProviderUnavailableError)

    def test_progress(self, provider: str, server: ModelServer, step: Any) -> None:
        server.script(Does(text="one two three four five"))
        ask(configured(provider, server, stream=True), QUESTION, step)
        assert step.told
        assert "one" in step.told[0]["text"]


@each_provider
class TestRequests:
    def test_what_is_sent(self, provider: str, server: ModelServer, step: Any) -> None:
        server.script(Does(text="ok"))
        warmth = {} if provider == "anthropic" else {"temperature": 0.5}
        config = configured(
            provider, server, instructions="Be brief.", max_output_tokens=77, **warmth
        )
        turn = Turn(input={"a": [1, "ü"]}, instructions="Answer in French.")
        ask(config, turn, step)
        (seen,) = server.requests
        body = str(seen.body)
        assert seen.headers["idempotency-key"] == "step-1-1"
        assert KEY in str(seen.headers)
        assert KEY not in body + seen.path
        for part in ("Be brief.", "Answer in French.", '{"a": [1, "ü"]}', "77"):
            assert part in body
        assert ("0.5" in body) == bool(warmth)

    def test_no_key_goes_to_another_host_unasked(
        self, provider: str, server: ModelServer, step: Any
    ) -> None:
        server.script(Does(text="ok"))
        secrets = dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"), KEY)
        config = configured(provider, server, api_key_env=None)
        assert ask(config, QUESTION, step, secrets=secrets).value == "ok"
        assert KEY not in str(server.requests)

    def test_the_usual_key_is_asked_for_by_name(self, provider: str, step: Any) -> None:
        config = ModelConfig(provider=provider, model="fake-1")
        with pytest.raises(MissingKeyError, match=r"[A-Z]+_API_KEY is not set"):
            ask(config, QUESTION, step, secrets={})

    def test_schema_in_words(self, provider: str, server: ModelServer, step: Any) -> None:
        text = '```json\n{"option": " YES", "confidence": 1, "reason": "r"}\n```'
        server.script(Does(text=text))
        value = ask(configured(provider, server, structured="prompt"), BALLOT, step).value
        assert value == {"option": "yes", "confidence": 1, "reason": "r"}
        assert "JSON Schema" in str(server.requests[0].body)

    def test_agents_of_one_endpoint_share_a_client(
        self, provider: str, server: ModelServer, step: Any
    ) -> None:
        server.script(Does(text="ok"))
        config = configured(provider, server)
        made: list[Any] = []

        class Clients(SharedClients):
            def get(self, key: Any, make: Callable[[], Any]) -> Any:
                def counted() -> Any:
                    made.append(key)
                    return make()

                return super().get(key, counted)

        async def run() -> None:
            clients = Clients()
            providers = [
                PROVIDERS[config.provider](config, clients=clients, resolve_secret=lambda _: KEY)
                for _ in range(3)
            ]
            backends = [ModelBackend(config, each) for each in providers]
            await asyncio.gather(*(b.answer(QUESTION, type(step)()) for b in backends * 3))
            for backend in backends:
                await backend.aclose()

        asyncio.run(run())
        assert len(server.requests) == 9
        assert len(made) == 1

    def test_closing_closes_the_sockets(
        self, provider: str, server: ModelServer, step: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server.script(Does(text="ok"))
        made: list[Any] = []

        def remembered(httpx2: Any) -> Any:
            made.append(http_client(httpx2))
            return made[-1]

        monkeypatch.setattr("agents.net.clients.http_client", remembered)
        ask(configured(provider, server), QUESTION, step)
        (client,) = made
        assert client.is_closed

    def test_the_usual_endpoint(self, provider: str) -> None:
        """Without ``base_url`` a client is made for the provider's own host, over TLS."""

        async def scene() -> str:
            clients = SharedClients()
            config = ModelConfig(provider=provider, model="m")
            made = PROVIDERS[config.provider](config, clients=clients, resolve_secret=lambda _: KEY)
            sdk = await clients.load(made.module, extra=provider)
            client = made._make_client(sdk, await clients.load("httpx2", extra="http"), KEY)
            asked = made._prepare(ModelRequest(model="m", system=None, user="?"))
            await made._close(client)
            return str(asked["url"] if provider == "google" else client.base_url)

        assert asyncio.run(scene()).startswith("https://")

    def test_sdk_not_installed(
        self, provider: str, server: ModelServer, step: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def missing(name: str) -> Any:
            raise ImportError(f"No module named {name!r}")

        monkeypatch.setattr("agents.net.clients.importlib.import_module", missing)
        with pytest.raises(ConfigurationError, match=rf"celery-agents\[{provider}\]"):
            ask(configured(provider, server), QUESTION, step)


def test_many_waiting_calls_share_the_loop(server: ModelServer, step: Any) -> None:
    """Fifty answers at once take nothing like fifty times one (generous on a busy machine)."""
    server.script(Does(text="ok"))

    async def many(backend: ModelBackend) -> Any:
        turns = (backend.answer(QUESTION, type(step)()) for _ in range(50))
        return await asyncio.gather(*turns)

    start = time.monotonic()
    answers: Any = ask(configured("openai", server), QUESTION, step, around=many)
    assert [answer.value for answer in answers] == ["ok"] * 50
    assert time.monotonic() - start < 20


@each_provider
@each_way
def test_server_that_tells_no_usage(
    provider: str, stream: bool, server: ModelServer, step: Any
) -> None:
    server.script(Does(text="free?", usage=False))
    priced = {"input_usd": 1, "output_usd": 1}
    usage = ask(configured(provider, server, stream=stream, price=priced), QUESTION, step).usage
    assert usage.calls == 1
    assert usage.cost_usd is None  # not known is not free


def test_google_retry_info_in_the_body(server: ModelServer, step: Any) -> None:
    info = b'{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "23.5s"}'
    body = b'{"error": {"code": 429, "message": "quota", "details": [%s]}}' % info
    server.script(Does(status=429, raw=body))
    raised = failure(configured("google", server), QUESTION, step)
    assert isinstance(raised, RateLimitedError)
    assert raised.retry_after_s == 23.5


def test_google_signature_goes_back(server: ModelServer, step: Any) -> None:
    server.script(Does(tool=("weather", {"city": "Oslo"})), Does(text="done"))
    config = configured("google", server, tools=[f"{__name__}:weather"])
    ask(config, QUESTION, step)
    parts = server.requests[1].body["contents"][1]["parts"]
    assert parts[0]["thoughtSignature"] == "c2lnbmF0dXJl"


def test_google_asks_in_words_beside_tools(server: ModelServer, step: Any) -> None:
    server.script(Does(json={"option": "yes", "confidence": 1, "reason": "r"}))
    ask(configured("google", server, tools=[f"{__name__}:weather"]), BALLOT, step)
    body = server.requests[0].body
    assert "responseJsonSchema" not in body["generationConfig"]
    assert "JSON Schema" in str(body["systemInstruction"])


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("overloaded_error", ProviderUnavailableError),
        ("rate_limit_error", RateLimitedError),
        ("invalid_request_error", ProviderRefusedError),
    ],
)
def test_anthropic_error_within_a_stream(
    kind: str, error: type[AgentsError], server: ModelServer, step: Any
) -> None:
    body = f'event: error\ndata: {{"type": "error", "error": {{"type": "{kind}"}}}}\n\n'
    server.script(Does(raw=body.encode(), headers={"Content-Type": "text/event-stream"}))
    assert type(failure(configured("anthropic", server, stream=True), QUESTION, step)) is error


@pytest.mark.parametrize(
    ("code", "error"),
    [("rate_limit_exceeded", RateLimitedError), ("server_error", ProviderUnavailableError)],
)
def test_openai_error_within_a_stream(
    code: str, error: type[AgentsError], server: ModelServer, step: Any
) -> None:
    body = f'data: {{"error": {{"message": "m", "code": "{code}"}}}}\n\n'
    server.script(Does(raw=body.encode(), headers={"Content-Type": "text/event-stream"}))
    assert type(failure(configured("openai", server, stream=True), QUESTION, step)) is error


def test_broken_tool_arguments_are_told_to_the_model(server: ModelServer, step: Any) -> None:
    message = (
        b'{"choices": [{"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant",'
        b'"tool_calls": [{"id": "c", "type": "function",'
        b'"function": {"name": "weather", "arguments": "{broken"}}]}}]}'
    )
    server.script(Does(raw=message), Does(text="ok"))
    config = configured("openai", server, tools=[f"{__name__}:weather"])
    assert ask(config, QUESTION, step).value == "ok"
    assert "must be a JSON object" in str(server.requests[1].body)
