"""The guards round each turn, in their order."""

from __future__ import annotations

from agents.catalog.registry import Registry
from agents.plan import Expand
from app.admission.breakers import Breakers
from app.admission.budgets.shared import SharedBudgets
from app.admission.guard import Asked, Guard, Guarded, Reply
from app.admission.guards.admission import AdmissionGuard
from app.admission.guards.failover import BackupGuard, HealthGuard
from app.admission.guards.health import HealthView
from app.admission.guards.refusals import RefusalGuard
from app.admission.guards.screening import ScreenGuard
from app.admission.guards.window import WindowGuard
from app.admission.limits.shared import SharedLimits
from app.admission.routing.placing import Experiences
from app.admission.routing.router import RouterGuard


def chain(
    registry: Registry,
    breakers: Breakers,
    health: HealthView,
    *,
    limits: SharedLimits | None = None,
    budgets: SharedBudgets | None = None,
    experiences: Experiences | None = None,
) -> Guarded:
    """Set all guards round an agent's backend. Without ``experiences`` nobody routes."""
    routers: list[Guard] = []
    if limits is not None and experiences is not None:
        routers = [RouterGuard(registry, breakers, health, limits, experiences)]
    screens: list[Guard] = [ScreenGuard(registry)] if registry.guards.policies else []
    windows: list[Guard] = [WindowGuard()] if any(a.window for a in registry) else []
    return Guarded(
        [
            RefusalGuard(),  # outermost: whatever refuses, the caller says what comes of it
            HealthGuard(registry, health),  # before a breaker is asked, which may count a probe
            BackupGuard(registry),  # round the breaker, whose refusal it answers
            *routers,  # round the next one, for which they choose and reserve
            # it counts calls that are made alone
            AdmissionGuard(breakers, limits, budgets),
            # innermost: those of whoever answers in the end, a backup or one of a router's, whose
            # slot is reserved by then and given back by the one before
            *windows,  # before the texts are looked at, which are fewer then, summaries among them
            *screens,
        ],
        _answer,
    )


async def _answer(asked: Asked) -> Reply:
    reply = await asked.agent.backend.answer(asked.turn, asked.step)
    if isinstance(reply, Expand) or not reply.turns:
        return reply
    asked.step.heard(reply.turns)  # guards may make an outcome of an answer
    return reply.model_copy(update={"turns": ()})
