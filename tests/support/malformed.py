"""Messages as Celery's producers write them, and twenty kinds that none of them writes."""

from __future__ import annotations

import base64
import json
import random
import zlib
from collections.abc import Callable
from typing import Any

from celery_agents import names

#: The workers' ``message_limit_bytes`` for which the oversized ones are too large.
LIMIT_BYTES = 65_536
#: Makes one message, another with each draw.
Make = Callable[[random.Random], bytes]


def envelope(body: object = ([], {}, None), **changes: Any) -> dict[str, Any]:
    """A message as Celery's producers write it."""
    headers = {"task": names.ASK, "id": "1", "lang": "py", **changes.pop("headers", {})}
    properties = {
        "delivery_tag": "t",
        "delivery_info": {"exchange": "", "routing_key": "agents"},
        "body_encoding": "base64",
        **changes.pop("properties", {}),
    }
    return {
        "body": base64.b64encode(json.dumps(body).encode()).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": headers,
        "properties": properties,
        **changes,
    }


def compressed(data: bytes, name: object = "application/x-gzip") -> dict[str, Any]:
    """A message that says that its body is compressed."""
    body = base64.b64encode(data).decode()
    return envelope(headers={"compression": name}) | {"body": body}


def _bytes(made: object) -> bytes:
    return json.dumps(made).encode()


def _whole(rng: random.Random) -> dict[str, Any]:
    """A good message, each time another one."""
    ids = {"id": f"{rng.getrandbits(64):x}"}
    return envelope([[_text(rng)], {"agent": "noop"}, None], headers=ids)


def _text(rng: random.Random) -> str:
    return "".join(chr(rng.randrange(1, 0xD800)) for _ in range(rng.randrange(1, 40)))


def _without(part: str) -> Make:
    def make(rng: random.Random) -> bytes:
        made = _whole(rng)
        del made[part]
        return _bytes(made)

    return make


def _with(part: str, value: Callable[[random.Random], object]) -> Make:
    return lambda rng: _bytes(_whole(rng) | {part: value(rng)})


def _body(made: Callable[[random.Random], object]) -> Make:
    return lambda rng: _bytes(_whole(rng) | {"body": envelope(made(rng))["body"]})


def _header(name: str, value: Callable[[random.Random], object]) -> Make:
    def make(rng: random.Random) -> bytes:
        made = _whole(rng)
        made["headers"][name] = value(rng)
        return _bytes(made)

    return make


def _cut(rng: random.Random) -> bytes:
    made = _bytes(_whole(rng))
    return made[: rng.randrange(1, len(made))]


def _broken_zlib(rng: random.Random) -> bytes:
    data = zlib.compress(_text(rng).encode() * 5)
    return _bytes(compressed(rng.choice([data[:-6], b"x" + data, b""])))


def _no_list(rng: random.Random) -> object:
    return rng.choice([_text(rng), {"args": [], "kwargs": {}}, rng.random(), None])


#: Each kind, with the cause that its dead letters get.
KINDS: dict[str, tuple[Make, str]] = {
    "noise": (lambda rng: b"\xff" + rng.randbytes(rng.randrange(1, 400)), "not_json"),
    "text": (lambda rng: f"no json {_text(rng)}".encode(), "not_json"),
    "cut short": (_cut, "not_json"),
    "deep": (lambda rng: b"[" * rng.randrange(5_000, 50_000), "not_json"),
    "list": (lambda rng: _bytes([_whole(rng)] * rng.randrange(3)), "not_an_object"),
    "number": (lambda rng: _bytes(rng.randrange(10**12)), "not_an_object"),
    "other object": (lambda rng: _bytes({_text(rng): _text(rng)}), "bad_envelope"),
    "no headers": (_without("headers"), "bad_envelope"),
    "no properties": (_without("properties"), "bad_envelope"),
    "no body": (_without("body"), "bad_envelope"),
    "headers a list": (_with("headers", lambda rng: [_text(rng)]), "bad_envelope"),
    "bad base64": (_with("body", lambda rng: f"%{_text(rng)}"), "bad_base64"),
    "not compressed": (_broken_zlib, "bad_compression"),
    "oversized": (lambda rng: rng.randbytes(LIMIT_BYTES + rng.randrange(1, 9_000)), "oversized"),
    "content type": (_with("content-type", lambda rng: f"made/{_text(rng)}"), "unreadable_body"),
    "pickle": (
        _with("content-type", lambda _: "application/x-python-serialize"),
        "unreadable_body",
    ),
    "body no list": (_body(_no_list), "bad_body"),
    "kwargs a list": (_body(lambda rng: [[], [_text(rng)], None]), "bad_body"),
    "task a list": (_header("task", lambda rng: [_text(rng)]), "bad_headers"),
    "unknown task": (_header("task", lambda rng: f"made.up.{rng.random()}"), "unknown_task"),
}
