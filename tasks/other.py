"""``agents.task``: a Celery task of any app, as a step."""

from __future__ import annotations

from celery import shared_task

from agents.values import digest
from app.execution.context import Step
from app.execution.others.tasks import OtherTasks
from app.execution.task import StepTask
from celery_agents import names
from celery_agents.contracts.flows.task import CeleryTask
from celery_agents.contracts.outcome import Answer


@shared_task(base=StepTask, name=names.TASK, request_type=CeleryTask)
async def task(step: Step, request: CeleryTask) -> Answer:
    """Run it and await its result; args [{"args": […], "kwargs": {…}}], kwargs: ``CeleryTask``."""
    runtime = step.runtime

    def make() -> OtherTasks:
        return OtherTasks(runtime.app, runtime.agents.registry, runtime.settings.secret)

    way = runtime.resource(OtherTasks, make).get(request.task, request.queue)
    return await way.run(request.arguments, step, digest(request.input))
