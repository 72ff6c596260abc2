"""The way to a server: a program's standard input and output, or HTTP."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from shutil import which
from typing import Any, Self

import httpx2
from mcp import StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CONNECTION_CLOSED

from agents.net.bounds import at_most
from agents.net.clients import secret_named
from agents.net.outside import outside_client
from agents.toolsets.mcp import launch
from agents.toolsets.mcp.clients import of_client
from agents.toolsets.mcp.entries import McpTools
from agents.toolsets.mcp.logins import ServerResources, origin
from agents.toolsets.mcp.oauth import Authorised, AuthorisedByLogin
from agents.toolsets.mcp.providers import LoginProvider, TokensAtHand
from celery_agents.errors import (
    AddressRefusedError,
    ConfigurationError,
    PermanentError,
    redact,
)

#: What a request is answered that was for a session which its server does not know any more.
FORGOTTEN = -32_098
#: What a request is answered for which something is missing here: a person's login, say.
MISSING = -32_097
#: Seconds for an answer of an authorization server or an identity provider, and bytes of it.
_ANSWER_S, _ANSWER_BYTES = 30.0, 1024 * 1024
#: The header by which a server knows a session, which it may have forgotten.
_SESSION = "mcp-session-id"


class ServerWay:
    """Opens streams of messages to one server, with the secrets that it needs."""

    def __init__(self, name: str, entry: McpTools, resources: ServerResources) -> None:
        self._name, self._entry, self._resources = name, entry, resources
        self._tokens = TokensAtHand()
        self._authorised: Authorised | None = None
        #: The secrets that were needed so far, which errors must not quote.
        self.secrets: list[str] = []

    @asynccontextmanager
    async def open(self, gone: asyncio.Event) -> AsyncIterator[tuple[Any, Any]]:
        """The streams to and from it; ``gone`` is set when they lead nowhere any more.

        Raises:
            ConfigurationError: there is no such program.
            MissingKeyError: a secret is not set.
        """
        opened = self._program() if self._entry.command is not None else self._http()
        async with opened as (reading, writing):
            yield _Watched(reading, gone), writing

    def _program(self) -> Any:
        entry = self._entry
        command = [*(entry.command or ())]
        if _path_of(command[0], entry.cwd) is None:
            raise ConfigurationError(f"[tools.{self._name}] command: there is no {command[0]}.")
        if sys.platform == "linux" and sys.executable:
            own = [sys.executable, "-I", "-S", str(launch.__file__), str(os.getpid())]
            command = [*own, *command]
        parameters = StdioServerParameters(
            command=command[0],
            args=command[1:],
            env={variable: self._secret(name) for variable, name in entry.env.items()},
            cwd=entry.cwd,
        )
        # Celery puts a logger in the place of sys.stderr, which no program can write to.
        errors: Any = sys.__stderr__ if sys.__stderr__ is not None else subprocess.DEVNULL
        return stdio_client(parameters, errlog=errors)

    @asynccontextmanager
    async def _http(self) -> AsyncIterator[Any]:
        url = str(self._entry.url)
        clients, private = self._resources.clients, self._resources.private
        async with clients.http(httpx2) as client, outside_client(httpx2, private) as outside:
            client.headers.update(self._headers())
            client.auth = self._authorised = self._provided(url, client, outside)
            asked: Any = _Asked(client, self.said)
            try:
                async with streamable_http_client(url, http_client=asked) as streams:
                    yield streams
            finally:
                if self._authorised is not None:
                    await self._authorised.settled()

    def _headers(self) -> dict[str, str]:
        auth = self._entry.auth
        headers = {name: self._secret(named) for name, named in auth.headers.items()}
        if auth.bearer_env is not None:
            headers["Authorization"] = f"Bearer {self._secret(auth.bearer_env)}"
        return headers

    def _provided(self, url: str, client: Any, outside: Any) -> Authorised | None:
        """The tokens of its requests, for a server that wants some.

        It says itself where they come from: what is of its own origin, or of those that the entry
        names, is asked as it is itself, and all else like any URL that others have named.
        """
        auth = self._entry.auth
        if not auth.login and auth.client_id is None:
            return None
        idp = None if auth.identity is None else auth.identity.token_url
        own = {origin(told) for told in (url, auth.issuer, idp) if told is not None}

        async def send(request: Any) -> Any:
            try:
                async with asyncio.timeout(_ANSWER_S):
                    if origin(str(request.url)) in own:
                        return await _read(await client.send(request, auth=None, stream=True))
                    return await _read(await outside.send(request, stream=True))
            except TimeoutError:
                late = f"{request.url.host} gave no token within {_ANSWER_S:g} s"
                raise httpx2.ReadTimeout(late, request=request) from None
            except AddressRefusedError as error:
                raise ConfigurationError(
                    f"The MCP server {self._name!r} wants {request.url.host} to be asked for a "
                    f"token. {error.message} AGENTS_PRIVATE_HOSTS admits hosts that are yours."
                ) from None

        named = auth.secret_env or auth.key_env
        secret = None if named is None else self._secret(named)
        if not auth.login:
            return Authorised(of_client(url, auth, secret or "", self._tokens, send), send)
        logins = self._resources.logins
        provider = LoginProvider(url, auth, secret, logins.person, self._resources.private)
        return AuthorisedByLogin(self._name, provider, send, url=url, logins=logins)

    def _secret(self, name: str) -> str:
        purpose = f"the MCP server {self._name!r}"
        secret = secret_named(name, self._resources.resolve_secret, purpose=purpose)
        if secret not in self.secrets:
            self.secrets.append(secret)
        return secret

    def said(self, text: str) -> str:
        """A text of the server, or about it, without its secrets."""
        learned = [] if self._authorised is None else self._authorised.secrets
        for secret in (*self.secrets, *learned):
            text = text.replace(secret, "***")
        return redact(text)


class _Bounded(httpx2.AsyncByteStream):
    """A body of an answer about tokens: a page, and no more."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __aiter__(self) -> AsyncIterator[bytes]:
        return at_most(aiter(self._inner), _ANSWER_BYTES, "An authorization server")

    async def aclose(self) -> None:
        await self._inner.aclose()


