"""An MCP server whose tools want a login, and its authorization server, each on a port of its own.

Refresh tokens are good for one use: one that comes again ends the login, as with providers that
take that for theft.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from uuid import uuid4

from tests.fakes.mcp_server import answer

_SCOPES = ["read", "write"]


class OAuthServer:
    """What both servers know, and what was asked of them."""

    def __init__(self) -> None:
        self.url = self.issuer = ""
        #: Requests at the authorization server, by their paths; and grants, in their order.
        self.asked: list[str] = []
        self.grants: list[str] = []
        self.expires_in: int | None = 3600
        #: What the token endpoint answers in place of a token, and whether it gives new refresh
        #: tokens; scopes that calls of tools need; what an authorization page does.
        self.broken: int | None = None
        self.rotates = True
        self.needed: str = ""
        self.denies = False
        #: Where it says that somebody is to sign in, if not at its own page.
        self.elsewhere: str | None = None
        self.iss: str | None = None
        #: Whether the MCP server names no authorization server, and says to be one; a status in
        #: place of the authorization server's metadata; and what the token endpoint says instead.
        self.alone = False
        self.hides: int | None = None
        self.says: tuple[int, Any] | None = None
        #: Calls of tools wait until so many are there.
        self.together: threading.Barrier | None = None
        #: Set while the token endpoint answers; and set by a request that waits for that.
        self.answers, self.waits = threading.Event(), threading.Event()
        self.answers.set()
        self.resources: set[str] = set()
        #: Forms that were posted, by their paths, with who shows a secret by HTTP's Basic.
        self.forms: list[tuple[str, dict[str, str], str]] = []
        #: What the last request to the MCP server has shown.
        self.shown: str | None = None
        self._codes: dict[str, dict[str, str]] = {}
        self._tokens: dict[str, str] = {}
        self._refresh: set[str] = set()
        self._used: set[str] = set()
        self._lock = threading.Lock()

    def revoke_access(self) -> None:
        """End all access tokens; what renews them holds."""
        self._tokens.clear()

    def revoke(self) -> None:
        """End all logins."""
        self._tokens.clear()
        self._refresh.clear()

    def allows(self, header: str | None, method: str) -> tuple[int, str] | None:
        """A refusal of a request, with its header; None where its token holds."""
        self.shown = header
        scope = self._tokens.get((header or "").removeprefix("Bearer "))
        if scope is None:
            return 401, f'Bearer resource_metadata="{self.url}/prm", scope="read"'
        if method == "tools/call" and self.needed and self.needed not in scope.split():
            return 403, f'Bearer error="insufficient_scope", scope="{self.needed}"'
        return None

    def page(self, given: dict[str, str]) -> str:
        """Where an authorization page sends a browser."""
        told = {"state": given["state"], "iss": self.iss or self.issuer}
        if self.denies:
            told |= {"error": "access_denied", "error_description": "not you"}
        else:
            told["code"] = uuid4().hex
            self._codes[told["code"]] = given
        return f"{given['redirect_uri']}?{urlencode(told)}"

    def token(self, given: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """The answer to a request for a token."""
        if not self.answers.is_set():
            self.waits.set()
            self.answers.wait(60)
        if self.broken is not None:
            return self.broken, {"error": "server_error"}
        if self.says is not None:
            return self.says
        with self._lock:
            grant = given["grant_type"]
            self.grants.append(grant)
            self.resources.add(given.get("resource", ""))
            kinds = {"authorization_code": self._by_code, "refresh_token": self._again}
            scope = kinds[grant](given) if grant in kinds else given.get("scope", "")
            if scope is None:
                return 400, {"error": "invalid_grant"}
            return 200, self._granted(scope, first=grant == "authorization_code")

    def _granted(self, scope: str, *, first: bool) -> dict[str, Any]:
        told: dict[str, Any] = {"access_token": f"at-{uuid4().hex}", "token_type": "Bearer"}
        self._tokens[told["access_token"]] = scope
        if self.expires_in is not None:
            told["expires_in"] = self.expires_in
        if first or self.rotates:
            told["refresh_token"] = f"rt-{uuid4().hex}"
            self._refresh.add(told["refresh_token"])
        return told

    def _by_code(self, given: dict[str, str]) -> str | None:
        asked = self._codes.pop(given["code"], None)
        digest = hashlib.sha256(given["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if asked is None or asked["code_challenge"] != challenge:
            return None
        return asked.get("scope", "")

    def _again(self, given: dict[str, str]) -> str | None:
        token = given["refresh_token"]
        if token in self._used:
            self.revoke()
        if token not in self._refresh:
            return None
        if self.rotates:
            self._refresh.discard(token)
            self._used.add(token)
        return "read"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    home: OAuthServer

    def log_message(self, *_: object) -> None: ...

    def _say(self, status: int, told: Any, **headers: str) -> None:
        body = b"" if told is None else json.dumps(told).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers["content-length"]))


class _Authorization(_Handler):
    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.home.asked.append(parts.path)
        given = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path == "/authorize":
            return self._say(302, {}, location=self.home.page(given))
        if parts.path != "/.well-known/oauth-authorization-server":
            return self._say(404, {})
        if self.home.hides is not None:
            return self._say(self.home.hides, {})
        own = self.home.issuer
        places = {name: f"{own}/{name}" for name in ("authorize", "token", "register")}
        told = {
            "issuer": own,
            "authorization_endpoint": self.home.elsewhere or places["authorize"],
            "token_endpoint": places["token"],
            "registration_endpoint": places["register"],
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "scopes_supported": [*_SCOPES, "offline_access"],
        }
        return self._say(200, told)

    def do_POST(self) -> None:
        self.home.asked.append(self.path)
        body = self._body()
        if self.path == "/register":
            told = json.loads(body)
            return self._say(201, {**told, "client_id": "c-1", "client_secret": "cs-secret"})
        given = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        basic = self.headers.get("authorization", "").removeprefix("Basic ")
        self.home.forms.append((self.path, given, base64.b64decode(basic).decode()))
        if self.path == "/idp":
            self.home.answers.wait(60)
            return self._say(200, {"access_token": "a grant", "token_type": "N_A"})
        return self._say(*self.home.token(given))


class _Resource(_Authorization):
    def do_GET(self) -> None:
        if self.home.alone:
            return super().do_GET()
        if self.path != "/prm":
            return self._say(405, {})
        told = {"resource": f"{self.home.url}/mcp", "authorization_servers": [self.home.issuer]}
        return self._say(200, {**told, "scopes_supported": _SCOPES})

    def do_POST(self) -> None:
        if self.home.alone and self.path != "/mcp":
            return super().do_POST()
        message = json.loads(self._body())
        method = message.get("method", "")
        refusal = self.home.allows(self.headers.get("authorization"), method)
        if refusal is not None:
            return self._say(refusal[0], {}, www_authenticate=refusal[1])
        if "id" not in message:
            return self._say(202, None)
        if method == "tools/call" and self.home.together is not None:
            self.home.together.wait(30)
        told: list[dict[str, Any]] = []
        answer(message, told.append)
        return self._say(200, told[-1])


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Say nothing of a client that went away."""


@contextmanager
def standing(host: str) -> Iterator[OAuthServer]:
    """Both servers, on ports of this machine."""
    home = OAuthServer()
    found = []
    for kind in (_Resource, _Authorization):
        handler = type(kind.__name__, (kind,), {"home": home})
        server = _Server((host, 0), handler)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        found.append(server)
    home.url, home.issuer = (f"http://{host}:{server.server_port}" for server in found)
    try:
        yield home
    finally:
        for server in found:
            server.shutdown()
            server.server_close()
