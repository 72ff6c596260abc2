"""The interface between the agent loop and the model providers, in no provider's words."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Hashable,
    Iterable,
    Iterator,
)
from contextlib import aclosing
from itertools import groupby
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

from pydantic import Field

from agents.governance.rates import Tokens as Tokens  # noqa: PLC0414 - readers have it from here
from agents.models.config import ModelConfig
from agents.models.reading.bodies import Body, bodies
from agents.models.reading.shapes import count
from agents.net.bounds import at_most
from agents.net.clients import ResolveSecret, SharedClients, secret_named
from agents.net.faults import FailedError, scrub, told_error
from agents.tools.calls import ToolCall, ToolResult, ToolSpec, WholeJson, WholeText
from agents.values import shown
from celery_agents.contracts.base import Contract, TrustedJson
from celery_agents.contracts.conversation import ChatMessage, Text
from celery_agents.errors import AgentsError, BadAnswerError, ProviderUnavailableError

#: Is told each piece of text as it arrives.
OnText = Callable[[str], Awaitable[None]]


class Reply(Contract):
    """One answer of a model: text, or tool calls, or both."""

    text: WholeText
    tool_calls: tuple[ToolCall, ...] = ()
    #: "length": it was cut at the limit of output tokens.
    stop: Literal["end", "length"] = "end"
    #: The message in the provider's own form. It goes back unchanged in the next request, as
    #: providers want it (signatures of thoughts, ids of calls).
    native: WholeJson = None


class Exchange(Contract):
    """A reply that was no end, and what its model was told: results of tools, or a complaint."""

    reply: Reply
    results: tuple[ToolResult, ...] = ()
    complaint: str | None = None  # about an answer that has not the form that was asked for


class ModelRequest(Contract):
    """One model request: the whole conversation, and the form of the answer."""

    model: str
    system: str | None
    history: tuple[ChatMessage, ...] = ()
    user: str | None  # None: the history ends with what is asked
    exchanges: tuple[Exchange, ...] = ()
    tools: tuple[ToolSpec, ...] = ()
    answer_schema: dict[str, TrustedJson] | None = None
    temperature: float | None = None
    max_output_tokens: int | None = Field(default=None, ge=1)
    stream: bool = False
    #: Let the provider keep what begins the request, for requests of this key. None: do not.
    cache_key: str | None = Field(default=None, exclude=True)


def said_before(request: ModelRequest) -> tuple[ChatMessage, ...]:
    """Return the conversation with its newest question at its end."""
    if request.user is None:
        return request.history
    part = Text(kind="text", text=request.user)  # which may be empty; a bare content may not
    return (*request.history, ChatMessage(role="user", content=(part,)))


def instructed(request: ModelRequest) -> str | None:
    """Return all instructions as one text, for providers that take no system message later on."""
    told = [request.system, *(m.text for m in request.history if m.role == "system")]
    return "\n\n".join(text for text in told if text) or None


def turns(conversation: Iterable[ChatMessage]) -> Iterator[tuple[ChatMessage, ...]]:
    """Give each message, but results of tools that follow each other together.

    Instructions are left out: for providers that take both in one place alone.
    """
    for role, group in groupby(conversation, key=lambda message: message.role):
        if role == "tool":
            yield tuple(group)
        elif role != "system":
            yield from ((message,) for message in group)


class Completion(NamedTuple):
    """The result of one model request. ``tokens`` is None where the server did not say."""

    reply: Reply
    tokens: Tokens | None


class Provider(Protocol):
    """One provider's API: one request in, one completion out."""

    @property
    def schema_with_tools(self) -> bool:
        """True when a request may both ask for a schema and offer tools."""
        ...

    def takes(self, schema: dict[str, Any]) -> bool:
        """Return whether answers of this form can be asked for otherwise than in words."""
        ...

    async def complete(
        self, request: ModelRequest, *, idempotency_key: str, on_text: OnText
    ) -> Completion:
        """Make one request, once. Raises RetryableError or PermanentError only."""
        ...

    async def aclose(self) -> None:
        """Close the client, which agents of the same endpoint share."""
        ...


class ModelProvider(Protocol):
    """Makes the provider of a model agent's configuration; a class is one. It needs no key yet.

    A plug-in offers one under ``providers``, and its agents have ``kind`` = its name there.
    """

    #: Where requests go, unless the entry has a ``base_url``.
    endpoint: str

    def __call__(
        self, config: ModelConfig, *, clients: SharedClients, resolve_secret: ResolveSecret
    ) -> Provider:
        """The provider of one agent."""
        ...


def counted(
    tokens_in: Any, tokens_out: Any, cache_read: Any = None, cache_write: Any = None
) -> Tokens | None:
    """Tokens as a server told them; None where it did not tell, or told no numbers."""
    sent, received = count(tokens_in), count(tokens_out)
    if sent is None or received is None:
        return None
    return Tokens(sent, received, count(cache_read) or 0, count(cache_write) or 0)


