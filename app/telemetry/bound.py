"""The step that code runs for, or the request that it answers, as its log lines name it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, NamedTuple

from app.telemetry.newest import Newest
from celery_agents.traces import TraceParent, span_of, trace_of


class BoundStep(NamedTuple):
    """A step under way. Its trace is its caller's or of its run, its span of its id."""

    run_id: str
    step_id: str
    agent: str | None
    attempt: int
    caller: TraceParent | None = None

    def fields(self) -> dict[str, str | int | None]:
        """Its fields of a line."""
        told = self._asdict()
        span = TraceParent(trace_of(self.run_id, told.pop("caller")), span_of(self.step_id))
        return {**told, **fields_of(span)}


def fields_of(span: TraceParent) -> dict[str, str]:
    """The fields of a line that say in which trace it was written, and below which span."""
    return {"trace_id": f"{span.trace_id:032x}", "span_id": f"{span.span_id:016x}"}


#: Of this thread, fiber or task: set where a step begins, so that whatever it calls has it too.
bound: ContextVar[BoundStep | None] = ContextVar("agents_bound", default=None)
#: The span of who asks the API just now, as the request says it.
asking: ContextVar[TraceParent | None] = ContextVar("agents_asking", default=None)
#: Of steps that this process has lately claimed or ended, the fields of Celery's lines of them,
#: which it writes when their code is done, and knows by their ids.
lately = Newest[dict[str, Any]](1_000)


def ends_as(step_id: str, state: str | None, error_kind: str | None) -> None:
    """Have Celery's line of a step's end say how it ended."""
    told = {"state": state, "error_kind": error_kind}
    known = lately.get(step_id) or {}
    lately.put(step_id, known | {name: text for name, text in told.items() if text is not None})