async def _read(response: Any) -> Any:
    """An answer about tokens, with its body."""
    response.stream = _Bounded(response.stream)
    try:
        await response.aread()
    finally:
        await response.aclose()
    return response


class _Watched:
    """A stream of messages that tells when there are no more."""

    def __init__(self, stream: Any, gone: asyncio.Event) -> None:
        self._stream, self._gone = stream, gone

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __aiter__(self) -> _Watched:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self._stream.__anext__()
        except BaseException:
            self._gone.set()
            raise

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stream.__aexit__(*error)


class _Asked:
    """An HTTP client whose failures are answers, each of its own request.

    The SDK ends a whole session by one request that does not reach its server, and all calls with
    it; and of a status without a body in JSON it does not say which one it was.
    """

    def __init__(self, client: Any, said: Callable[[str], str]) -> None:
        self._client, self._said = client, said

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def send(self, request: Any, **options: Any) -> Any:
        try:
            response = await self._client.send(request, **options)
        except PermanentError as error:
            return _failed(request, HTTPStatus.UNAUTHORIZED, error.message, MISSING)
        except Exception as error:  # noqa: BLE001 - whatever HTTP or OAuth raises is told
            why = self._said(f"{type(error).__name__}: {error}")
            return _failed(request, HTTPStatus.BAD_GATEWAY, f"it does not answer: {why}")
        if response.status_code == HTTPStatus.NOT_FOUND and _SESSION in request.headers:
            await response.aclose()
            return _failed(request, HTTPStatus.NOT_FOUND, "it has forgotten us", FORGOTTEN)
        media = response.headers.get("content-type", "")
        if response.status_code < HTTPStatus.BAD_REQUEST or media.startswith("application/json"):
            return response
        if request.method != "POST" or response.status_code == HTTPStatus.NOT_FOUND:
            return response
        await response.aclose()
        return _failed(request, response.status_code, f"it answered HTTP {response.status_code}")


def _failed(request: Any, status: int, message: str, code: int = CONNECTION_CLOSED) -> Any:
    error = {"code": code, "message": message}
    body = {"jsonrpc": "2.0", "id": None, "error": error}
    return httpx2.Response(status, json=body, request=request)


def _path_of(program: str, cwd: Path | None) -> str | None:
    if "/" not in program:
        return which(program)
    return which(str((cwd or Path()) / program))
