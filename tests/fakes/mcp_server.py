"""A small MCP server (2025-11-25), of the standard library alone, so that it is there at once.

``mcp_server.py``: by standard input and output. ``mcp_server.py PORT``: by HTTP, with sessions, the
token ``TOKEN`` where that variable is set, and an authorization server that gives it to whoever
knows ``CLIENT_SECRET``. It lists the tools that the file ``TOOLS`` names, else all.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import time
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs

Send = Callable[[dict[str, Any]], None]
_NUMBER = {"type": "number"}


def _text(text: str, **more: Any) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}], **more}


def add(arguments: dict[str, Any], meta: dict[str, Any], tell: Callable[[int], None]) -> Any:
    """Adds two numbers."""
    total = arguments["a"] + arguments["b"]
    return _text(str(total), structuredContent={"result": total})


def slow(arguments: dict[str, Any], meta: dict[str, Any], tell: Callable[[int], None]) -> Any:
    """Takes its time, and says every tenth of a second that it goes on."""
    for step in range(int(arguments["seconds"] * 10)):
        time.sleep(0.1)
        if arguments.get("tells", True):
            tell(step)
    return _text("done")


def die(arguments: dict[str, Any], meta: dict[str, Any], tell: Callable[[int], None]) -> Any:
    """Ends the server."""
    os._exit(3)


def refuse(arguments: dict[str, Any], meta: dict[str, Any], tell: Callable[[int], None]) -> Any:
    """Fails, and quotes a secret."""
    return _text(f"no, {os.environ.get('TOKEN', '')}", isError=True, structuredContent={"a": 1})


def show(arguments: dict[str, Any], meta: dict[str, Any], tell: Callable[[int], None]) -> Any:
    """Shows what it knows: variables, the key of the call, a picture, and no promised structure."""
    known = {"env": dict(os.environ), "meta": meta, "pid": os.getpid(), "parent": os.getppid()}
    picture = {"type": "image", "mimeType": "image/png", "data": base64.b64encode(b"png").decode()}
    return {"content": [{"type": "text", "text": json.dumps(known)}, picture]}


def write(arguments: dict[str, Any], meta: dict[str, Any], tell: Callable[[int], None]) -> Any:
    """Writes down that it was called."""
    with Path(arguments["path"]).open("a") as file:
        print(meta.get("celery-agents/idempotency-key"), os.getpid(), file=file)
    return _text("written")


TOOLS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "add": (add, {"inputSchema": {"type": "object", "properties": {"a": _NUMBER, "b": _NUMBER}}}),
    "slow": (slow, {"inputSchema": {"type": "object", "properties": {"seconds": _NUMBER}}}),
    "write": (
        write,
        {"inputSchema": {"type": "object", "properties": {"path": {"type": "string"}}}},
    ),
    "die": (die, {"inputSchema": {"type": "object"}}),
    "refuse": (refuse, {"inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}}),
    "show.all": (
        show,
        {"inputSchema": {"type": "object"}, "outputSchema": {"type": "object", "required": ["x"]}},
    ),
}


def listed() -> list[dict[str, Any]]:
    file = os.environ.get("TOOLS")
    told = json.loads(Path(file).read_text()) if file else dict.fromkeys(TOOLS)
    return [
        {"name": n, "description": text or TOOLS[n][0].__doc__, **TOOLS[n][1]}
        for n, text in told.items()
    ]


def answer(message: dict[str, Any], send: Send) -> None:
    """Answer a request; notifications get no answer."""
    method, params = message.get("method"), message.get("params") or {}
    if "id" not in message:
        return
    told: dict[str, Any] = {"jsonrpc": "2.0", "id": message["id"]}

    def tell(step: int) -> None:
        token = params.get("_meta", {}).get("progressToken")
        progress = {"progressToken": token, "progress": step}
        send({"jsonrpc": "2.0", "method": "notifications/progress", "params": progress})

    if method == "initialize":
        told["result"] = {
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "fake", "version": "1"},
        }
    elif method == "tools/list":
        told["result"] = {"tools": listed()}
    elif method == "tools/call" and params["name"] in TOOLS:
        act, _ = TOOLS[params["name"]]
        told["result"] = act(params.get("arguments") or {}, params.get("_meta", {}), tell)
    else:
        told["error"] = {"code": -32601, "message": f"no {method}"}
    send(told)


def by_pipe() -> None:
    def send(message: dict[str, Any]) -> None:
        print(json.dumps(message), flush=True)

    for line in sys.stdin:
        answer(json.loads(line), send)
    if os.environ.get("STAYS"):
        time.sleep(3600)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    sessions: ClassVar[set[str]] = set()

    def log_message(self, *_: object) -> None: ...

    def do_DELETE(self) -> None:
        self._say(200, {})

    def do_GET(self) -> None:
        where = f"http://{self.headers['host']}"
        if self.path.startswith("/.well-known/oauth-protected-resource"):
            told = {"resource": f"{where}/mcp", "authorization_servers": [where]}
        elif self.path.startswith("/.well-known/oauth-authorization-server"):
            told = {
                "issuer": where,
                "authorization_endpoint": f"{where}/authorize",
                "token_endpoint": f"{where}/token",
                "response_types_supported": ["code"],
                "grant_types_supported": ["client_credentials"],
            }
        else:
            return self._say(405, {})
        return self._say(200, told)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/token":
            return self._token(body)
        token = os.environ.get("TOKEN")
        if token and self.headers.get("authorization") != f"Bearer {token}":
            return self._say(401, None, {"www-authenticate": "Bearer"})
        message = json.loads(body)
        session = self.headers.get("mcp-session-id")
        if message.get("method") == "initialize":
            session = uuid.uuid4().hex
            self.sessions.add(session)
        elif session not in self.sessions:
            return self._say(400 if session is None else 404, None)
        if "id" not in message:
            return self._say(202, None)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("mcp-session-id", session)
        self.send_header("connection", "close")
        self.end_headers()

        def send(told: dict[str, Any]) -> None:
            self.wfile.write(f"event: message\ndata: {json.dumps(told)}\n\n".encode())
            self.wfile.flush()

        answer(message, send)
        self.close_connection = True
        return None

    def _token(self, body: bytes) -> None:
        given = self.headers.get("authorization", "").removeprefix("Basic ")
        known = f"desk:{os.environ['CLIENT_SECRET']}"
        if base64.b64decode(given).decode() != known or b"client_credentials" not in body:
            return self._say(401, {"error": "invalid_client"})
        assert parse_qs(body.decode())["resource"]
        told = {"access_token": os.environ["TOKEN"], "token_type": "Bearer", "expires_in": 60}
        return self._say(200, told)

    def _say(self, status: int, told: Any, headers: dict[str, str] | None = None) -> None:
        body = b"" if told is None else json.dumps(told).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if told is not None:
            self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    if sys.argv[1:]:
        ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
    else:
        by_pipe()
