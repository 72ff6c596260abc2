"""What no client in its right mind sends, to each route: a clear refusal, no error of ours.

schemathesis asks what the description of the API allows, and a little beside it. This is what it
does not come upon: JSON too deep, or no text; numbers that no database has; halves of characters.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from api.application import create_api
from app.access.permissions import Role
from app.settings import Settings
from tests.integration.harness import FAST, Stack
from tests.support.api import Asked, in_process, made_key, settings
from tests.support.drawn import in_turn

pytestmark = pytest.mark.databases("postgres")

ASK = {"task": "ask", "agent": "noop", "input": 1}
CHAT: Any = {"role": "user", "content": "hello"}
#: Bodies that are right, by their routes.
BODIES: dict[str, dict[str, Any]] = {
    "/tasks": ASK,
    "/tasks/{run_id}/approve": {"choice": True, "key": "k"},
    "/tasks/{run_id}/signals": {"name": "a", "value": 1, "id": "i"},
    "/tasks/{run_id}/fork": {"after": "a", "version": 1, "priority": 1},
    "/agents": {"name": "critic", "entry": {"kind": "openai", "model": "m"}},
    "/schedules": {"name": "s", "every_s": 3600, "run": ASK},
    "/streams/{name}": {"events": [{"kind": "paid", "key": "k", "data": {}}], "expected": 0},
    "/topics/{name}": {"body": 1, "priority": 1, "key": "k"},
    "/subscriptions": {"name": "x", "of": "order/*", "agent": "noop"},
    "/sessions": {"name": "a", "copy_as": "b", "upto": 1},
    "/keys": {"name": "k", "role": "readonly", "agents": ["a"], "expires_s": 1, "runs_per_s": 1},
    "/keys/{key_id}/rotate": {"hours": 1},
    "/v1/chat/completions": {"model": "noop", "messages": [CHAT], "response_format": None},
    "/v1/responses": {"model": "noop", "input": "a", "conversation": "c", "instructions": "i"},
    "/mcp": {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}},
}
DEEP = 100_000
#: Whole bodies.
RAW = [
    b"",
    b"\xff\xfe{\x00}\x00",
    b'{"input": "\xff"}',
    b'{"input": "\xed\xa0\x80"}',
    b"[" * DEEP,
    b"[" * DEEP + b"]" * DEEP,
    b'{"input":' * DEEP + b"1" + b"}" * DEEP,
    b"9" * 10_000,
    b"NaN",
    b"null",
    b'"text"',
    b"[1]",
    b'{"": 1, "\\u0000": 2, "a": 1, "a": 2}',
    b"{" + b",".join(b'"k%d": 0' % n for n in range(20_000)) + b"}",
    b'{"a": 1} trailing',
]
#: Values of a field, as JSON.
VALUES = [
    '"\\u0000"',
    '"\\ud800"',
    '"' + "x" * 100_000 + '"',
    '"\\u202e\\u0007 \\r\\n"',
    "9" * 5_000,
    "-" + "9" * 30,
    "1e400",
    "-1e308",
    "1e-400",
    "0.1",
    "NaN",
    "-Infinity",
    "null",
    "true",
    "[]",
    "{}",
    '{"$enc": "x:y"}',
    '{"__type__": "datetime", "__value__": "x"}',
    "[" * 3_000 + "]" * 3_000,
    '{"a":' * 400 + "1" + "}" * 400,
    "[" + ",".join(["{}"] * 5_000) + "]",
]
#: No text of a database, none that is UTF-8, and no number of one: each field of its own may let
#: one through to where it is written.
SHARP = VALUES[:2] + VALUES[5:6]
#: Names of fields that no body has: they are refused, or left out, whatever their values are.
UNKNOWN = ("\ud800", "\u0000", "__proto__")
#: Values in an address, quoted.
WORDS = [
    *("", "%00", "%FF", "%ED%A0%80", "%F0%9F%98%80", "..", "%2e%2e%2f", "%2F", "%0d%0aa:b"),
    *("-1", "0", "1e309", "NaN", "9" * 400, "2147483648", "9223372036854775808", "0x10", "1_0"),
    *("%D9%A3", "'%22--", "*", "%25", "x" * 3_000, "null", "true"),
]
#: Parameters that many routes have.
COMMON = {"tenant", "limit"}
#: Values of headers.
HEADERS = [b"\xff\xfe", b"\xc2\xb2", b"-1", b"9" * 300, b"x" * 5_000, b"wait=9999999", b"0-0", b","]
NAMED = ["prefer", "idempotency-key", "last-event-id", "agents-webhook", "traceparent"]
#: Of a kind that may be refused for a while: the journal, Redis and a worker are there.
SERVED = {200, 201, 202, 204, 303}


@pytest.fixture
def everywhere(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Asked]:
    """An admin of all tenants; with a worker, on each database."""
    stack = Stack(redis_url, database_url, tmp_path, FAST)
    stack.worker()
    try:
        with in_process(settings(redis_url, database_url)) as http:
            yield Asked(http, made_key(database_url, Role.ADMIN, tenant=None))
    finally:
        stack.close()


@cache
def operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method.upper(), re.sub(r"{(\w+):\w+}", r"{\1}", path), told)
        for path, methods in create_api(Settings()).openapi()["paths"].items()
        for method, told in methods.items()
    ]


def named(told: dict[str, Any], kind: str) -> set[str]:
    """The parameters of an operation that stand in its address, or in its headers."""
    return {p["name"] for p in told.get("parameters", ()) if p["in"] == kind}


def check(told: Any, about: object) -> None:
    """It was served, or refused in the form that all errors have."""
    if told.status_code in SERVED or 300 <= told.status_code < 400:
        return
    assert 400 <= told.status_code < 500, (about, told.status_code, told.text[:500])
    if told.headers["content-type"].startswith("text/html"):
        return  # of a page
    body = told.json()
    assert {"kind", "error"} & {*body}, (about, body)
    assert len(told.content) < 10_000, about


def test_bodies(everywhere: Asked) -> None:
    run_id = everywhere.ask("noop", 1)["id"]
    posts = [path for method, path, _ in operations() if method == "POST"]
    turns = count()
    assert {*BODIES} <= {*posts}
    headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
    for turn, path in enumerate(path for path in posts if not path.startswith("/ui")):
        place = placed(path, run_id)
        for raw in in_turn(RAW, turn):
            told = everywhere("POST", place, content=raw, headers=headers)
            check(told, (path, raw[:40]))
        forms = ("text/plain", "application/json; charset=utf-16", "multipart/form-data")
        for form in in_turn(forms, turn, part=3):
            about = {**headers, "content-type": form}
            told = everywhere("POST", place, content=b"{}", headers=about)
            check(told, (path, form))
        body = BODIES.get(path, {})
        for field in [*body, "tenant", *in_turn(UNKNOWN, turn, part=3)]:
            rest = json.dumps({name: value for name, value in body.items() if name != field})
            values = in_turn(VALUES, next(turns), part=10)
            for value in values if field in UNKNOWN else dict.fromkeys((*SHARP, *values)):
                more = f"{json.dumps(field)}: {value}"
                whole = more if rest == "{}" else f"{more}, {rest[1:-1]}"
                told = everywhere("POST", place, content=f"{{{whole}}}".encode(), headers=headers)
                check(told, (path, field, value[:40]))


def placed(path: str, run_id: str) -> str:
    place = path.replace("{run_id}", run_id).replace("{step_id}", run_id)
    place = place.replace("{response_id}", f"resp_{run_id}").replace("{key_id}", "00000000")
    return place.replace("{name}", "order")


def test_addresses(everywhere: Asked) -> None:
    run_id = everywhere.ask("noop", 1)["id"]
    turns = defaultdict[str, Iterator[int]](count)
    served = [one for one in operations() if one[1] not in {"/mcp", "/ui/sign-in", "/ui/sign-out"}]
    places = Counter(name for _, _, told in served for name in named(told, "query"))
    for method, path, told in served:
        body: Any = {"json": BODIES.get(path, {})} if method == "POST" else {}
        for name in named(told, "query") - {"follow", "stream"}:
            # Read by the same code wherever they are: each of the words is tried at some of these,
            # all of them at the only one.
            part = min(12 if name in COMMON else 6, places[name])
            for word in in_turn(WORDS, next(turns[name]), part=part):
                check(
                    everywhere(method, f"{placed(path, run_id)}?{name}={word}", **body),
                    (method, path, name, word[:40]),
                )
        if "{" in path:
            for word in in_turn(WORDS, next(turns[""]), part=12):
                place = re.sub(r"{\w+}", word, path)
                check(everywhere(method, place, **body), (method, path, word[:40]))


def test_headers(everywhere: Asked) -> None:
    run_id = everywhere.ask("noop", 1)["id"]
    for turn, (method, path, told) in enumerate(operations()):
        if path == "/mcp" or method == "DELETE" or path.startswith("/ui"):
            continue
        body: Any = {"json": BODIES.get(path, {})} if method == "POST" else {}
        reads = named(told, "header") & {*NAMED}  # few do, and all see them
        for value in HEADERS if reads else in_turn(HEADERS, turn, part=8):
            headers: Any = dict.fromkeys(NAMED, value)
            check(
                everywhere(method, placed(path, run_id), headers=headers, **body),
                (method, path, value[:40]),
            )
