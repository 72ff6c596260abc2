"""Limits in Redis, shared by all workers: asked, told, waited for.

The rules are those of ``agents/governance/limits.py``; the scripts stand in ``lua/``. A
limit is asked in the write in which breakers are. While Redis is away a process goes by its share
of each limit: that divided by the workers that live.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from agents.catalog.registry import Registered
from agents.governance.wants import Wanted, covers, wanted
from agents.needs import Needs
from app.admission.covering import CoveringPolicies, about_of
from app.admission.limits.lua.texts import SCRIPTS
from app.admission.limits.own_share import OwnShare
from app.admission.limits.plans import Plan, Plans
from app.admission.limits.tickets import Asker, NotAdmitted, Pumped, Ticket
from app.admission.limits.wires import seconds_of, wires
from app.admission.scripts import CLOCK, OwnWords, Query, Scripts
from app.concurrency.future import Future
from celery_agents.contracts.limits import LimitPolicy

#: Where it is noted that Redis is away, and what then holds.
OWN_SHARE = ("limits", "Without Redis each worker keeps its own share of limits")
#: An operator's pause without an end.
FOR_GOOD_S = 10 * 365 * 24 * 3600.0


_NOTHING = Pumped()


class SharedLimits:
    """The limits of one process.

    Args:
        shared: scripts of the Redis that has them; the breakers' own, so that both are one write.
        policies: by name.
        lease_s: how long a slot is held that nobody renews.
        standing: the place of this worker among those that live, and their number, for the time
            without Redis.
        own: of tenants that have numbers of their own, by tenant and name.
        weights: of tenants, where they are not 1: so much more of them is woken.
    """

    def __init__(
        self,
        shared: Scripts,
        policies: Mapping[str, LimitPolicy],
        *,
        lease_s: float,
        standing: Callable[[], tuple[int, int]],
        own: Mapping[str, Mapping[str, LimitPolicy]] | None = None,
        weights: Mapping[str, float] | None = None,
        clock: str = CLOCK,
    ) -> None:
        self.scripts = shared
        self.clock = clock
        self.policies = dict(policies)
        self.covering = CoveringPolicies(self.policies, covers, own)
        self.of = self.covering.of  # the limits that cover an agent, by name
        self.lease_ms = round(lease_s * 1000)
        self._names = {name: shared.register(clock + text) for name, text in SCRIPTS.items()}
        self.share = OwnShare(standing)
        self._plans = Plans()
        self._weights = weights or {}
        self._lock = threading.Lock()
        self._held: dict[tuple[str, str], None] = {}
        #: Is told of steps to be woken, and of queues to be pumped later.
        self.heard: Callable[[Pumped], None] = lambda _: None
        #: Is told once something is held or waited for.
        self.begun: Callable[[], None] = lambda: None

    def ticket(
        self,
        agent: Registered,
        asker: Asker,
        run_id: str,
        needs: Needs,
        beside: tuple[Wanted, ...] = (),
    ) -> Ticket:
        """The ticket of a request to an agent; it wants what is ``beside`` too."""
        key = (agent.deployment, agent.kind, tenant := asker.tenant, beside)

        def wants(run_id: str = "") -> tuple[Wanted, ...]:
            about = replace(about_of(agent), tenant=tenant, run=run_id)
            return (*wanted(self.of(agent, tenant), about, Needs()), *beside)

        plan = self._plans.of(key, lambda: None if self._per_run(agent, tenant) else wants())
        if plan is None:
            plan = Plan(wants(run_id))
        return Ticket(asker, needs, plan, agent.deployment)

    def _per_run(self, agent: Registered, tenant: str) -> bool:
        return any(policy.per == "run" for policy in self.of(agent, tenant).values())

    # -- asking and telling

    def asking(self, ticket: Ticket) -> Query:
        """The question whether a request may be made: in so many seconds, or its refusal."""
        asker = ticket.asker
        own = (asker.step_id, "1" if asker.again else "0", ticket.costs)

        def read(found: Any) -> NotAdmitted | float:
            if len(found) == 1:
                self.hold(ticket)
                return float(found[0]) / 1000
            place, wait_ms, before = found
            return NotAdmitted(ticket, place - 1, seconds_of(wait_ms), before)

        command = self._command("ASK", self.lease_ms, ticket.text)
        here = partial(self.ask_here, ticket)
        return Query(command, read, here, OWN_SHARE, OwnWords(asker.step_id, own))

    def tell(
        self, ticket: Ticket, real: Needs | None, said: Sequence[Sequence[Any]] = ()
    ) -> Future[Pumped]:
        """Tell how a request went: what it took, None where it was not made at all.

        ``said`` is what its provider told: see the script.
        """
        wrong = ticket.wrong(real)
        step_id = ticket.asker.step_id
        told = (step_id, str(wrong), json.dumps(said) if said else "[]")
        own = OwnWords(step_id, told, first=True)
        with self._lock:  # what is renewed after this does not have it any more
            for key in ticket.held:
                self._held.pop((key, step_id), None)
            here = partial(self.share.settle, lambda: ticket.wanted, step_id, wrong)
            return self._pumping("TELL", (ticket.text,), here, own)

    def park(self, refusal: NotAdmitted) -> Future[Pumped]:
        """Let a step wait for its turn; its row has been given back."""
        asker, ways = refusal.ticket.asker, (refusal, *refusal.others)
        options = [{"w": wires(w.ticket.wanted), "c": w.ticket.deployment} for w in ways]
        weight = self._weights.get(asker.tenant, 1)
        ask = {"o": options, "p": asker.priority, "t": asker.tenant, "k": weight}
        self.begun()
        told = (asker.step_id, json.dumps(ask), json.dumps([w.place + 1 for w in ways]))
        return self._pumping("PARK", told, lambda: None, OwnWords(asker.step_id))

    def pump(self, queues: Collection[str] = ()) -> Future[Pumped]:
        """Grant those that stand first what they want; of all queues, or of these."""
        return self._pumping("PUMP", tuple(queues), lambda: None)

    def revoke(self, step_ids: Sequence[str]) -> Future[Pumped]:
        """Take back what was granted to steps that have ended meanwhile."""
        return self._pumping("REVOKE", tuple(step_ids), lambda: None)

    def renew(self) -> Future[Any] | None:
        """Hold for longer what is held here; also in a Redis that has lost it."""
        with self._lock:
            if not self._held:
                return None
            told = [word for pair in self._held for word in pair]
            command = self._command("RENEW", self.lease_ms, *told)
            return self.scripts.run(Query(command, lambda _: None, lambda: None, OWN_SHARE))

    # -- for people

    def pause(self, keys: Sequence[str], seconds: float | None) -> Future[Pumped]:
        """Close keys for so long; without a time, until they are opened."""
        ms = round((FOR_GOOD_S if seconds is None else seconds) * 1000)
        return self._pumping("PAUSE", (max(ms, 1), *keys), lambda: None)

    def resume(self, keys: Sequence[str]) -> Future[Pumped]:
        """Open keys."""
        return self._pumping("PAUSE", (0, *keys), lambda: None)

    def places(self, step_ids: Sequence[str]) -> Future[list[tuple[str, int, float | None]]]:
        """Where steps wait: the queue, empty if in none; the place from 1; seconds, if known."""

        def read(found: Any) -> list[tuple[str, int, float | None]]:
            return [(q.decode(), n + 1, seconds_of(ms)) for q, n, ms in found]

        command = self._command("PLACES", *step_ids)
        return self.scripts.run(Query(command, read, list, OWN_SHARE))

    def queues(self) -> Future[list[str]]:
        """The queues in which somebody waits."""

        def read(found: Any) -> list[str]:
            return [queue.decode() for queue in found]

        return self.scripts.run(Query(self._command("QUEUES"), read, list, OWN_SHARE))

    def look(self, keys: Sequence[Sequence[Sequence[str]]]) -> Future[list[Any]]:
        """Look at what is used: for each list of keys, as the script reads them."""
        command = self._command("LOOK", *map(json.dumps, keys))
        return self.scripts.run(Query(command, list, list, OWN_SHARE))

    # -- one question

    def _command(self, name: str, *told: Any) -> tuple[Any, ...]:
        return (self._names[name], 0, *told)

    def _pumping(
        self,
        name: str,
        told: tuple[Any, ...],
        here: Callable[[], None],
        own: OwnWords | None = None,
    ) -> Future[Pumped]:
        def read(found: Any) -> Pumped:
            if pumped := _pumped(found):
                self.heard(pumped)
            return pumped

        def otherwise() -> Pumped:
            here()
            return _NOTHING

        return self.scripts.run(Query(self._command(name, *told), read, otherwise, OWN_SHARE, own))

    def ask_here(self, ticket: Ticket) -> NotAdmitted | float:
        """Ask without Redis, where there is no queue to stand in."""
        denied = self.share.ask(ticket.wanted, ticket.asker.step_id)
        if denied is None:
            self.hold(ticket)
            return 0.0
        return NotAdmitted(ticket, denied.place, (denied.wait_ms or 0.0) / 1000, 0, parks=False)

    def hold(self, ticket: Ticket) -> None:
        """Hold the slots that a ticket has got, until it is told of."""
        if ticket.held:
            with self._lock:
                for key in ticket.held:
                    self._held[key, ticket.asker.step_id] = None
            self.begun()


def _pumped(found: Any) -> Pumped:
    woken, waits = found or ((), ())
    if not (woken or waits):
        return _NOTHING
    again: dict[str, float] = {}
    for queue, ms in zip(waits[::2], waits[1::2], strict=True):
        known = again.get(queue.decode(), ms / 1000)
        again[queue.decode()] = min(known, ms / 1000)
    return Pumped(tuple(step.decode() for step in woken), again)
