"""Messages as nobody's producer makes them: right ones with parts of them replaced, at random."""

from __future__ import annotations

import base64
import json
import random
import uuid
import zlib
from collections.abc import Callable
from typing import Any

from kombu.transport.virtual import Message
from kombu.transport.virtual.base import Base64

from app.concurrency.garbage import no_collections
from app.messaging.envelope import MalformedError, check_task, read_envelope

TASKS = ["agents.ask", "agents.vote", "agents.map", "agents.cancel", "agents.status", "no.such"]
_TEXTS = ["", "x", "é\x00", "\ud800", "\x1b[31m", "../..", "*", "1" * 400, "a." * 2_000, "None"]
_DEEP = "(deep)"
_VALUES: list[Callable[[random.Random], Any]] = [
    lambda _: None,
    lambda rng: rng.choice([True, False]),
    lambda rng: rng.choice([0, -1, 10**9, 10**30, -(2**63), 2**31]),
    lambda rng: rng.choice([0.0, -0.5, 1e308]),
    lambda rng: rng.choice(_TEXTS),
    lambda rng: [value(rng) for _ in range(rng.randrange(4))],
    lambda rng: {rng.choice(_TEXTS): value(rng) for _ in range(rng.randrange(4))},
    lambda rng: {"__type__": rng.choice(["datetime", "bytes", "uuid", "x"]), "__value__": "x"},
    lambda _: _DEEP,
]


def value(rng: random.Random) -> Any:
    """A JSON value of any shape."""
    return rng.choice(_VALUES)(rng)


def _text(rng: random.Random, told: Any) -> bytes:
    """Its JSON, with lists in lists that no encoder would write."""
    depth = rng.choice([50, 500, 2_000, 20_000])
    deep = b"[" * depth + b"]" * depth
    return json.dumps(told).encode().replace(json.dumps(_DEEP).encode(), deep)


def message(rng: random.Random, task: str, args: Any, kwargs: Any) -> dict[str, Any]:
    """A message as Celery's producers write it."""
    body = [args, kwargs, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
    step_id = str(uuid.UUID(int=rng.getrandbits(128)))
    return {
        "body": body,
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {
            "lang": "py",
            "task": task,
            "id": step_id,
            "root_id": step_id,
            "parent_id": None,
            "retries": 0,
            "timelimit": [None, None],
            "eta": None,
            "expires": None,
            "argsrepr": "-",
            "kwargsrepr": "-",
            "origin": "me",
        },
        "properties": {
            "correlation_id": step_id,
            "reply_to": str(uuid.UUID(int=rng.getrandbits(128))),
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "agents"},
            "priority": 5,
            "body_encoding": "base64",
            "delivery_tag": str(uuid.UUID(int=rng.getrandbits(128))),
        },
    }


def raw_message(rng: random.Random) -> bytes:
    """The bytes of a message with up to three things wrong with it."""
    if rng.random() < 0.05:
        return rng.randbytes(rng.randrange(200))
    kwargs = {"agent": "noop"} if rng.random() < 0.5 else {"voters": [value(rng)]}
    made = message(rng, rng.choice(TASKS), [value(rng)], kwargs)
    for _ in range(rng.choice([0, 1, 1, 2, 3])):
        _spoil(rng, made)
    body = made.get("body")
    if rng.random() < 0.95:
        text = _text(rng, body)
        if rng.random() < 0.1:
            text = zlib.compress(text)
            headers = made.get("headers")
            if isinstance(headers, dict):
                headers["compression"] = rng.choice(["zlib", "application/x-gzip", "bzip2", 1])
        made["body"] = base64.b64encode(text).decode()
    raw = _text(rng, made)
    return raw[: rng.randrange(len(raw))] if rng.random() < 0.03 else raw


def _spoil(rng: random.Random, made: dict[str, Any]) -> None:
    """Replace, remove or add one thing at any level."""
    at: Any = made
    while isinstance(at, (dict, list)) and at:
        key = rng.choice(list(at)) if isinstance(at, dict) else rng.randrange(len(at))
        if not isinstance(at[key], (dict, list)) or not at[key] or rng.random() < 0.3:
            break
        at = at[key]
    else:
        return
    how = rng.random()
    if how < 0.7:
        at[key] = value(rng)
    elif how < 0.85:
        del at[key]
    elif isinstance(at, dict):
        at[rng.choice(_TEXTS)] = value(rng)


#: As the workers' own.
LIMIT = 4 * 1024 * 1024


class _Channel:
    """Decodes bodies as kombu's virtual channels do."""

    body_encoding = "base64"

    def decode_body(self, body: Any, encoding: str | None = None) -> Any:
        return Base64().decode(body) if encoding else body


def take(raw: bytes) -> str:
    """Return ``task``, or the cause of its dead letter.

    No garbage is collected meanwhile: in the depth of lists in lists its finalizers would have no
    stack left, and that would be an error of the test.
    """
    with no_collections():
        return _taken(raw)


def _taken(raw: bytes) -> str:
    try:
        envelope = read_envelope(raw, LIMIT)
        envelope["properties"]["delivery_tag"] = "t"  # as the transport does
        made = Message(envelope, channel=_Channel(), accept={"application/json"})
        check_task(made)
    except MalformedError as error:
        return error.cause
    return "task"
