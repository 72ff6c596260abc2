"""The step that code runs for, as its log lines name it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import NamedTuple

from celery_agents.traces import span_of, trace_of


class BoundStep(NamedTuple):
    """A step under way. Its trace is that of its run, its span its own: both follow from ids."""

    run_id: str
    step_id: str
    agent: str | None
    attempt: int

    def fields(self) -> dict[str, str | int | None]:
        """Its fields of a line."""
        return {
            **self._asdict(),
            "trace_id": f"{trace_of(self.run_id):032x}",
            "span_id": f"{span_of(self.step_id):016x}",
        }


#: Of this thread, fiber or task: set where a step begins, so that whatever it calls has it too.
bound: ContextVar[BoundStep | None] = ContextVar("agents_bound", default=None)
