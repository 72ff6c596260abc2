"""The agents of this process: made with its runtime, so that mistakes show at the start."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from celery import Celery

from agents.base import Estimates, turn_of
from agents.catalog.kinds import Resources
from agents.catalog.loading import see_current_directory
from agents.catalog.registry import Registered, Registry
from agents.governance.lessons import Lessons
from agents.governance.routing import Asking
from agents.kinds.tools import ListsTools
from agents.net.clients import SharedClients
from agents.net.outside import PrivateHosts
from agents.toolsets.mcp.logins import Logins
from app.admission.breakers import Breakers
from app.admission.budgets.shared import SharedBudgets
from app.admission.guards.health import HealthView
from app.admission.limits.shared import SharedLimits
from app.admission.limits.tickets import NotAdmitted
from app.admission.limits.waiting import Waker
from app.admission.routing.placing import placed
from app.caching.caches import Caches
from app.caching.shared import SharedAnswers
from app.caching.waiting import Awaits
from app.concurrency.fibers import in_thread
from app.concurrency.threads import Threads
from app.execution.others.celery_agent import CeleryBackend
from app.execution.turns import Turns
from app.governance.lessons import RouterLessons
from app.governance.logins import JournaledLogins
from app.journal import Journal
from app.journal.schema.rows import Wake
from app.journal.stores.memos import Memos
from app.plugins import plugin_source
from app.settings import Settings
from celery_agents.contracts.ask import Ask
from celery_agents.contracts.governance import Estimate
from celery_agents.errors import InvalidPayloadError
from celery_agents.values import storable

#: The priority that is taken first.
FIRST = 0


class Agents:
    """The agents that there are, and the way to ask them."""

    def __init__(
        self,
        registry: Registry,
        journal: Journal,
        settings: Settings,
        publish: Callable[[list[Wake]], Any],
    ) -> None:
        self.registry = registry
        journal.memories.backends.update(registry.resources.backends)
        self._journal = journal
        self._settings = settings
        self._publish = publish
        self._turns: Turns | None = None
        self._waiting: Waker | None = None
        self._limits: SharedLimits | None = None
        self._experiences = RouterLessons(lambda: journal)
        self._caches: Caches | None = None
        self._budgets: SharedBudgets | None = None
        self._lock = threading.Lock()

    @property
    def turns(self) -> Turns:
        """The guards and backends to ask them by. Made on first use: breakers have a thread."""
        if (turns := self._turns) is not None:
            return turns
        with self._lock:
            if self._turns is None:
                self._turns = self._made()
            return self._turns

    @property
    def limits(self) -> SharedLimits | None:
        """The limits that hold here; None where there are none."""
        if self._limited and self._turns is None:
            _ = self.turns
        return self._limits

    @property
    def budgets(self) -> SharedBudgets | None:
        """The budgets that hold here; None while there are none, and nobody has asked an agent."""
        if self.registry.budgets and self._turns is None:
            _ = self.turns
        return self._budgets

    @property
    def _limited(self) -> bool:
        return bool(self.registry.limits) or self.registry.routes

    @property
    def caches(self) -> Caches:
        """The cached answers. Made on first use: they have threads."""
        if (caches := self._caches) is not None:
            return caches
        with self._lock:
            if self._caches is None:
                self._caches = Caches.connect(
                    self._settings, self._wake, lambda: self._journal.memos
                )
            return self._caches

    @property
    def has_caches(self) -> bool:
        """True when answers were looked for here, or an agent's are kept."""
        return self._caches is not None or any(a.cache is not None for a in self.registry)

    @property
    def shared_cache(self) -> SharedAnswers:
        """The cached answers of all workers."""
        return self.caches.shared

    def park(self, refusal: NotAdmitted | Awaits) -> None:
        """Let a step wait for what it did not get, whose row has been given back."""
        if isinstance(refusal, Awaits):
            self.caches.followers.park(refusal)
        elif self._limits is not None:
            self._limits.park(refusal)

    def _made(self) -> Turns:
        health = HealthView(
            self._journal,
            fresh_s=self._settings.health_stale_s,
            cache_s=self._settings.health_cache_s,
        )
        breakers = Breakers.connect(self._settings)
        if self._limited:
            self._limits = self._shared(breakers)
        self._budgets = SharedBudgets(
            breakers.scripts,
            self.registry.budgets,
            self._journal.ledger,
            lease_s=self._settings.lease_s,
            own=self.registry.own_budgets,
        )
        experiences = self._experiences if self.registry.routes else None
        return Turns(
            self.registry,
            breakers,
            health,
            limits=self._limits,
            budgets=self._budgets,
            experiences=experiences,
        )

    def _shared(self, breakers: Breakers) -> SharedLimits:
        limits = SharedLimits(
            breakers.scripts,
            self.registry.limits,
            lease_s=self._settings.lease_s,
            standing=self._journal.findings.standing,
            own=self.registry.own_limits,
            weights=self.registry.weights,
        )
        self._waiting = Waker(limits, self._wake, self._settings.heartbeat_interval_s)
        return limits

    def _wake(self, step_ids: Sequence[str]) -> list[str]:
        """Publish messages of steps that are granted what they waited for: ahead of others."""
        wakes = self._journal.findings.ready(step_ids)
        self._publish([replace(wake, priority=FIRST) for wake in wakes])
        return sorted({*step_ids} - {wake.id for wake in wakes})

    def close(self) -> None:
        """Stop to wake what waits."""
        if self._waiting is not None:
            self._waiting.close()

    async def estimate(self, request: Ask) -> Estimate:
        """Estimate what an agent's first request would take and cost.

        Raises:
            InvalidPayloadError: the agent is no model.
        """
        agent = self.registry.get(request.agent)
        turn = turn_of(request, request.messages)
        if agent.among:  # the one that would be asked first
            asking = Asking("", "", request.session)
            way = await placed(self.registry, self._experiences, agent, turn, asking)
            agent = way.left[0]
        backend = agent.backend
        if not isinstance(backend, Estimates):
            raise InvalidPayloadError(f"{agent.name} is no model: nobody counts its tokens.")
        return await backend.estimate(agent.name, turn)

    def described(self) -> list[dict[str, Any]]:
        """Describe the agents to people and clients, as the journal's rows."""
        return [
            {
                "name": a.name,
                "kind": a.kind,
                "description": storable(a.description or _about(a)),
                "effects": a.effects,
                **({"posted": True} if a.posted else {}),
                **_tools(a),
            }
            for a in self.registry
        ]


