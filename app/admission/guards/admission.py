"""A guard that asks breakers and limits before each turn of an agent, and tells how it went."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from agents.base import Answer
from agents.catalog.registry import Registered
from agents.policies.breaker import BreakerPolicy, Verdict, verdict
from app.admission.breakers import Admission, Breakers, Change, Switch
from app.admission.budgets.charging import Charge, Purse
from app.admission.budgets.shared import Said, SharedBudgets
from app.admission.guard import Asked, GuardedStep, Next, Reply
from app.admission.limits.passage import Passage
from app.admission.limits.shared import SharedLimits
from app.admission.limits.tickets import NotAdmitted
from app.concurrency.fibers import arrival
from celery_agents.contracts.outcome import ErrorInfo
from celery_agents.errors import BreakerOpenError, DeadlineExceededError

#: A provider serves many agents: it takes more to give it up, and only that it is down counts.
PROVIDER = BreakerPolicy(failures=20, min_calls=50, counts=("unavailable",))
_DEFAULT = BreakerPolicy()


class _Gate:
    """The way into a turn, which is asked for before it or before its first act."""

    def __init__(self, admit: Callable[[Charge | None], Awaitable[bool]]) -> None:
        self._admit = admit
        self.entered = self.probe = False
        self.since = 0.0

    async def enter(self, charge: Charge | None = None) -> None:
        self.pass_by(probe=await self._admit(charge))

    def pass_by(self, *, probe: bool) -> None:
        self.entered, self.probe, self.since = True, probe, time.monotonic()


class AdmissionGuard:
    """Refuse calls while a breaker before the agent is open, or a limit of it is used up.

    Both are asked in one write, with what a budget is to reserve for the first request.
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

    def concerns(self, agent: Registered) -> bool:
        """Return whether breakers stand before it, or limits or budgets cover it."""
        limited = self._limits is not None and self._limits.of(agent)
        counted = self._budgets is not None and self._budgets.of(agent)
        return bool(switches_of(agent) or limited or counted)

    async def __call__(self, asked: Asked, go_on: Next) -> Reply:
        passage = None if asked.admitted is None else asked.admitted.passage
        if passage is None and self._limits is not None and self._limits.of(asked.agent):
            passage = Passage(self._limits, asked.agent, asked.turn, asked.step)
        charged = self._charge(asked)
        switches = switches_of(asked.agent)
        if passage is None and not switches:
            return await go_on(asked)
        if passage is None:
            return await self._within_breakers(asked, go_on, switches, None, charged=charged)
        asked.step.limit(passage)
        usage, error = None, None
        try:
            reply = await self._within_breakers(asked, go_on, switches, passage, charged=charged)
            usage = reply.usage if isinstance(reply, Answer) else None
        except BaseException as raised:
            error = raised
            raise
        finally:
            passage.close(usage, error)
            asked.step.limit(None)  # who goes on in its place does not pass there
        return reply

    def _charge(self, asked: Asked) -> bool:
        """Have the turn's requests counted by budgets; False: none counts its agent."""
        if self._budgets is None:
            return False
        allowance = asked.step.allowance
        own = allowance is not None and allowance.budgeted
        counted = own or bool(self._budgets.of(asked.agent))
        asked.step.charge(Purse(self._budgets, asked.agent, asked.step) if counted else None)
        return counted

    async def _within_breakers(
        self,
        asked: Asked,
        go_on: Next,
        switches: Sequence[Switch],
        passage: Passage | None,
        *,
        charged: bool,
    ) -> Reply:
        step, admitted = asked.step, asked.admitted
        call = call_of(step)
        gate = _Gate(partial(self._admitted, switches, call, step, passage))
        if admitted is not None:
            gate.pass_by(probe=admitted.probe)
        elif asked.agent.cache is not None or (charged and asked.agent.expects):
            # What is cached is served whoever is down or busy; and what a budget is to reserve is
            # known with the first request.
            go_on = _through(gate, go_on)
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
        self,
        switches: Sequence[Switch],
        call: str,
        step: GuardedStep,
        passage: Passage | None,
        charge: Charge | None,
    ) -> bool:
        """Return whether the call is a probe; raise when one of those refuses it."""
        if passage is not None and charge is not None:
            passage.makes_calls()
        try:
            admission, answer, said = await self._asked(switches, call, passage, charge)
        except asyncio.CancelledError:  # its place among the probes, if it gets one, is free again
            self._put_back(switches, call)
            raise
        try:
            await changed(step, admission.changes)
            _raise_refusal(admission)
            if charge is not None and not isinstance(answer, NotAdmitted):
                await charge.answered(said)
            if passage is not None:
                await passage.entered(answer)
        except BaseException:
            if admission.probe:
                self._put_back(switches, call)
            if passage is not None:
                passage.unused()
            raise
        return admission.probe

    async def _asked(
        self,
        switches: Sequence[Switch],
        call: str,
        passage: Passage | None,
        charge: Charge | None,
    ) -> tuple[Admission, NotAdmitted | float, Said]:
        if passage is None and charge is None:
            return await arrival(self._breakers.ask(switches, call)), 0.0, None
        questions = [] if charge is None else [charge.asking()]
        questions += [self._breakers.asking(switches, call)] if switches else []
        questions += [] if passage is None else [passage.asking()]  # the last one: see given_up
        asked = self._breakers.scripts.run_all(questions)
        try:
            answers: list[Any] = await arrival(asked)
        except asyncio.CancelledError:
            if passage is not None:
                passage.given_up(asked)
            raise
        found = iter(answers)
        said = None if charge is None else next(found)
        admission = next(found) if switches else Admission()
        if passage is None:
            return admission, 0.0, said
        passage.answered(answer := next(found))
        return admission, answer, said

    def _put_back(self, switches: Sequence[Switch], call: str) -> None:
        if switches:
            self._breakers.tell(switches, call, [Verdict.NONE] * len(switches))


def _raise_refusal(admission: Admission) -> None:
    """Raise the error of a breaker that refuses, if one does."""
    if admission.refused_by is not None:
        raise BreakerOpenError(
            f"The breaker of {admission.refused_by} is open: it failed too often.",
            {"retry_after_s": admission.wait_s, "breaker": admission.refused_by},
        )


def _through(gate: _Gate, go_on: Next) -> Next:
    """Go on through a gate that is passed before the first act; an act of later turns does not."""

    async def entering(asked: Asked) -> Reply:
        asked.step.enter(gate)
        try:
            return await go_on(asked)
        finally:
            asked.step.enter(None)

    return entering


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
