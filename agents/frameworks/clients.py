"""SDK clients whose requests are journaled calls of the step that sends them."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any, Self, TypeVar

from agents.current import CURRENT
from agents.frameworks.exchange import JournaledRequest, LivePieces, SdkAnswer
from agents.frameworks.requests import PricedModel, SdkRequest
from agents.models.config import Price
from celery_agents.errors import ConfigurationError

C = TypeVar("C")
#: The two packages with HTTP clients of this form that SDKs have.
_PACKAGES = ("httpx2", "httpx")
#: Where the price of a model is said.
_PRICED_BY = "durable_client(…, price={})"
#: Models whose lessons and prices one client keeps.
_MODELS_MAX = 100


def durable_client(client: C, *, price: Mapping[str, float] | None = None) -> C:
    """A client whose requests are journaled calls of the step in whose code they are sent.

    A request that an earlier attempt at the step has got an answer to is not sent again: the SDK
    reads that answer. It is known by what it asks, and by the how-manieth time. What it cost counts
    for the step, its budgets and its limits. Outside of steps requests go out as always.

    It does not try again by itself: a failed request fails the attempt, unless the code catches
    that, and the step is tried again. Requests that have no JSON body (uploads, and what only
    reads) go out as always.

    Args:
        client: an ``AsyncOpenAI``, an ``AsyncAnthropic``, or another of an SDK that is made as
            these; a ``google.genai.Client``, which becomes durable itself; or an ``AsyncClient`` of
            httpx or httpx2, for all who take one; or a chat model of LangChain.
        price: as an agent's in agents.toml, for models whose price nobody knows.

    Raises:
        ConfigurationError: it is none of these.
    """
    known = None if price is None else Price.model_validate(price)
    if _is_chat_model(client):
        from agents.frameworks.langchain import durable_model

        model: Any = client
        made: C = durable_model(model, known)
        return made
    if (package := _package_of(client)) is not None:
        return _durable_http(package, client, known)  # type: ignore[no-any-return]
    if hasattr(client, "with_options") and (inner := _http_of(client, "_client")) is not None:
        http = _durable_http(*inner, known)
        return client.with_options(http_client=http, max_retries=0)  # type: ignore[no-any-return]
    api = getattr(client, "_api_client", None)
    if (inner := _http_of(api, "_async_httpx_client")) is not None:
        http = _durable_http(*inner, known)
        api._async_httpx_client = api._http_options.httpx_async_client = http  # type: ignore[union-attr]  # noqa: SLF001 - it cannot be copied
        return client
    raise ConfigurationError(
        f"{type(client).__module__}.{type(client).__name__} cannot be made durable: give an "
        "asynchronous client of OpenAI's, Anthropic's or Google's SDK, or the AsyncClient of httpx "
        "or httpx2 that it sends by, or a chat model of LangChain."
    )


def _is_chat_model(client: Any) -> bool:
    """Return whether it is one of LangChain's, which is loaded then."""
    chat = sys.modules.get("langchain_core.language_models.chat_models")
    return chat is not None and isinstance(client, chat.BaseChatModel)


def _http_of(owner: Any, name: str) -> tuple[Any, Any] | None:
    http = getattr(owner, name, None)
    package = _package_of(http)
    return None if package is None else (package, http)


def _package_of(client: Any) -> Any:
    """The package whose asynchronous HTTP client this is; None: it is none."""
    for kind in type(client).__mro__:
        root = kind.__module__.partition(".")[0]
        if kind.__name__ == "AsyncClient" and root in _PACKAGES:
            return import_module(root)
    return None


def _durable_http(package: Any, http: Any, price: Price | None) -> Any:
    return package.AsyncClient(
        transport=DurableTransport(package, http, price),
        base_url=http.base_url,
        headers=http.headers,
        params=http.params,
        timeout=http.timeout,
        follow_redirects=False,  # the other one does, if it does
        trust_env=False,  # as the other one has read it
    )


class DurableTransport:
    """Sends the requests of an HTTP client by another one, which has its own settings."""

    def __init__(self, package: Any, http: Any, price: Price | None) -> None:
        self._package = package
        self._http = http
        self._price = price
        self._models: dict[tuple[str, str | None, str], PricedModel] = {}

    async def handle_async_request(self, request: Any) -> Any:
        """Send a request, or give the answer that its step knows."""
        within = CURRENT.get()
        posted = None
        if within is not None:
            kind = request.headers.get("content-type", "")
            posted = SdkRequest.of(request.method, str(request.url), kind, await request.aread())
        if within is None or posted is None:
            return await self._http.send(request, stream=True)

        async def send(key: str) -> Any:
            request.headers["Idempotency-Key"] = key
            return await self._http.send(request, stream=True)

        exchange = JournaledRequest(posted, self._model(posted), send, request.headers)
        return self._response(await exchange.answer(within))

    async def aclose(self) -> None:
        """Close the client that sends."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _model(self, posted: SdkRequest) -> PricedModel | None:
        if not posted.model:
            return None
        about = (posted.provider, posted.base_url, posted.model)
        if (known := self._models.get(about)) is None:
            if len(self._models) >= _MODELS_MAX:
                self._models.clear()
            known = self._models[about] = PricedModel(posted.config(self._price), _PRICED_BY)
        return known

    def _response(self, told: SdkAnswer) -> Any:
        about: dict[str, Any] = {"headers": told.headers}
        if isinstance(told.content, bytes):
            return self._package.Response(told.status, content=told.content, **about)
        stream = _stream_of(self._package)(told.content)
        return self._package.Response(told.status, stream=stream, **about)


@cache
def _stream_of(package: Any) -> Any:
    """The form in which a package wants pieces; it closes them where they are not read."""

    class Pieces(package.AsyncByteStream):
        def __init__(self, pieces: LivePieces) -> None:
            self._pieces = pieces

        def __aiter__(self) -> AsyncIterator[bytes]:
            return aiter(self._pieces)

        async def aclose(self) -> None:
            await self._pieces.aclose()

    return Pieces
