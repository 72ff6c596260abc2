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
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from mcp.types import CONNECTION_CLOSED

from agents.net.clients import ResolveSecret, SharedClients, secret_named
from agents.toolsets.mcp import launch
from agents.toolsets.mcp.entries import McpTools
from celery_agents.errors import ConfigurationError, redact

#: What a request is answered that was for a session which its server does not know any more.
FORGOTTEN = -32_098
#: The header by which a server knows a session, which it may have forgotten.
_SESSION = "mcp-session-id"


class ServerWay:
    """Opens streams of messages to one server, with the secrets that it needs."""

    def __init__(
        self, name: str, entry: McpTools, *, clients: SharedClients, resolve_secret: ResolveSecret
    ) -> None:
        self._name, self._entry = name, entry
        self._clients, self._resolve_secret = clients, resolve_secret
        self._tokens = _Tokens()
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
        async with self._clients.http(httpx2) as client:
            client.headers.update(self._headers())
            client.auth = self._provider(url)
            asked: Any = _Asked(client, self.said)
            async with streamable_http_client(url, http_client=asked) as streams:
                yield streams

    def _headers(self) -> dict[str, str]:
        auth = self._entry.auth
        headers = {name: self._secret(named) for name, named in auth.headers.items()}
        if auth.bearer_env is not None:
            headers["Authorization"] = f"Bearer {self._secret(auth.bearer_env)}"
        return headers

    def _provider(self, url: str) -> Any:
        auth = self._entry.auth
        if auth.client_id is None or auth.secret_env is None:
            return None
        return ClientCredentialsOAuthProvider(
            url,
            self._tokens,
            auth.client_id,
            self._secret(auth.secret_env),
            scope=auth.scope,
            issuer=auth.issuer,
        )

    def _secret(self, name: str) -> str:
        purpose = f"the MCP server {self._name!r}"
        secret = secret_named(name, self._resolve_secret, purpose=purpose)
        if secret not in self.secrets:
            self.secrets.append(secret)
        return secret

    def said(self, text: str) -> str:
        """A text of the server, or about it, without its secrets."""
        for secret in (*self.secrets, *self._tokens.secrets):
            text = text.replace(secret, "***")
        return redact(text)


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


class _Tokens:
    """Tokens that an authorization server gave, for as long as the process lives."""

    def __init__(self) -> None:
        self._token: OAuthToken | None = None
        self._client: OAuthClientInformationFull | None = None

    @property
    def secrets(self) -> list[str]:
        return [] if self._token is None else [self._token.access_token]

    async def get_tokens(self) -> OAuthToken | None:
        return self._token

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self._token = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self._client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self._client = client_info


def _path_of(program: str, cwd: Path | None) -> str | None:
    if "/" not in program:
        return which(program)
    return which(str((cwd or Path()) / program))
