"""``agents.map``: agents, or a panel, over many inputs; and pages of inputs before it."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from agents.patterns import map as pattern
from agents.plan import Expand
from app.execution.context import Step
from app.execution.mapping.paging import over_pages
from app.execution.runtime import runtime_of
from app.execution.task import StepTask
from app.journal.paging import pages
from celery_agents import names
from celery_agents.contracts.base import id_of, tenant_of, whole_of
from celery_agents.contracts.mapping import PAGES_MAX, Map, page_in
from celery_agents.contracts.outcome import Outcome
from celery_agents.errors import IdInUseError


@shared_task(base=StepTask, name=names.MAP, request_type=Map)
def mapping(step: Step, request: Map) -> Expand | Outcome:
    """Ask agents about each input; args [inputs], kwargs: see ``Map``."""
    origin, wanted = step.claim.id, request
    if request.resumes is not None:
        step.lets_go = True  # of members of its pages, if the earlier run is gone meanwhile
        origin, earlier = step.earlier_map(request.resumes)
        known = Map.from_message(earlier["args"], earlier["kwargs"], known=True)
        wanted = pattern.resumed(request, known)
    if wanted.pages:
        return over_pages(step, wanted, origin, request.resumes)
    tally = step.tally()
    done = request.resumes is None or tally.total == wanted.count
    answered = {} if done else step.answers_of(request.resumes or "")
    return pattern.advance(wanted, tally, remaining_s=step.claim.left_s, answered=answered)


@shared_task(name=names.PUT_INPUTS, bind=True, acks_late=True)
def put_inputs(self: Any, run_id: str, number: int, told: dict[str, Any], tenant: str = "") -> int:
    """Add a page of a map's inputs, once; return how many it has."""
    whose, of = tenant_of(tenant), id_of(run_id)
    place = whole_of(number, "number", least=0, most=PAGES_MAX - 1)
    page = pages.new_page(whose, of, place, *page_in(told))
    runtime = runtime_of(self.app, self.request.hostname)
    if pages.add(runtime.journal.streams, page, place) != page.data["digest"]:
        raise IdInUseError.of(of)
    runtime.intake.forget([self.request.id])
    return len(page.data["inputs"])
