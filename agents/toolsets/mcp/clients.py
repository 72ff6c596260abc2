"""The way to a token for a client that has a proof of its own."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from mcp.client.auth import OAuthClientProvider
from mcp.client.auth.extensions.client_credentials import SignedJWTParameters

from agents.toolsets.mcp.entries import McpAuthorisation
from agents.toolsets.mcp.on_behalf import OnBehalfProvider, Send
from agents.toolsets.mcp.providers import (
    KeyProvider,
    OfEntry,
    SecretProvider,
    TokensAtHand,
    WorkloadProvider,
)


def of_client(
    url: str, auth: McpAuthorisation, secret: str, tokens: TokensAtHand, send: Send
) -> OAuthClientProvider:
    """The provider of an entry whose client has a proof of its own."""
    assert auth.client_id is not None, "its entry was looked at"
    found: OfEntry
    if auth.identity is not None:
        given: Any = (url, tokens, auth.client_id, secret)
        found = OnBehalfProvider(*given, issuer=auth.issuer, identity=auth.identity, send=send)
    elif auth.secret_env is not None:
        found = SecretProvider(url, tokens, auth.client_id, secret, issuer=auth.issuer)
    elif auth.key_env is not None:
        signed = SignedJWTParameters(
            issuer=auth.client_id,
            subject=auth.client_id,
            signing_key=secret,
            signing_algorithm=auth.key_algorithm,
        ).create_assertion_provider()
        found = KeyProvider(url, tokens, auth.client_id, signed, issuer=auth.issuer)
    else:
        path = auth.assertion_file or Path()

        async def assertion(audience: str) -> str:  # noqa: ARG001 - it says itself for whom it is
            return (await asyncio.to_thread(path.read_text, "utf-8")).strip()

        found = WorkloadProvider(url, tokens, auth.client_id, assertion, issuer=auth.issuer)
    found.wanted = auth.scope
    return found
