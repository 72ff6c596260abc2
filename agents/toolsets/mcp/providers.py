"""The SDK's ways to a token, with what they leave to whoever uses them."""

from __future__ import annotations

import logging
import re
from http import HTTPStatus
from typing import Any

import httpx2
from mcp.client.auth import OAuthClientProvider, OAuthFlowError, OAuthTokenError
from mcp.client.auth.extensions.client_credentials import (
    ClientCredentialsOAuthProvider,
    PrivateKeyJWTOAuthProvider,
)
from mcp.client.auth.utils import issuers_match
from mcp.shared.auth import (
    JWT_BEARER_GRANT_TYPE,
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthMetadata,
    OAuthToken,
)
from pydantic import AnyUrl

from agents.net.outside import PrivateHosts
from agents.toolsets.mcp.entries import McpAuthorisation
from agents.toolsets.mcp.logins import UserAgent, may_be_shown

# Whoever asks is told of errors; the SDK's own lines have bodies of answers in them, with tokens.
logging.getLogger("mcp.client.auth").setLevel(logging.CRITICAL + 1)

#: OAuth's words for errors. Other words of an answer may be what it was sent: a proof, say.
_WORD = re.compile(r"[a-z_]{1,60}")
#: By these a token endpoint says that a login is over; others are failures of its own.
_ENDED = {HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
_UNREADABLE = "its authorization server answered what nobody can read"


def refusal(response: httpx2.Response) -> str:
    """An answer that refuses, told without what it may repeat."""
    try:
        word = response.json()["error"]
    except (ValueError, KeyError, TypeError, RecursionError):
        word = None
    known = isinstance(word, str) and _WORD.fullmatch(word)
    return f"HTTP {response.status_code}" + (f" ({word})" if known else "")


class TokensAtHand:
    """Tokens of a client's own, for as long as the process lives."""

    def __init__(self) -> None:
        self._tokens: OAuthToken | None = None
        self._client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self._tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self._tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self._client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self._client = client_info


class OfEntry(OAuthClientProvider):
    """Asks for the scope that the entry names, whatever a server offers."""

    wanted: str | None = None

    async def _perform_authorization(self) -> httpx2.Request:
        if self.wanted is not None:
            self.context.client_metadata.scope = self.wanted
        return await super()._perform_authorization()

    async def _handle_token_response(self, response: httpx2.Response) -> None:
        """Take a token, and quote no answer that is none: it may have others, or our proof."""
        if response.status_code not in {HTTPStatus.OK, HTTPStatus.CREATED}:
            raise OAuthTokenError(f"its authorization server gives no token: {refusal(response)}")
        try:
            await super()._handle_token_response(response)
        except (OAuthTokenError, OverflowError):
            raise OAuthTokenError(_UNREADABLE) from None


class SecretProvider(OfEntry, ClientCredentialsOAuthProvider):
    """Client credentials by a secret."""


class KeyProvider(OfEntry, PrivateKeyJWTOAuthProvider):
    """Client credentials by a key that signs."""


class WorkloadProvider(OfEntry, PrivateKeyJWTOAuthProvider):
    """A workload's own token in exchange for one of the server (RFC 7523, 2.1)."""

    async def _add_client_authentication_jwt(self, *, token_data: dict[str, Any]) -> None:
        assert self.context.oauth_metadata is not None, "it was required just before"
        assert self.context.client_info is not None, "it is the entry's"
        token_data |= {
            "grant_type": JWT_BEARER_GRANT_TYPE,
            "assertion": await self._assertion_provider(str(self.context.oauth_metadata.issuer)),
            "client_id": self.context.client_info.client_id,
        }


class LoginProvider(OfEntry):
    """The authorization code flow, with a person where there is one (PKCE, S256)."""

    def __init__(
        self,
        url: str,
        auth: McpAuthorisation,
        secret: str | None,
        person: UserAgent | None,
        private: PrivateHosts,
    ) -> None:
        redirects = None if person is None else [AnyUrl(person.redirect_uri)]
        about = OAuthClientMetadata(client_name="celery-agents", redirect_uris=redirects)
        super().__init__(
            url,
            about,
            TokensAtHand(),
            self._shown,
            self._redirected,
            client_metadata_url=auth.client_metadata_url,
        )
        self.wanted = auth.scope
        self._auth, self._secret, self._person = auth, secret, person
        self._own, self._private = [told for told in (url, auth.issuer) if told], private
        self._page = ""

    def client(self) -> OAuthClientInformationFull | None:
        """The client that the entry names, as its authorization server knows it."""
        if self._auth.client_id is None:
            return None
        return OAuthClientInformationFull(
            client_id=self._auth.client_id,
            client_secret=self._secret,
            redirect_uris=self.context.client_metadata.redirect_uris,
            token_endpoint_auth_method=_method(self._secret, self.context.oauth_metadata),
            issuer=self._auth.issuer,
        )

    def takes(self, client: OAuthClientInformationFull, server: OAuthMetadata | None) -> bool:
        """Return whether a login is of the client that the entry names, at its issuer."""
        if self._auth.client_id not in {None, client.client_id}:
            return False
        issuer = self._auth.issuer
        return issuer is None or (server is not None and issuers_match(str(server.issuer), issuer))

    async def _initialize(self) -> None:
        """Leave what is known: who keeps it has said so."""
        self._initialized = True

    def _select_authorization_server(self, advertised: list[str]) -> str:
        issuer = self._auth.issuer
        if issuer is None:
            return super()._select_authorization_server(advertised)
        for server in advertised:
            if issuers_match(server, issuer):
                return server
        raise self._elsewhere()

    def _expected_issuer(self) -> str:
        """The issuer; a server that names none is its own, which is another than the entry's."""
        found = super()._expected_issuer()
        if self._auth.issuer is not None and not issuers_match(found, self._auth.issuer):
            raise self._elsewhere()
        return found

    def _elsewhere(self) -> OAuthFlowError:
        issuer = self._auth.issuer
        return OAuthFlowError(f"The server does not name the issuer {issuer}, which its entry does")

    async def _perform_authorization(self) -> httpx2.Request:
        metadata, server = self.context.oauth_metadata, self.context.auth_server_url
        if metadata is None and (server is not None or self._auth.issuer is not None):
            # The SDK would take the MCP server's own pages in their place, and send it the code.
            raise OAuthFlowError(f"{server or self._auth.issuer} does not tell where to sign in")
        if metadata and "S256" not in (metadata.code_challenge_methods_supported or ()):
            raise OAuthFlowError(f"{metadata.issuer} knows no PKCE (S256)")
        self.context.client_info = self.client() or self.context.client_info
        return await super()._perform_authorization()

    async def _shown(self, url: str) -> None:
        if not may_be_shown(url, self._own, self._private):
            page = url.partition("?")[0]
            raise OAuthFlowError(
                f"its authorization server wants somebody to sign in at {page}, where others could "
                "listen: it has to be an https:// page, or on a host of AGENTS_PRIVATE_HOSTS"
            )
        self._page = url

    async def _redirected(self) -> AuthorizationCodeResult:
        assert self._person is not None, "nobody else gets so far"
        found = await self._person.sign_in(self._page)
        return AuthorizationCodeResult(
            code=found.get("code", ""), state=found.get("state"), iss=found.get("iss")
        )

    async def _handle_refresh_response(self, response: httpx2.Response) -> bool:
        """Take a renewed token; false where the login is over. All else is tried again later."""
        status = response.status_code
        if status != HTTPStatus.OK and status not in _ENDED:
            raise OAuthTokenError(f"its authorization server answered HTTP {status}")
        try:
            done = await super()._handle_refresh_response(response)
        except OverflowError:
            done = False
        if not done and status == HTTPStatus.OK:
            raise OAuthTokenError(_UNREADABLE)
        return done


def _method(secret: str | None, metadata: OAuthMetadata | None) -> str:
    """The way in which a client shows its secret, if it has one."""
    if secret is None:
        return "none"
    known = (metadata and metadata.token_endpoint_auth_methods_supported) or []
    basic, post = "client_secret_basic", "client_secret_post"
    return post if post in known and basic not in known else basic
