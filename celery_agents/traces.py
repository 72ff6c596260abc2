"""Traces: ids that follow from runs and steps, so nothing is handed on for them.

A trace has the run's id hashed, and not the id itself: ids of runs begin with the time, and a
sampler that compares a trace id with its ratio would take all of them or none.
"""

from __future__ import annotations

from hashlib import blake2b

_TRACE_BYTES, _SPAN_BYTES = 16, 8


def trace_of(run_id: str) -> int:
    """The trace of a run."""
    return _hashed(run_id, _TRACE_BYTES)


def span_of(step_id: str) -> int:
    """The span of a step."""
    return _hashed(step_id, _SPAN_BYTES)


def _hashed(text: str, size: int) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=size).digest(), "big") or 1
