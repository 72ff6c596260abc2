"""A guard that asks the breakers before each call of an agent, and tells them how it went."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from agents.catalog.registry import Registered
from agents.policies.breaker import BreakerPolicy, Verdict, verdict
from app.admission.breaker import Breakers, Change, Switch
from app.admission.guard import Asked, GuardedStep, Next, Reply
from app.concurrency.fibers import arrival
from celery_agents.contracts.outcome import ErrorInfo
from celery_agents.errors import BreakerOpenError, DeadlineExceededError

#: A provider serves many agents: it takes more to give it up, and only that it is down counts.
PROVIDER = BreakerPolicy(failures=20, min_calls=50, counts=("unavailable",))
_DEFAULT = BreakerPolicy()


class BreakerGuard:
    """Refuse calls while a breaker before the agent is open."""

    def __init__(self, breakers: Breakers) -> None:
        self._breakers = breakers

    async def __call__(self, asked: Asked, go_on: Next) -> Reply:
        switches = switches_of(asked.agent)
        if not switches:
            return await go_on(asked)
        step = asked.step
        call = f"{step.step_id}/{step.tries}"
        probe = await self._ask(switches, call, step)
        began = time.monotonic()
        error: ErrorInfo | None = None
        said: list[Verdict] | None = None
        try:
            return await go_on(asked)
        except asyncio.CancelledError:
            if step.asked_to_stop:
                said = [Verdict.NONE] * len(switches)
            error = ErrorInfo.of(DeadlineExceededError())
            raise
        except Exception as failure:
            error = ErrorInfo.of(failure)
            raise
        finally:
            elapsed_s = time.monotonic() - began
            said = said or [verdict(s.policy, error, elapsed_s=elapsed_s) for s in switches]
            told = self._breakers.tell(switches, call, said)
            # What may change a breaker is waited for: the change is an event of this step, which
            # people look for once it has ended, and whoever is asked next is to meet it. All else
            # changes none (see ``Breakers.tell``), so the answer need not wait for it; it is ahead
            # of what this process asks next, and lost with the process it would be missed by none.
            if probe or Verdict.BAD in said:
                await _changed(step, await arrival(told))

    async def _ask(self, switches: Sequence[Switch], call: str, step: GuardedStep) -> bool:
        """Return whether the call is a probe; raise when a breaker refuses it."""
        try:
            admission = await arrival(self._breakers.ask(switches, call))
            await _changed(step, admission.changes)
        except asyncio.CancelledError:  # its place among the probes, if it got one, is free again
            self._breakers.tell(switches, call, [Verdict.NONE] * len(switches))
            raise
        if admission.refused_by is not None:
            raise BreakerOpenError(
                f"The breaker of {admission.refused_by} is open: it failed too often.",
                {"retry_after_s": admission.wait_s, "breaker": admission.refused_by},
            )
        return admission.probe


def switches_of(agent: Registered) -> list[Switch]:
    """The breakers before an agent: its own, and its provider's. None for code in this process."""
    entry = agent.entry
    if entry is None or entry.breaker is False:
        return []
    policy = entry.breaker or (_DEFAULT if agent.outside else None)
    if policy is None:
        return []
    own = Switch(agent.target, policy)
    return [own] if agent.provider is None else [own, Switch(agent.provider.target, PROVIDER)]


async def _changed(step: GuardedStep, changes: Sequence[Change]) -> None:
    if changes:
        told = [{"breaker": c.name, "from": c.before, "to": c.after} for c in changes]
        await step.note("breaker", told)
