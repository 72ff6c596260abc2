"""Cross-app access: an identity provider says on whose behalf a client asks (ID-JAG)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

import httpx2
from mcp.client.auth import OAuthTokenError
from mcp.shared.auth import JWT_BEARER_GRANT_TYPE

from agents.toolsets.mcp.entries import OnBehalf
from agents.toolsets.mcp.providers import SecretProvider

#: Sends a request of a provider.
Send = Callable[[httpx2.Request], Awaitable[httpx2.Response]]

_TOKEN = "urn:ietf:params:oauth:token-type:"  # noqa: S105 - a kind of tokens


class OnBehalfProvider(SecretProvider):
    """A client that shows its secret, and a grant of somebody's identity provider."""

    def __init__(self, *args: Any, identity: OnBehalf, send: Send, **more: Any) -> None:
        super().__init__(*args, **more)
        self._identity, self._ask = identity, send

    async def _exchange_token_client_credentials(self) -> httpx2.Request:
        request = await super()._exchange_token_client_credentials()
        assert self.context.oauth_metadata is not None, "it was required just before"
        grant = await self._granted(str(self.context.oauth_metadata.issuer))
        form = dict(parse_qsl(request.content.decode()))
        form |= {"grant_type": JWT_BEARER_GRANT_TYPE, "assertion": grant}
        headers = {"Authorization": request.headers["Authorization"]}
        return httpx2.Request("POST", request.url, data=form, headers=headers)

    async def _granted(self, issuer: str) -> str:
        """The identity provider's grant for an authorization server, and this resource alone."""
        about = self._identity
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "requested_token_type": f"{_TOKEN}id-jag",
            "subject_token_type": f"{_TOKEN}id_token",
            "subject_token": (await asyncio.to_thread(about.token_file.read_text)).strip(),
            "audience": issuer,
            "resource": self.context.get_resource_url(),
            "client_id": about.client_id,
        }
        if self.wanted is not None:
            form["scope"] = self.wanted
        answer = await self._ask(httpx2.Request("POST", about.token_url, data=form))
        try:
            if answer.status_code == HTTPStatus.OK:
                return str(answer.json()["access_token"])
        except (ValueError, KeyError, TypeError):
            pass
        raise OAuthTokenError(f"the identity provider gives no grant (HTTP {answer.status_code})")
