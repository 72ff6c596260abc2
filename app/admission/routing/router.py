"""A guard that finds out which of several deployments answers a turn."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace

from agents.base import Answer
from agents.catalog.registry import Registered, Registry
from agents.governance.routing import Asking, ServedTurn
from agents.governance.wants import refused_by
from agents.policies.breaker import Verdict
from app.admission.breakers import Breakers
from app.admission.guard import Admitted, Asked, Next, Reply, forget_said
from app.admission.guards.admission import call_of, changed, switches_of
from app.admission.guards.health import HealthView
from app.admission.limits.passage import Passage, Placed, asker_of, needs_of
from app.admission.limits.shared import SharedLimits
from app.admission.limits.tickets import NotAdmitted, beside
from app.admission.routing.choosing import Chooser, Chosen, NoneFree, Option, in_all_queues
from app.admission.routing.placing import LEARNING, Experiences, Way, placed
from app.concurrency.fibers import arrival, in_thread
from celery_agents.contracts.outcome import ErrorInfo, Outcome
from celery_agents.errors import (
    AgentsError,
    BudgetExceededError,
    ContextExceededError,
    MissingKeyError,
    NotAdmittedError,
    PriceUnknownError,
    ProviderRefusedError,
    ProviderUnavailableError,
    RateLimitedError,
)

log = logging.getLogger(__name__)

#: A key that is closed for longer is not waited for where another one can answer.
SHORT_S = 5.0
#: Whoever refuses an account (no such key, nothing paid, not this model) does so for longer than
#: one request: for so long none of a router's goes there, while others can answer.
REFUSED_ACCOUNT_S = 60.0
#: Statuses of a refusal that is about the account, and not about what was asked.
_OF_THE_ACCOUNT = frozenset({401, 402, 403, 404, 429})


class RouterGuard:
    """Ask the first of a router's deployments that is free; go on to the next where it fails."""

    def __init__(
        self,
        registry: Registry,
        breakers: Breakers,
        health: HealthView,
        limits: SharedLimits,
        experiences: Experiences,
    ) -> None:
        self._registry = registry
        self._breakers = breakers
        self._health = health
        self._limits = limits
        self._experiences = experiences
        self._chooser = Chooser(limits)

    def concerns(self, agent: Registered) -> bool:
        """Return whether it is one of several that may answer."""
        return agent.route is not None

    async def __call__(self, asked: Asked, go_on: Next) -> Reply:
        if asked.agent.route is None:
            return await go_on(asked)
        step = asked.step
        asking = Asking(step.step_id, step.run_id, step.session)
        way = await placed(
            self._registry,
            self._experiences,
            asked.agent,
            asked.turn,
            asking,
            streamed=step.streamed,
            talks=step.session is not None,
        )
        way = way.well(await in_thread(self._health.unhealthy))
        return await Routing(self, asked, way).reply(go_on)

    async def chosen(self, asked: Asked, way: Way) -> Chosen | NoneFree:
        """Take the first that is free."""
        options = [self._option(asked, way, one) for one in way.left]
        question = self._chooser.asking(
            options, way.order, call=call_of(asked.step), router=way.router.name
        )
        asking = self._limits.scripts.run_all([question])
        try:
            (answer,) = await arrival(asking)
            if isinstance(answer, Chosen):
                await changed(asked.step, answer.changes)
                await asyncio.sleep(answer.early_s)
        except asyncio.CancelledError:
            asking.add_done_callback(lambda done: self.give_back(asked, done.result()[0]))
            raise
        found: Chosen | NoneFree = answer
        return found

    def passage(self, asked: Asked, agent: Registered, where: Placed) -> Passage:
        """The way of a turn's requests through the limits of a deployment."""
        found = Passage(self._limits, agent, asked.turn, asked.step, where)
        asked.step.limit(found)
        return found

    def leave_out(self, agent: Registered, error: AgentsError) -> None:
        """Have no worker's router ask one whose account was refused, for a while."""
        if (
            isinstance(error, ProviderRefusedError)
            and error.details.get("status") in _OF_THE_ACCOUNT
        ):
            text = "Routers leave %s out for %.0f s: its provider refuses its account"
            log.warning(text, agent.deployment, REFUSED_ACCOUNT_S)
            self._limits.pause([refused_by(agent.target)], REFUSED_ACCOUNT_S)

    def learn(self, way: Way, served: ServedTurn) -> None:
        """Learn from how a turn went, where the order goes by that."""
        if way.route.by in LEARNING:
            self._experiences.add(way.router, served)

    def _option(self, asked: Asked, way: Way, agent: Registered) -> Option:
        more = beside(agent, counted=way.route.by == "load")
        about = (asker_of(asked.step), asked.step.run_id, needs_of(asked.turn), more)
        ticket = self._limits.ticket(agent, *about)
        policies = self._limits.of(agent, asked.step.tenant).values()
        most = [p.concurrent for p in policies if p.concurrent is not None]
        return Option(agent, tuple(switches_of(agent)), ticket, 1 / min(most, default=1))

    def give_back(self, asked: Asked, answer: Chosen | NoneFree) -> None:
        """Give back what was taken of one that is not asked."""
        if isinstance(answer, Chosen):
            self._limits.tell(answer.option.ticket, None)
            switches = answer.option.switches
            if switches:
                self._breakers.tell(switches, call_of(asked.step), [Verdict.NONE] * len(switches))


