"""Bodies that are too large or too slow are refused, whoever reads them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from fastapi import FastAPI, Request
from starlette.responses import StreamingResponse

from api import problems
from api.bounds import BodyBound

MOST = 100


async def parsed(body: dict[str, Any]) -> dict[str, int]:
    return {"fields": len(body)}


async def raw(request: Request) -> dict[str, int]:
    return {"bytes": len(await request.body())}


async def streamed() -> StreamingResponse:
    async def parts() -> Any:
        yield b"a"
        await asyncio.sleep(0.2)  # longer than a body may take
        yield b"b"

    return StreamingResponse(parts())


def served(
    path: str, parts: Sequence[bytes | None], *, method: str = "POST", within_s: float = 60.0
) -> Any:
    """The status, headers and body of a request whose body comes so; None: it stops for ever."""
    app = FastAPI()
    problems.install(app, lambda _: set(), lambda _, error: problems.response(error))
    app.post("/parsed")(parsed)
    app.post("/raw")(raw)
    app.get("/streamed")(streamed)
    app.add_middleware(
        BodyBound, most_bytes=MOST, told=lambda _, e: problems.response(e), within_s=within_s
    )
    sent: list[Any] = []
    coming = iter(parts)

    async def receive() -> Any:
        part = next(coming, None)
        if part is None:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": part, "more_body": part != b""}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    asyncio.run(app(scope, receive, send))
    body = b"".join(m["body"] for m in sent[1:])
    return sent[0]["status"], dict(sent[0]["headers"]), body


@pytest.mark.parametrize("path", ["/parsed", "/raw"])
def test_one_that_is_too_large_without_saying_so(path: str) -> None:
    status, _, body = served(path, [b'{"a": "', b"x" * MOST, b'"}', b""])
    assert (status, json.loads(body)["kind"]) == (413, "payload_too_large")


@pytest.mark.parametrize("path", ["/parsed", "/raw"])
def test_one_that_stops(path: str) -> None:
    status, headers, body = served(path, [b'{"a": "', None], within_s=0.1)
    assert (status, json.loads(body)["kind"]) == (408, "too_slow")
    assert headers[b"connection"] == b"close"


def test_one_that_is_neither() -> None:
    assert served("/parsed", [b"{}", b""])[0] == 200


def test_an_answer_may_take_as_long_as_it_likes() -> None:
    status, headers, body = served("/streamed", [b""], method="GET", within_s=0.1)
    assert (status, body) == (200, b"ab")
    assert headers[b"cache-control"] == b"no-store"
