"""The pieces of a run as the events of a response, numbered from the begin of the run on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from api.openai.errors import failure
from api.openai.telling import (
    NextMessage,
    Piece,
    RunEnded,
    Said,
    ToolBegun,
    ToolEnded,
    VoidMessage,
)
from celery_agents.contracts.outcome import Outcome, State, Usage

Event = dict[str, Any]
_STATUS = {State.SUCCEEDED: "completed", State.CANCELLED: "cancelled"}
_OPEN = {"queued": "queued", State.READY: "queued"}
_ENDS = {"completed": "response.completed", "failed": "response.failed"}


def status_of(state: str) -> str:
    """The status of a response by the state of its run."""
    if state in _OPEN:
        return _OPEN[state]
    found = State(state)
    return _STATUS.get(found, "failed") if found.final else "in_progress"


@dataclass(frozen=True, slots=True)
class ToldRun:
    """A run as far as a response tells it."""

    run_id: str
    model: str
    created: int
    background: bool = True

    def response(
        self, status: str, outcome: Outcome | None = None, text: str = ""
    ) -> dict[str, Any]:
        """The response; with an outcome, of a run that has ended."""
        error = None
        if outcome is not None and not outcome.ok and status == "failed":
            code, message = failure(outcome)
            error = {"code": code, "message": message}
        output = [self.message(text)] if outcome is not None and outcome.ok else []
        return {
            "id": f"resp_{self.run_id}",
            "object": "response",
            "created_at": self.created,
            "status": status,
            "background": self.background,
            "error": error,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "model": self.model,
            "output": output,
            "parallel_tool_calls": False,
            "temperature": None,
            "tool_choice": "auto",
            "tools": [],
            "top_p": None,
            "usage": None if outcome is None else response_usage(outcome.usage),
        }

    def ended(self, outcome: Outcome, text: str) -> dict[str, Any]:
        """The response of a run that has ended."""
        return self.response(status_of(outcome.state), outcome, text)

    def message(self, text: str, status: str = "completed", number: int = 0) -> dict[str, Any]:
        """A message of it; the answer is number 0."""
        mark = f"_{number}" if number else ""
        return {
            "id": f"msg_{self.run_id}{mark}",
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": [] if status == "in_progress" else [_part(text)],
        }


def response_usage(usage: Usage) -> dict[str, Any]:
    """The cost of a run in tokens."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


@dataclass
class Speaking:
    """Makes the events of a response of the pieces of a run.

    The same pieces make the same events with the same numbers, so whoever reads them again after
    ``sequence_number`` goes on where he was. Where the run's events are not kept any more there are
    fewer: then the end alone follows, with the number after his.
    """

    told: ToldRun
    _number: int = 0
    _index: int = 0
    _messages: int = 0
    _text: str | None = None  # of the open message
    _place: int = 0  # its output_index
    _calls: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict)

    def begin(self) -> Iterator[Event]:
        """The events before the first piece."""
        yield self._event("response.created", response=self.told.response("queued"))
        yield self._event("response.in_progress", response=self.told.response("in_progress"))

    def say(self, piece: Piece) -> Iterator[Event]:
        """The events of a piece."""
        match piece:
            case Said(text):
                yield from self._said(text)
            case NextMessage():
                yield from self._close("completed")
            case VoidMessage():
                yield from self._close("incomplete")
            case ToolBegun():
                yield from self._begun(piece)
            case ToolEnded(call_id, failed):
                yield from self._ended(call_id, failed=failed)
            case RunEnded(outcome, text):
                yield from self._close("completed" if outcome.ok else "incomplete")
                response = self.told.ended(outcome, text)
                kind = _ENDS.get(response["status"], "response.failed")
                yield self._event(kind, response=response)

    def _event(self, kind: str, **fields: Any) -> Event:
        event = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return event

    @property
    def _where(self) -> dict[str, Any]:
        item = self.told.message("", number=self._messages)
        return {"item_id": item["id"], "output_index": self._place, "content_index": 0}

    def _item(self, kind: str, index: int, item: dict[str, Any]) -> Event:
        return self._event(f"response.output_item.{kind}", output_index=index, item=item)

    def _said(self, text: str) -> Iterator[Event]:
        if self._text is None:
            self._text, self._place = "", self._index
            self._index += 1
            item = self.told.message("", "in_progress", self._messages)
            yield self._item("added", self._place, item)
            yield self._event("response.content_part.added", **self._where, part=_part(""))
        self._text += text
        yield self._event("response.output_text.delta", **self._where, delta=text, logprobs=[])

    def _close(self, status: str) -> Iterator[Event]:
        if self._text is None:
            return
        text, self._text = self._text, None
        yield self._event("response.output_text.done", **self._where, text=text, logprobs=[])
        yield self._event("response.content_part.done", **self._where, part=_part(text))
        item = self.told.message(text, status, self._messages)
        yield self._item("done", self._place, item)
        self._messages += 1

    def _begun(self, call: ToolBegun) -> Iterator[Event]:
        item = {
            "id": f"mcp_{self.told.run_id}_{len(self._calls)}",
            "type": "mcp_call",
            "server_label": self.told.model,
            "name": call.name,
            "arguments": call.arguments,
            "status": "in_progress",
            "output": None,
            "error": None,
        }
        self._calls[call.call_id] = self._index, item
        yield self._item("added", self._index, item)
        where = {"output_index": self._index, "item_id": item["id"]}
        yield self._event("response.mcp_call.in_progress", **where)
        self._index += 1

    def _ended(self, call_id: str, *, failed: bool) -> Iterator[Event]:
        index, item = self._calls[call_id]
        status = "failed" if failed else "completed"
        where = {"output_index": index, "item_id": item["id"]}
        yield self._event(f"response.mcp_call.{status}", **where)
        yield self._item("done", index, {**item, "status": status})


def after(events: Iterator[Event], last: int) -> Iterator[Event]:
    """Events with higher numbers than ``last``; an end is always told."""
    for event in events:
        if event["sequence_number"] > last:
            yield event
        elif event["type"] in _ENDS.values():
            yield {**event, "sequence_number": last + 1}


def line(event: Event) -> str:
    """An event as it is sent."""
    return f"event: {event['type']}\ndata: {json.dumps(event, separators=(',', ':'))}\n\n"
