"""Traces: ids that follow from runs, steps and calls, so nothing is handed on for them.

A trace has the run's id hashed, and not the id itself: ids of runs begin with the time, and a
sampler that compares a trace id with its ratio would take all of them or none. A caller's own
trace is written as W3C has it, ``00-<trace id>-<span id>-<flags>``
(https://www.w3.org/TR/trace-context/#traceparent-header).
"""

from __future__ import annotations

import re
import sys
from hashlib import blake2b
from typing import NamedTuple

_TRACE_BYTES, _SPAN_BYTES = 16, 8
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
#: Version 0 has nothing behind its flags, and 255 is none.
_VERSION, _NO_VERSION = "00", "ff"
_SAMPLED = 1
#: Characters of a header; those of version 0 have 55.
_LONGEST = 200


class TraceParent(NamedTuple):
    """A span that others may hang below, and whether its trace is kept."""

    trace_id: int
    span_id: int
    sampled: bool = True

    def __str__(self) -> str:
        """As a header has it."""
        return f"{_VERSION}-{self.trace_id:032x}-{self.span_id:016x}-{int(self.sampled):02x}"

    @classmethod
    def read(cls, text: object) -> TraceParent | None:
        """Read a header; None where it is none, as the standard wants it."""
        if not isinstance(text, str) or len(text) > _LONGEST:
            return None
        found = _TRACEPARENT.fullmatch(text)
        if found is None or found[1] == _NO_VERSION or (found[1] == _VERSION and found[5]):
            return None
        trace_id, span_id = int(found[2], 16), int(found[3], 16)
        if not (trace_id and span_id):
            return None
        return cls(trace_id, span_id, bool(int(found[4], 16) & _SAMPLED))


def trace_of(run_id: str, caller: TraceParent | None = None) -> int:
    """The trace of a run: its caller's, else one of its own."""
    return _hashed(run_id, _TRACE_BYTES) if caller is None else caller.trace_id


def span_of(step_id: str) -> int:
    """The span of a step."""
    return _hashed(step_id, _SPAN_BYTES)


def span_of_call(step_id: str, token: int, seq: int) -> int:
    """The span of a step's call: of that claim, in that place."""
    return _hashed(f"{step_id}/{token}/{seq}", _SPAN_BYTES)


def caller(header: str | None) -> str | None:
    """The span of a request: the one under way, else what its header says, where that is one."""
    return current() or (header if TraceParent.read(header) is not None else None)


def _hashed(text: str, size: int) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=size).digest(), "big") or 1


def current() -> str | None:
    """The span under way in this thread, as a header; None without one.

    A program that has spans has OpenTelemetry's API loaded, so nothing is imported here.
    """
    api = sys.modules.get("opentelemetry.trace")
    if api is None:
        return None
    span = api.get_current_span().get_span_context()
    if not span.is_valid:
        return None
    return str(TraceParent(span.trace_id, span.span_id, bool(span.trace_flags & _SAMPLED)))