def _tools(agent: Registered) -> dict[str, Any]:
    """The tools of an agent that is nothing else; of others, nothing."""
    if agent.kind != "tools" or not isinstance(backend := agent.backend, ListsTools):
        return {}
    return {"tools": backend.listed}


def _about(agent: Registered) -> str:
    """The words for what a router does, where its entry has none."""
    if agent.route is None or not agent.among:
        return agent.description
    return f"one of {', '.join(agent.among)}, by {agent.route.by}"


def load_registry(
    app: Celery,
    settings: Settings,
    lessons: Callable[[str], Lessons],
    memos: Callable[[], Memos] | None = None,
) -> Registry:
    """The agents that the settings name; ``lessons`` are those of one of them.

    Persons' logins at MCP servers are among the ``memos``; without them there are none.

    Raises:
        ConfigurationError: one of them is not right.
    """
    registry = Registry(
        Resources(
            resolve_secret=settings.secret,
            executor=Threads(settings.function_threads, "agents-function"),
            clients=SharedClients(in_thread),
            celery=lambda entry: CeleryBackend(app, entry, settings.secret),
            lessons=lessons,
            private=PrivateHosts.of(settings.private_hosts),
            logins=Logins() if memos is None else JournaledLogins(memos, settings.seals, in_thread),
            plugins=plugin_source(settings),
        )
    )
    see_current_directory()
    registry.load(config=settings.config, modules=settings.modules)
    return registry
