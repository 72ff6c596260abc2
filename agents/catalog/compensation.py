"""The choice of an undoing agent: the step's own, else that of the agent that did the step."""

from __future__ import annotations

from agents.catalog.registry import Registry
from agents.plan import Expand
from celery_agents.contracts.ask import Ask
from celery_agents.contracts.compensation import Compensated, Compensation
from celery_agents.contracts.outcome import Answer, Outcome


def check(registry: Registry, request: Ask) -> None:
    """Refuse a step that could not be undone, before it is done.

    Raises:
        UnknownAgentError: nobody of the name that the step gives.
    """
    if request.compensation:
        registry.get(request.compensation.agent)


def undoable(
    registry: Registry, request: Ask, answer: Answer | Outcome | Expand
) -> Answer | Outcome | Expand:
    """Return the answer with its compensation, if any; a backup's is undone by the backup's.

    An agent to which the conversation was handed over has a step of its own, which says so itself.
    """
    if isinstance(answer, Expand):  # not answered yet
        return answer
    by = answer.agent if isinstance(answer, Outcome) else None
    if by is not None and registry.may_hand_over(request.agent, by):
        by = None
    found = compensation_of(registry, by or request.agent, request.compensation)
    if found is None and by is not None and _routes_to(registry, request.agent, by):
        found = compensation_of(registry, request.agent, request.compensation)
    if found is None:
        return answer
    if isinstance(answer, Answer):
        answer = Outcome.of(answer)
    return answer.model_copy(update={"compensation": found}) if answer.ok else answer


def _routes_to(registry: Registry, agent: str, by: str) -> bool:
    """Return whether ``by`` answers as one of those that a router has."""
    router = registry.find(agent)
    return router is not None and by in {one.name for one in registry.deployments_of(router)}


def compensation_of(registry: Registry, agent: str, own: Compensated) -> Compensation | None:
    """Return the agent that undoes a step of ``agent``; ``own`` is the step's own wish."""
    if own is not None:
        return own or None
    known = registry.find(agent)
    return None if known is None else known.compensation
