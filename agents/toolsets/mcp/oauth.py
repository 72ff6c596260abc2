"""OAuth 2.1 at an MCP server: requests get tokens, which the SDK's providers have and renew.

The SDK sends a request within its provider's lock and holds that until the server answers, so that
calls would wait for each other; and it keeps neither when a token ends nor who renews it. So its
provider is asked for a token alone, and what it has learned of a login is kept here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from http import HTTPStatus
from weakref import WeakSet

import anyio
import httpx2
from mcp.client.auth import OAuthClientProvider, OAuthRegistrationError
from mcp.client.auth.utils import (
    extract_field_from_www_auth,
    extract_scope_from_www_auth,
    union_scopes,
)
from mcp.shared.auth import (
    OAuthClientInformationFull,
    OAuthMetadata,
    OAuthToken,
    ProtectedResourceMetadata,
)
from pydantic import BaseModel, ValidationError

from agents.toolsets.mcp.logins import Login, Logins, how_to
from agents.toolsets.mcp.on_behalf import Send
from agents.toolsets.mcp.providers import LoginProvider, refusal
from celery_agents.errors import ConfigurationError, RetryableError
from celery_agents.noted import note

log = logging.getLogger(__name__)

#: A request is sent so often at the most: without a token that holds, with one that was renewed,
#: with one that others have renewed meanwhile, and with one for which somebody has signed in.
_TRIES = 4
#: Seconds for a renewal that is under way as its connection is closed: less than a worker waits.
_SETTLE_S = 6.0
#: Seconds for which a login that holds is not read again: somebody may have signed out, or anew.
_FRESH_S = 5.0
#: A time that is over, as the SDK reads one.
_OVER = 1.0


class Authorised(httpx2.Auth):
    """Gives requests a token of a provider, which finds its own way to one."""

    def __init__(self, provider: OAuthClientProvider, send: Send) -> None:
        self._provider, self._send = provider, send
        self._turn = asyncio.Lock()

    @property
    def secrets(self) -> list[str]:
        """The secrets that the provider has learned, which errors must not quote."""
        context = self._provider.context
        found = [context.client_info and context.client_info.client_secret]
        if (tokens := context.current_tokens) is not None:
            found += [tokens.access_token, tokens.refresh_token]
        return [secret for secret in found if secret]

    async def settled(self) -> None:
        """Wait for what is under way and must not be left, before its connections are closed."""

    async def async_auth_flow(
        self, request: httpx2.Request
    ) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """Send a request with a token, anew where that was refused and there is a better one."""
        refused: httpx2.Response | None = None
        for _ in range(_TRIES):
            async with self._turn:
                granted = await self._authorise(request, self._still(refused))
            response = yield request
            if granted or not _refuses(response):
                return
            refused = response

    async def _authorise(self, request: httpx2.Request, refused: httpx2.Response | None) -> bool:
        """Give a request the token to send; return whether one was granted for that refusal."""
        return await self._asked(request, refused)

    async def _asked(self, request: httpx2.Request, refused: httpx2.Response | None) -> bool:
        """Have the provider authorise a request that was not sent yet, or was refused."""
        request.headers.pop("Authorization", None)
        flow = self._provider.async_auth_flow(request)
        told = False
        try:
            outgoing = await anext(flow)
            while outgoing is not request or (refused is not None and not told):
                if outgoing is request and refused is not None:
                    answer, told = refused, True
                else:
                    answer = await self._send(outgoing)
                outgoing = await _went_on(flow, answer)
                await self._learned()
        except StopAsyncIteration:  # it knows no more than the refusal
            pass
        finally:
            await flow.aclose()
        return told

    async def _learned(self) -> None:
        """Keep what the provider knows now."""

    def _still(self, refused: httpx2.Response | None) -> httpx2.Response | None:
        """A refusal, unless there is another token since its request was sent."""
        if refused is None:
            return None
        sent = refused.request.headers.get("Authorization")
        tokens = self._provider.context.current_tokens
        other = tokens is not None and sent != f"Bearer {tokens.access_token}"
        return None if other else refused


class _Kept(BaseModel):
    """A login as it is kept: its tokens, when they end, and what renewing them takes."""

    url: str
    tokens: OAuthToken
    expires_at: float | None = None
    client: OAuthClientInformationFull
    server: OAuthMetadata | None = None
    resource: ProtectedResourceMetadata | None = None


class AuthorisedByLogin(Authorised):
    """Gives requests the token of a person who has signed in, and renews it."""

    def __init__(
        self, name: str, provider: LoginProvider, send: Send, *, url: str, logins: Logins
    ) -> None:
        super().__init__(provider, send)
        self._login = provider
        self._name, self._url, self._logins = name, url, logins
        self._known: OAuthToken | None = None
        self._refusal: Exception | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._fresh_until = 0.0
        #: Requests that have had a token renewed: a server that refuses that one, too, wants else.
        self._had: WeakSet[httpx2.Request] = WeakSet()

    async def _authorise(self, request: httpx2.Request, refused: httpx2.Response | None) -> bool:
        if self._refusal is not None:  # nobody is asked twice for one connection
            raise self._refusal
        step_up = refused is not None and refused.status_code == HTTPStatus.FORBIDDEN
        if await self._renewed(request, refused=refused is not None, step_up=step_up):
            return False
        if self._logins.person is None:
            raise ConfigurationError(self._how(refused if step_up else None))
        try:
            return await self._asked(request, refused)
        except Exception as error:
            self._refusal = error
            raise

    async def _renewed(self, request: httpx2.Request, *, refused: bool, step_up: bool) -> bool:
        """Give a request the token that there is, or a renewed one; false where there is none."""
        tokens = self._provider.context.current_tokens
        before = tokens.access_token if refused and tokens is not None else None
        if self._renewing is not None and not self._renewing.done():
            await asyncio.shield(self._renewing)  # whoever asked for it has left
        await self._look(before)
        if self._holds(before):
            await self._asked(request, None)
        elif self._provider.context.can_refresh_token() and not (step_up or request in self._had):
            self._had.add(request)
            # A token that was asked for and not kept would be the end of the login.
            self._renewing = asyncio.create_task(self._refreshed(request, before))
            self._renewing.add_done_callback(_heard)
            await asyncio.shield(self._renewing)
        return self._holds(before)

    async def _look(self, before: str | None) -> None:
        """Take what is kept: somebody may have signed in or out, or another process renewed it."""
        held = self._holds(before)
        if held and time.monotonic() < self._fresh_until:
            return
        try:
            await self._load()
        except RetryableError as error:
            if not held:
                raise
            note(log, "login_read", "A login could not be read again, and is used", error=error)

    async def settled(self) -> None:
        if self._renewing is not None and not self._renewing.done():
            with anyio.CancelScope(shield=True):
                await asyncio.wait([self._renewing], timeout=_SETTLE_S)

    async def _refreshed(self, request: httpx2.Request, before: str | None) -> None:
        async with self._logins.renewing(self._name):
            await self._load()
            if not self._holds(before):
                self._provider.context.token_expiry_time = _OVER
            await self._asked(request, None)

    def _holds(self, before: str | None) -> bool:
        """Return whether there is a token that has not run out, and is not the one of before."""
        context = self._provider.context
        tokens = context.current_tokens
        return tokens is not None and context.is_token_valid() and tokens.access_token != before

    async def _load(self) -> None:
        """Take what is kept in place of what was known."""
        found = self._read(await self._logins.read(self._name))
        context = self._provider.context
        context.clear_tokens()
        self._fresh_until = time.monotonic() + _FRESH_S
        if found is None:
            self._known = None
            context.client_info = self._login.client()
            return
        context.oauth_metadata = found.server
        context.protected_resource_metadata = found.resource
        if found.resource is not None:
            context.auth_server_url = str(found.resource.authorization_servers[0])
        context.client_info = self._login.client() or found.client
        context.current_tokens = self._known = found.tokens
        context.token_expiry_time = found.expires_at

    def _read(self, kept: Login | None) -> _Kept | None:
        """A login as it was kept, unless it is of another server, client or issuer."""
        try:
            found = None if kept is None else _Kept.model_validate(kept)
        except ValidationError:
            return None
        if found is None or found.url != self._url:
            return None
        return found if self._login.takes(found.client, found.server) else None

    async def _learned(self) -> None:
        context = self._provider.context
        tokens, client = context.current_tokens, context.client_info
        if tokens is None or tokens is self._known or client is None:
            return
        kept = _Kept(
            url=self._url,
            tokens=tokens,
            expires_at=context.token_expiry_time,
            client=client,
            server=context.oauth_metadata,
            resource=context.protected_resource_metadata,
        )
        await self._logins.keep(self._name, kept.model_dump(mode="json", exclude_none=True))
        self._known = tokens

    def _how(self, step_up: httpx2.Response | None) -> str:
        tokens = self._known
        if step_up is not None:
            granted = None if tokens is None else tokens.scope
            wanted = union_scopes(granted, extract_scope_from_www_auth(step_up))
            told = f"The MCP server {self._name!r} wants more than its login was granted. Sign in:"
            return f"{told} {how_to(self._name, wanted)}"
        told = f"Nobody has signed in at the MCP server {self._name!r}. Sign in:"
        if tokens is not None:
            told = f"The MCP server {self._name!r} takes its login no more. Sign in again:"
        return f"{told} {how_to(self._name)}"


async def _went_on(
    flow: AsyncGenerator[httpx2.Request, httpx2.Response], answer: httpx2.Response
) -> httpx2.Request:
    """Give a provider an answer; return what it sends next."""
    try:
        return await flow.asend(answer)
    except OAuthRegistrationError:  # it quotes the answer, which may have a secret
        told = f"its authorization server registers no client: {refusal(answer)}"
        raise OAuthRegistrationError(told) from None


def _heard(renewal: asyncio.Task[None]) -> None:
    """Take a renewal's error, which nobody may wait for any more."""
    if not renewal.cancelled():
        renewal.exception()


def _refuses(response: httpx2.Response) -> bool:
    if response.status_code == HTTPStatus.FORBIDDEN:
        return extract_field_from_www_auth(response, "error") == "insufficient_scope"
    return response.status_code == HTTPStatus.UNAUTHORIZED
