"""A model server for the desk that needs no key: OpenAI's chat completions, with fixed manners.

It stands in for a provider, over real HTTP: the first model refuses its first requests (429), the
officer asks for its tools one after the other. What it was asked is kept, to be looked at.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

#: So often the cheapest model says that it has too much to do.
REFUSALS = 3


class ModelServer:
    """The server, in threads of its own on loopback from ``with`` on."""

    def __init__(self) -> None:
        #: Bodies of requests, by model.
        self.asked: dict[str, list[str]] = {}
        self._refusals = REFUSALS
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.port = int(self._server.server_address[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, model: str, text: str) -> tuple[int, dict[str, Any]]:
        """The status and the body for one request."""
        with self._lock:
            self.asked.setdefault(model, []).append(text)
            if model == "swift" and self._refusals:
                self._refusals -= 1
                return 429, {"error": {"message": "too many requests", "type": "requests"}}
        body = json.loads(text)
        message = _acts(body["messages"]) if "tools" in body else _votes(body["messages"])
        stop = "tool_calls" if "tool_calls" in message else "stop"
        choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": stop}
        usage = {"prompt_tokens": len(text) // 4, "completion_tokens": 40}
        usage["total_tokens"] = sum(usage.values())
        head = {"id": "1", "object": "chat.completion", "created": 1, "model": model}
        return 200, {**head, "choices": [choice], "usage": usage}


def _votes(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """A ballot: gift cards are what fraud buys."""
    odd = "gift card" in json.dumps(messages[-1])
    ballot = {"option": "fraud" if odd else "fine", "confidence": 0.8, "reason": "what is bought"}
    return {"content": json.dumps(ballot)}


def _acts(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """The next call of a tool, or what was done in the end."""
    told = [m for m in messages if m["role"] == "tool"]
    asked = json.dumps(next(m for m in messages if m["role"] == "user"))
    card = next(word for word in ("c-1", "c-2", "c-3") if word in asked)
    calls: list[tuple[str, dict[str, Any]]] = [
        ("bank_look_up", {"card": card}),
        ("block_card", {"card": card, "why": "gift cards, and a country that is new"}),
        ("remember", {"text": f"A payment by {card} was fraud; what to do was asked."}),
    ]
    if len(told) >= len(calls):
        return {"content": f"{card} was looked at; {len(told)} calls were made."}
    name, arguments = calls[len(told)]
    function = {"name": name, "arguments": json.dumps(arguments)}
    call = {"id": f"call_{len(told)}", "type": "function", "function": function}
    return {"content": f"Next: {name}.", "tool_calls": [call]}


class _Handler(BaseHTTPRequestHandler):
    owner: ModelServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer a request to ``/MODEL/v1/chat/completions``."""
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        status, answer = self.owner.answer(self.path.split("/")[1], text)
        body = json.dumps(answer).encode()
        self.send_response(status)
        if status != 200:  # noqa: PLR2004 - a refusal
            self.send_header("Retry-After", "1")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
