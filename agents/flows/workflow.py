"""The built-in flow that runs a workflow: each step begins when those before it have ended."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agents.flows.run import FlowContext
from agents.flows.shares import Shares
from celery_agents.contracts.flows.workflow import WORKFLOW, Workflow, WorkflowStep
from celery_agents.errors import AgentsError
from celery_agents.flow import flow


@dataclass(frozen=True, slots=True)
class _End:
    """The end of a step: a value, an error, or that it was not to begin."""

    value: Any = None
    error: AgentsError | None = None
    skipped: bool = False

    @property
    def ok(self) -> bool:
        return self.error is None and not self.skipped


_Ends = Mapping[str, "asyncio.Task[_End]"]


@flow(name=WORKFLOW)
async def workflow(run: FlowContext, told: Any) -> Any:
    """Run the steps; what does not need one that failed is run all the same.

    Raises:
        AgentsError: that of the first step, in the order of the workflow, that failed.
    """
    plan = Workflow.model_validate(told)
    ends: dict[str, asyncio.Task[_End]] = {}
    resources = Shares(plan.resources)
    for step in plan.steps:
        ends[step.key] = asyncio.create_task(_ended(run, step, ends, resources))
    found = {step.key: await ends[step.key] for step in plan.steps}
    for step in plan.steps:
        error = found[step.key].error
        if error is not None and not step.aside:
            raise error
    if plan.result is None:
        return found[plan.steps[-1].key].value if plan.steps else None
    return _value(plan.result, found)


async def _ended(run: FlowContext, step: WorkflowStep, ends: _Ends, shares: Shares) -> _End:
    before = {key: await ends[key] for key in step.waits_for}
    if step.on == "failure":
        begins = any(end.error is not None for end in before.values())
    else:
        begins = all(end.ok for end in before.values())
    if not begins:
        return _End(skipped=True)
    args = [*step.args]
    if step.on == "failure" and not step.alone:
        args.insert(0, run.id)
    elif step.takes is not None:
        args.insert(0, _value(step.takes, before))
    await shares.take(step)
    try:
        told = {"task": step.task, "args": args, "kwargs": step.kwargs}
        return _End(await run.task(told | {"options": {"queue": step.queue}}, key=step.key))
    except AgentsError as error:
        return _End(error=error)
    finally:
        shares.give_back(step)


def _value(source: Any, ends: Mapping[str, _End]) -> Any:
    """The results that a source names, in its form."""
    if isinstance(source, str):
        return ends[source].value
    return [_value(one, ends) for one in source]
