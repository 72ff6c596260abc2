"""Messages of steps as a worker receives them, and what they leave in the journal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import select, update

from app.execution.context import Step
from app.execution.runtime import Runtime
from app.execution.task import StepTask
from app.journal.schema.models import Step as StepRow
from celery_agents import names
from celery_agents.contracts.ask import StepOptions
from celery_agents.contracts.outcome import Answer, Usage
from celery_agents.errors import (
    ProviderUnavailableError,
)

Run = Callable[[Step, StepOptions], Any]
SOON = 20


@contextmanager
def message(task: StepTask, step_id: str, **request: Any) -> Iterator[None]:
    """The message that a worker has just received."""
    task.push_request(
        id=step_id, called_directly=False, hostname="worker@here", is_eager=False, **request
    )
    try:
        yield
    finally:
        task.pop_request()


def receive(task: StepTask, step_id: str, *args: Any, **kwargs: Any) -> Any:
    with message(task, step_id, args=args, kwargs=kwargs, delivery_info={"routing_key": "q"}):
        return task(*args, **kwargs)


def woken(task: StepTask, step_id: str) -> Any:
    with message(task, step_id, args=(), kwargs={}, **{names.JOURNALED: 1}):
        return task()


def row(runtime: Runtime, step_id: str) -> Any:
    return runtime.journal.read(
        lambda c: c.execute(select(StepRow.__table__).where(StepRow.id == step_id)).first()
    )


def due(runtime: Runtime, step_id: str) -> str:
    """Let the wait of a step be over."""
    past = update(StepRow).where(StepRow.id == step_id).values(ready_at=0)
    runtime.journal.transaction(lambda c: c.execute(past))
    return step_id


async def shout(step: Step, request: StepOptions) -> Answer:
    return Answer(value=str(request.input).upper(), usage=Usage(calls=1))


def flaky(after_s: float | None = None) -> Run:
    async def flaky(step: Step, request: StepOptions) -> str:
        if step.attempt == 1:
            details = {} if after_s is None else {"retry_after_s": after_s}
            raise ProviderUnavailableError("down", details)
        return "at last"

    return flaky