class Routing:
    """One turn on its way through the deployments of a router."""

    def __init__(self, guard: RouterGuard, asked: Asked, way: Way) -> None:
        self._guard = guard
        self._asked = asked
        self._way = way
        self._refused: list[NotAdmitted] = []
        self._failed: list[Registered] = []

    async def reply(self, go_on: Next) -> Reply:
        """Return the answer of the first that gives one."""
        way = self._way
        agent, admitted = await self._known() or await self._next(way)
        while True:
            way = way.without(agent.deployment)
            try:
                return await self._answer(agent, admitted, go_on)
            except AgentsError as error:
                if not self._may_move(admitted.passage, error):
                    raise
                if isinstance(error, ContextExceededError):
                    way = way.after_exceeding(error)
                if agent.effects == "effect" and self._asked.step.spent.calls:
                    way = way.of(agent.name).among(way)
                if not way.left:
                    raise self._last(error) from None
                self._guard.leave_out(agent, error)
                self._failed.append(agent)
                failed = error
            agent, admitted = await self._next(way, instead_of=(agent, failed))

    async def _known(self) -> tuple[Registered, Admitted] | None:
        """Return who answered in an earlier attempt: what was paid is not asked of others.

        What it said needs no admission. Of an agent with several keys any goes on, since its calls
        are the same with each.
        """
        by = await self._asked.step.calls.answered_by()
        agent = None if by is None else self._way.agents.get(by)
        if agent is None:
            return None
        own = self._way.of(agent.name)
        if len(own.left) > 1:
            found = await self._guard.chosen(self._asked, own)
            if isinstance(found, Chosen):
                return self._taken(found, own)
            if found.refused:
                raise found.error()
        return agent, Admitted(self._guard.passage(self._asked, agent, Placed(None)))

    async def _next(
        self, way: Way, instead_of: tuple[Registered, AgentsError] | None = None
    ) -> tuple[Registered, Admitted]:
        found = await self._guard.chosen(self._asked, way)
        if not isinstance(found, Chosen):
            raise NoneFree((*found.refused, *self._refused), found.closed).error()
        if instead_of is not None:
            try:
                await self._begin_anew(found.option.agent, *instead_of)
            except asyncio.CancelledError:
                self._guard.give_back(self._asked, found)
                raise
        return self._taken(found, way)

    def _taken(self, chosen: Chosen, way: Way) -> tuple[Registered, Admitted]:
        agent = chosen.option.agent
        keys = tuple(one for one in way.left if one.name == agent.name and one is not agent)
        where = Placed(chosen.option.ticket, counted=way.route.by == "load", others=keys)
        return agent, Admitted(self._guard.passage(self._asked, agent, where), chosen.probe)

    async def _answer(self, agent: Registered, admitted: Admitted, go_on: Next) -> Reply:
        step, began = self._asked.step, time.monotonic()
        step.calls.deployment = agent.deployment
        try:
            reply = await go_on(replace(self._asked, agent=agent, admitted=admitted))
        except AgentsError as error:
            if not isinstance(error, NotAdmittedError | ContextExceededError):
                elapsed_s = time.monotonic() - began
                self._guard.learn(self._way, ServedTurn(agent.deployment, False, elapsed_s))
            raise
        if not isinstance(reply, Answer):
            return reply
        cost, elapsed_s = reply.usage.cost_usd, time.monotonic() - began
        self._guard.learn(self._way, ServedTurn(agent.deployment, True, elapsed_s, cost))
        if self._failed:  # what they have cost is paid too
            reply = reply.model_copy(update={"usage": step.spent})
        return Outcome.of(reply, agent=agent.name, deployment=agent.deployment)

    def _may_move(self, passage: Passage, error: AgentsError) -> bool:
        """Return whether another one is asked instead, with no attempt used up."""
        if self._asked.step.asked_to_stop:
            return False
        if isinstance(error, BudgetExceededError | PriceUnknownError):
            return True  # another one's account may have what it costs
        if isinstance(error, NotAdmittedError):
            refusal = error.refusal
            closed = isinstance(refusal, NotAdmitted) and refusal.lasts
            return closed and (refusal.wait_s is None or refusal.wait_s > SHORT_S)
        if isinstance(error, RateLimitedError) and isinstance(error.refusal, NotAdmitted):
            self._refused.append(replace(error.refusal, others=()))
        return passage.failed_by(error) and _is_its_own(error)

    def _last(self, error: AgentsError) -> AgentsError:
        """The error where nobody is left: some are waited for, if they will be free again."""
        if self._refused and not isinstance(error, ProviderUnavailableError | ContextExceededError):
            return in_all_queues(self._refused).error()
        return error

    async def _begin_anew(self, agent: Registered, left: Registered, error: AgentsError) -> None:
        step = self._asked.step
        step.calls.anew()
        forget_said(step)
        why = ErrorInfo.of(error).kind
        told = {"from": left.deployment, "to": agent.deployment, "why": why}
        await step.note("failover", [told])
        step.tell("restart", agent=agent.name)  # the other may have said something already


def _is_its_own(error: AgentsError) -> bool:
    """Return whether an error is of the one that was asked, so that another one may do better."""
    match error:
        case RateLimitedError() | ProviderUnavailableError():
            return True
        case MissingKeyError() | ContextExceededError():
            return True
        case ProviderRefusedError():
            return error.details.get("status") in _OF_THE_ACCOUNT
        case _:
            return False
