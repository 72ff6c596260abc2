"""Tools that send something, or keep what comes."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from agents.tools.base import CallContext
from agents.tools.calls import ToolError
from agents.toolsets.builtin.files.root import MAX_FILE_BYTES, Root
from agents.toolsets.builtin.files.writing import digest_of, put
from agents.toolsets.builtin.offer import Short, offer
from agents.toolsets.builtin.web.home import Web
from agents.toolsets.builtin.web.markup import Url
from agents.toolsets.builtin.web.pages import decoded
from celery_agents.contracts.base import TrustedJson

#: They are the connection's, or say who asks.
_REFUSED = {
    *("host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"),
    *("authorization", "proxy-authorization", "cookie", "idempotency-key", "expect"),
}
_HEADER, _VALUE = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+"), re.compile(r"[!-~](?:[\t -~]*[!-~])?|")
_TOLD = ("content-type", "location", "retry-after", "etag")
_MAX_BODY = 1_000_000


@dataclass(frozen=True, slots=True)
class Downloads:
    """The web, and the folder where its files are kept."""

    web: Web
    root: Root


@offer(
    {"method": "POST", "url": "https://example.com/echo", "body": {"a": 1}},
    "httpx2",
    home="web",
    effects="effect",
    approve="ask",
    untrusted=True,
)
async def http_request(
    web: Web,
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
    url: Url,
    body: TrustedJson = None,
    headers: dict[Short, Short] | None = None,
    secret: Short | None = None,
    *,
    call: CallContext,
) -> dict[str, Any]:
    """Sends a request, with a body of JSON or text; the key of the call is its Idempotency-Key.

    secret: the name of one that the configuration lets go to that host.
    """
    sent = {name.lower(): value for name, value in (headers or {}).items()}
    for name, value in sent.items():
        if not (_HEADER.fullmatch(name) and _VALUE.fullmatch(value)):
            raise ToolError(f"{name[:80]!r} is no header, or has no value of printable ASCII.")
    if refused := sorted(_REFUSED & sent.keys()):
        raise ToolError(f"{refused[0]} is not for you to say. A secret goes by its name.")
    content = b""
    if body is not None:
        content = (body if isinstance(body, str) else json.dumps(body)).encode()
        kind = "text/plain; charset=utf-8" if isinstance(body, str) else "application/json"
        sent.setdefault("content-type", kind)
    if len(content) > _MAX_BODY:
        raise ToolError(f"A body has up to {_MAX_BODY:,} bytes.")
    sent["idempotency-key"] = call.key
    reply = await web.ask(method, url, headers=sent, content=content, secret=secret)
    text = decoded(reply)
    known = {name: reply.headers[name] for name in _TOLD if name in reply.headers}
    return {"status": reply.status, "url": reply.url, "headers": known, "body": _told(text)}


@offer(
    {"url": "https://example.com/file.txt", "path": "in/file.txt"},
    "httpx2",
    home="downloads",
    effects="idempotent",
)
async def download_file(
    home: Downloads,
    url: Url,
    path: Annotated[str, Field(max_length=1_000)],
    expected_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None,
) -> dict[str, Any]:
    """Downloads a file into the folder of files; says its bytes, type and SHA-256."""
    reply = await home.web.get(url, most=MAX_FILE_BYTES)
    digest = digest_of(reply.body)
    if expected_sha256 not in {None, digest}:
        raise ToolError(f"The file at {reply.url} has the SHA-256 {digest}. Nothing was kept.")
    await home.web.clients.in_thread(_keep, home.root, path, reply.body)
    return {"path": path, "bytes": len(reply.body), "type": reply.kind, "sha256": digest}


def _keep(root: Root, path: str, data: bytes) -> None:
    with root.locked(path, make=True) as spot:
        put(root, spot, data)


def _told(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


TOOLS = (http_request, download_file)
