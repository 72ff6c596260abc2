"""A guard that asks breakers and limits before each turn of an agent, and tells how it went."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from agents.base import Answer
from agents.catalog.registry import Registered
from agents.policies.breaker import BreakerPolicy, Verdict, verdict
from app.admission.breaker import Admission, Breakers, Change, Switch
from app.admission.budgets import SharedBudgets
from app.admission.charging import Purse
from app.admission.guard import Asked, GuardedStep, Next, Reply
from app.admission.limiting import Passage
from app.admission.limits import NotAdmitted, SharedLimits
from app.concurrency.fibers import arrival
from celery_agents.contracts.outcome import ErrorInfo
from celery_agents.errors import BreakerOpenError, DeadlineExceededError

#: A provider serves many agents: it takes more to give it up, and only that it is down counts.
PROVIDER = BreakerPolicy(failures=20, min_calls=50, counts=("unavailable",))
_DEFAULT = BreakerPolicy()


class _Gate:
    """The way into a turn, which is asked for before it or before its first act."""

    def __init__(self, admit: Callable[[], Awaitable[bool]]) -> None:
        self._admit = admit
        self.entered = self.probe = False
        self.since = 0.0

    async def enter(self) -> None:
        self.pass_by(probe=await self._admit())

    def pass_by(self, *, probe: bool) -> None:
        self.entered, self.probe, self.since = True, probe, time.monotonic()


class AdmissionGuard:
    """Refuse calls while a breaker before the agent is open, or a limit of it is used up.

    Both are asked in one write.
    """

    def __init__(
        self,
        breakers: Breakers,
        limits: SharedLimits | None = None,
        budgets: SharedBudgets | None = None,
    ) -> None:
        self._breakers = breakers
        self._limits = limits
        self._budgets = budgets

    async def __call__(self, asked: Asked, go_on: Next) -> Reply:
        passage = None if asked.admitted is None else asked.admitted.passage
        if passage is None and self._limits is not None and self._limits.of(asked.agent):
            passage = Passage(self._limits, asked.agent, asked.turn, asked.step)
        if self._budgets is not None:
            allowance = asked.step.allowance
            own = allowance is not None and allowance.budgeted
            counted = own or self._budgets.of(asked.agent)
            asked.step.charge(Purse(self._budgets, asked.agent, asked.step) if counted else None)
        switches = switches_of(asked.agent)
        if passage is None and not switches:
            return await go_on(asked)
        if passage is None:
            return await self._within_breakers(asked, go_on, switches, None)
        asked.step.limit(passage)
        usage, error = None, None
        try:
            reply = await self._within_breakers(asked, go_on, switches, passage)
            usage = reply.usage if isinstance(reply, Answer) else None
        except BaseException as raised:
            error = raised
            raise
        finally:
            passage.close(usage, error)
        return reply

    async def _within_breakers(
        self, asked: Asked, go_on: Next, switches: Sequence[Switch], passage: Passage | None
    ) -> Reply:
        step, admitted = asked.step, asked.admitted
        call = call_of(step)
        gate = _Gate(partial(self._admitted, switches, call, step, passage))
        if admitted is not None:
            gate.pass_by(probe=admitted.probe)
        elif asked.agent.cache is not None:  # what is cached is served whoever is down or busy
            step.enter(gate.enter)
        else:
            await gate.enter()
        if not switches:
            return await go_on(asked)
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
            if gate.entered:
                elapsed_s = time.monotonic() - gate.since
                said = said or [verdict(s.policy, error, elapsed_s=elapsed_s) for s in switches]
                told = self._breakers.tell(switches, call, said)
                # What may change a breaker is waited for: the change is an event of this step,
                # which people look for once it has ended, and whoever is asked next is to meet it.
                # All else changes none (see ``Breakers.tell``), so the answer need not wait for it;
                # it is ahead of what this process asks next, and lost with the process it would be
                # missed by none.
                if gate.probe or Verdict.BAD in said:
                    await changed(step, await arrival(told))

    async def _admitted(
        self, switches: Sequence[Switch], call: str, step: GuardedStep, passage: Passage | None
    ) -> bool:
        """Return whether the call is a probe; raise when a breaker or a limit refuses it."""
        try:
            admission, answer = await self._asked(switches, call, passage)
            await changed(step, admission.changes)
        except asyncio.CancelledError:  # its place among the probes, if it got one, is free again
            self._put_back(switches, call)
            raise
        if admission.refused_by is not None:
            raise BreakerOpenError(
                f"The breaker of {admission.refused_by} is open: it failed too often.",
                {"retry_after_s": admission.wait_s, "breaker": admission.refused_by},
            )
        if passage is not None:
            if isinstance(answer, NotAdmitted) and admission.probe:
                self._put_back(switches, call)
            await passage.entered(answer)
        return admission.probe

    async def _asked(
        self, switches: Sequence[Switch], call: str, passage: Passage | None
    ) -> tuple[Admission, NotAdmitted | float]:
        if passage is None:
            return await arrival(self._breakers.ask(switches, call)), 0.0
        questions = [self._breakers.asking(switches, call)] if switches else []
        asked = self._breakers.scripts.run_all([*questions, passage.asking()])
        try:
            *found, answer = await arrival(asked)
        except asyncio.CancelledError:
            passage.given_up(asked)
            raise
        return (found[0] if found else Admission()), answer

    def _put_back(self, switches: Sequence[Switch], call: str) -> None:
        if switches:
            self._breakers.tell(switches, call, [Verdict.NONE] * len(switches))


def call_of(step: GuardedStep) -> str:
    """The name of a step's call for breakers."""
    return f"{step.step_id}/{step.tries}"


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


async def changed(step: GuardedStep, changes: Sequence[Change]) -> None:
    """Note that breakers have opened or closed."""
    if changes:
        told = [{"breaker": c.name, "from": c.before, "to": c.after} for c in changes]
        await step.note("breaker", told)
