"""A map over pages: each claim expands the next one, while the members of those before run."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

from agents.patterns import map as pattern
from agents.plan import Expand
from app.execution.context import Step
from app.journal.paging import pages
from app.journal.queries import tallies
from celery_agents.contracts.mapping import Map
from celery_agents.contracts.outcome import Outcome


def over_pages(step: Step, request: Map, origin: str, resumes: str | None) -> Expand | Outcome:
    """The members of the next page, or the end.

    ``origin`` is the run whose inputs they are; ``resumes`` the one whose answers are taken over.
    """
    read, left_s, tenant = step.runtime.journal.read, step.claim.left_s, step.claim.tenant
    step.lets_go = True  # of members, where it ends before all of them have
    at = (
        pages.ExpandedPages()
        if step.claim.token == 1
        else read(lambda c: pages.placed(c, step.claim.id))
    )
    late = left_s is not None and left_s <= 0
    if at.start >= request.count or at.stopped or late:
        return pattern.ended(request, step.tally())
    number = bisect_right([*accumulate(request.pages)], at.start)
    inputs = read(lambda c: pages.inputs_of(c, tenant, origin, number))
    before = pattern.EarlierAnswers()
    if resumes is not None:
        passed = read(lambda c: pages.answered_before(c, resumes, at.start))
        within = (at.start, at.start + len(inputs))
        before = pattern.EarlierAnswers(
            passed, read(lambda c: tallies.answers(c, resumes, within=within))
        )
    return pattern.page_of(request, at.start, inputs, before, remaining_s=left_s)
