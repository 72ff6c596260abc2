"""The agents of a team as a step of it asks them: narrowed ones, and answers that are there."""

from __future__ import annotations

from collections.abc import Sequence

from agents.catalog.specs import check_specs, eligible, told, unknown
from agents.patterns import team as pattern
from app.concurrency.fibers import in_thread
from app.execution.context import Step
from celery_agents.contracts.ask import Ask, Repeats
from celery_agents.contracts.outcome import Outcome, State
from celery_agents.contracts.teams.spec import AgentSpec
from celery_agents.contracts.teams.team import Team
from celery_agents.errors import AwaitsAnswerError

#: The next look for an answer comes after this share of the time that it has taken, so that the
#: wait is no tenth longer; a look is two statements.
_LOOK_SHARE, _LOOK_MAX_S = 0.1, 5.0


async def answered_before(step: Step, repeats: Repeats | None) -> Outcome | None:
    """The answer of the turn that was asked the same; None where there is none, or it failed.

    It costs nothing again.

    Raises:
        AwaitsAnswerError: it is not there yet.
    """
    if repeats is None or repeats.same_as is None:
        return None
    same_as = repeats.same_as
    found = await in_thread(step.runtime.journal.parents.turn, same_as, step.run_id)
    if found is None:
        return None
    state, outcome, age_s = found
    if not state.final:
        about = {"retry_after_s": min(age_s * _LOOK_SHARE, _LOOK_MAX_S)}
        error = AwaitsAnswerError(f"{same_as} was asked the same, and is under way.", about)
        error.steady = True
        raise error
    if outcome is None or not outcome.ok:
        return None
    return Outcome(state=State.SUCCEEDED, value=outcome.value, agent=outcome.agent)


async def check_asked(step: Step, request: Ask) -> None:
    """Look for agents that somebody has made just now, and check how the one asked is narrowed.

    Raises:
        InvalidPayloadError: it is to be more than it is.
    """
    registry = step.runtime.agents.registry
    if request.spec is None and registry.find(request.agent) is not None:
        return
    narrowed = () if request.spec is None else (request.spec,)
    if registry.find(request.agent) is None or unknown(registry, narrowed):
        await in_thread(step.runtime.posted.look)
    check_specs(registry, narrowed)


def staff_of(step: Step, request: Team) -> pattern.Staff:
    """The registered agents, as far as they may work in this team."""
    registry = step.runtime.agents.registry

    def check(members: Sequence[AgentSpec]) -> None:
        if not members:
            return
        lead = AgentSpec(base=request.lead, members=tuple(members))
        if unknown(registry, (lead,)):  # somebody may have made it just now
            step.runtime.posted.look()
        check_specs(registry, (lead,))

    if not isinstance(request.members, str):
        return pattern.Staff(check)
    bases = eligible(registry, request.lead, request.members)
    return pattern.Staff(check, bases, told(registry, bases or ()))
