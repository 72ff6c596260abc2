"""``agents.flow``: an async function that lasts."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from agents.plan import Expand
from app.execution.context import Step
from app.execution.flows import flow_step
from app.execution.forks import taken_of
from app.execution.runtime import runtime_of
from app.execution.task import StepTask
from app.maintenance.acts import recorded
from celery_agents import names
from celery_agents.contracts.ask import StepOptions
from celery_agents.contracts.base import PLACES_MAX, id_of, name_of, tenant_of, whole_of
from celery_agents.contracts.flows.actors import ACTOR
from celery_agents.contracts.flows.flow import Flow, Forked
from celery_agents.contracts.outcome import Outcome
from celery_agents.errors import InvalidPayloadError
from celery_agents.values import problem

#: Lines of one page of a history.
PAGE_ROWS = 500


class FlowStepTask(StepTask):
    """The flow's task. Actors are none that anybody starts: they are told something."""

    abstract = True

    def parse(self, args: Any, kwargs: Any, *, known: bool = False) -> StepOptions:
        """As that of all steps; an actor's row was made by the service itself."""
        request = super().parse(args, kwargs, known=known)
        if not known and isinstance(request, Flow) and request.flow.startswith(ACTOR):
            told = request.flow.removeprefix(ACTOR)
            raise InvalidPayloadError(f"{told} is an actor: tell it something, and it is there.")
        return request

    def is_brief(self, request: Any) -> bool:  # noqa: ARG002
        """Return whether its code waits in fibers alone: what may take long has a thread there."""
        return True


@shared_task(base=FlowStepTask, name=names.FLOW, request_type=Flow)
def flow(step: Step, request: Flow) -> Expand | Outcome:
    """Let a flow go on; args [input], kwargs: see ``Flow``."""
    return flow_step(step, request)


@shared_task(name=names.SIGNAL, bind=True, acks_late=True)
def signal(
    self: Any, run_id: str, name: str, value: Any = None, key: str = "", *, tenant: Any = None
) -> str:
    """Tell a flow something; say what became of that. Its message may come twice."""
    if (wrong := problem(value)) is not None:
        raise InvalidPayloadError(f"value: {wrong}.")
    run_id, known = id_of(run_id), id_of(key or self.request.id)
    told, whose = (name_of(name, "signal"), value), None if tenant is None else tenant_of(tenant)
    runtime = recorded(self, "run.signal", run_id, name=told[0], key=known)
    journal = runtime.journal
    reply, after = journal.flows.signal(run_id, told, known, journal.rules, tenant=whose)
    runtime.follow(after)
    runtime.intake.forget([self.request.id])
    return reply


@shared_task(name=names.ORIGIN, bind=True)
def origin(self: Any, run_id: str, after: str | None = None) -> dict[str, Any]:
    """Say which flow a run is of, and whose; a command that is not in its history is refused."""
    runtime = runtime_of(self.app, self.request.hostname)
    found, _, _ = taken_of(runtime.journal.flows, Forked(of=id_of(run_id), after=after))
    return {"flow": found.payload["kwargs"]["flow"], "tenant": found.tenant}


@shared_task(name=names.HISTORY, bind=True)
def history(self: Any, run_id: str, since: int = 0) -> list[dict[str, Any]]:
    """A page of what a flow was told and asked for, from a line on."""
    first = whole_of(since, "since", least=0, most=PLACES_MAX)
    runtime = runtime_of(self.app, self.request.hostname)
    return runtime.journal.flows.page(id_of(run_id), first, PAGE_ROWS)