class Reading(Protocol):
    """Makes a completion of the JSON values of one answer (:mod:`agents.models.reading`)."""

    def add(self, body: Body) -> str:
        """Add one value; return the text that it brought. Raises FailedError for an error."""
        ...

    def completion(self) -> Completion:
        """Return the whole answer. Raises an AgentsError where it is no answer."""
        ...


# What a deviation that nobody thought of may surface as.
_ODD_ANSWER = (ValueError, TypeError, LookupError, AttributeError, AssertionError)


class SdkProvider(ABC):
    """The providers' common base: the key, the client, reading, errors made ours."""

    name: ClassVar[str]  # of the provider, and of the extra that installs it
    module: ClassVar[str]  # what that installs to send requests by
    key_name: ClassVar[str]  # where the key is found, unless configured
    endpoint: ClassVar[str]  # where requests go, unless configured
    schema_with_tools: bool = True

    def __init__(
        self, config: ModelConfig, *, clients: SharedClients, resolve_secret: ResolveSecret
    ) -> None:
        self.config = config
        self.who = f"{self.name}/{config.model}"
        self._clients = clients
        self._resolve_secret = resolve_secret
        self._client_key: Hashable = None

    def takes(self, schema: dict[str, Any]) -> bool:  # noqa: ARG002 - for those that do not
        return True

    async def complete(
        self, request: ModelRequest, *, idempotency_key: str, on_text: OnText
    ) -> Completion:
        secret = self._secret()
        sdk = await self._clients.load(self.module, extra=self.name)
        http = await self._clients.load("httpx2", extra=self.name)
        about = (self.config.base_url, self.config.organization, self.config.project)
        self._client_key = (self.name, *about, secret)
        client = self._clients.get(self._client_key, lambda: self._make_client(sdk, http, secret))
        call = self._prepare(request)
        # The SDKs' errors hold the request with its headers, so ours do not chain them.
        try:
            async with aclosing(self._send(client, call, idempotency_key)) as content:
                return await self._read(request, content, on_text)
        except AgentsError:
            raise
        except FailedError as failed:
            raise told_error(self.who, failed, secret) from None
        except http.RequestError as error:
            raise self.unavailable(scrub(f"{type(error).__name__}: {error}", secret)) from None
        except self._sdk_errors(sdk) as error:
            raise self._translate(error, secret) from None
        except _ODD_ANSWER as error:
            text = scrub(f"{type(error).__name__}: {error}", secret)
            raise BadAnswerError(f"{self.who} gave an unreadable answer: {shown(text)}") from None

    async def aclose(self) -> None:
        client = self._clients.take(self._client_key)
        if client is not None:
            await self._close(client)

    def unavailable(self, reason: str) -> ProviderUnavailableError:
        """Return the error for a provider that does not answer."""
        return ProviderUnavailableError(f"{self.who} is not available: {shown(reason, 400)}")

    async def _read(
        self, request: ModelRequest, content: AsyncIterator[bytes], on_text: OnText
    ) -> Completion:
        reading = self._reading(request)
        limited = at_most(content, self.config.response_limit(stream=request.stream), self.who)
        async for body in bodies(limited, who=self.who):
            text = reading.add(body)
            if request.stream:
                await on_text(text)
        return reading.completion()

    def _secret(self) -> str:
        name = self.config.api_key_env or (None if self.config.base_url else self.key_name)
        if name is None:
            return "none"  # the SDKs want some key; local servers ignore it
        return secret_named(name, self._resolve_secret, purpose=f"the model {self.who}")

    def _options(self, http: Any, secret: str) -> dict[str, Any]:
        """Return the options that the clients of all SDKs are made with."""
        base_url, query = self.config.endpoint(self.endpoint)
        return {
            "api_key": secret,
            "base_url": base_url,
            "default_query": query,
            "max_retries": 0,
            "timeout": http.Timeout(None, connect=10.0),
            "http_client": self._clients.http(http),
        }

    @abstractmethod
    def _make_client(self, sdk: Any, http: Any, secret: str) -> Any:
        """A new client, retries off."""

    @abstractmethod
    def _prepare(self, request: ModelRequest) -> dict[str, Any]:
        """The arguments of the call for the request. Raises InvalidPayloadError."""

    @abstractmethod
    def _send(
        self, client: Any, call: dict[str, Any], idempotency_key: str
    ) -> AsyncGenerator[bytes]:
        """Send it; the bytes of the answer as they arrive."""

    @abstractmethod
    def _reading(self, request: ModelRequest) -> Reading:
        """A reader for the answer to the request."""

    def _sdk_errors(self, sdk: Any) -> tuple[type[Exception], ...]:  # noqa: ARG002 - for SDKs
        """The SDK's own errors, where there is one."""
        return ()

    def _translate(self, error: Any, secret: str) -> AgentsError:
        """One of the SDK's own errors as ours."""
        response = getattr(error, "response", None)
        if response is None:
            return self.unavailable(scrub(str(error), secret))
        body = error.body or response.text
        failed = FailedError(body, status=response.status_code, headers=response.headers)
        return told_error(self.who, failed, secret)

    async def _close(self, client: Any) -> None:
        await client.close()
