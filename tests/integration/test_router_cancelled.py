"""A router's turn that is cancelled holds nothing of whom it would have asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest
from redis import Redis

from agents.base import Turn
from agents.governance.routing import Order, RoutePolicy
from agents.policies.breaker import Verdict
from app.admission.breakers import Breakers, Switch
from app.admission.guard import Asked, Reply
from app.admission.guards.admission import AdmissionGuard, switches_of
from app.admission.limits.shared import SharedLimits
from app.admission.routing.placing import Way
from app.admission.routing.router import RouterGuard, Routing
from app.concurrency.loop import process_loop
from celery_agents.contracts.limits import LimitPolicy
from celery_agents.errors import ProviderUnavailableError
from tests.integration.harness import SOON_S, eventually
from tests.integration.test_limit_scripts import NOW, STOPPED
from tests.support.entries import agent_of

pytestmark = pytest.mark.databases("none")

#: After one failure, and half a minute, it lets one call try.
BREAKER = {"failures": 1, "open_s": 30.0, "probes": 1, "probe_timeout_s": 3600.0}


class Router:
    """A router of two services, each with one slot and a breaker that is half open."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.now = NOW
        self.breakers = Breakers(redis, clock=STOPPED)
        self.scripts = self.breakers.scripts
        about: Any = {"lease_s": 86_400, "standing": lambda: (0, 1), "clock": STOPPED}
        policies = {"slots": LimitPolicy(covers=("kind:http",), per="agent", concurrent=1)}
        self.limits = SharedLimits(self.scripts, policies, **about)
        table = {"kind": "http", "url": "http://nobody", "breaker": BREAKER}
        agents = {name: agent_of(name, lambda: None, None, table) for name in ("a", "b")}
        self.switches: list[Switch] = [s for one in agents.values() for s in switches_of(one)]
        self.pass_a_minute()
        for one in self.switches:
            self.breakers.tell([one], "before", [Verdict.BAD]).result()
        self.pass_a_minute()
        router = agent_of("router", lambda: None)
        self.way = Way(router, RoutePolicy(), Order(("a", "b"), "order"), agents, {})
        parts: Any = (None, self.breakers, None, self.limits, None)
        self.guard = RouterGuard(*parts)
        self.moves = asyncio.Event()  # to the next one, as it writes down
        self.asked = Asked(router, Turn(input=1), cast("Any", self._step()))

    def pass_a_minute(self) -> None:
        """Open breakers let one call try."""
        self.now += 60_000
        self.redis.set("now", self.now)

    def _step(self) -> SimpleNamespace:
        async def note(kind: str, _: object) -> None:
            if kind == "failover":
                self.moves.set()
                await asyncio.sleep(SOON_S)

        async def answered_by() -> None:
            return None

        later: Callable[..., None] = lambda *_, **__: None  # noqa: E731 - it is typed so
        return SimpleNamespace(
            step_id="s",
            run_id="s",
            tenant="",
            priority=5,
            tries=1,
            calls=SimpleNamespace(answered_by=answered_by, anew=later, deployment=None),
            learned={},
            emitted=[],
            allowance=None,
            asked_to_stop=False,
            limit=later,
            enter=later,
            tell=later,
            note=note,
        )

    def cancel(self, made: Coroutine[Any, Any, Any], when: asyncio.Event) -> None:
        """Cancel it then."""

        async def run() -> None:
            task = asyncio.ensure_future(made)
            await when.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        process_loop().submit(run()).result(SOON_S)

    @property
    def is_free(self) -> bool:
        """True when another call may try either, and has the slots of both."""
        keys = [[["S:slots:a"], [], [], [""]], [["S:slots:b"], [], [], [""]]]
        held = [told[0] for told in self.limits.look(keys).result(SOON_S)]
        return held == [0, 0] and not self.breakers.refusing(self.switches)


@pytest.fixture
def router(redis: Redis) -> Router:
    return Router(redis)


def test_while_it_asks_in_one_write_with_others(router: Router) -> None:
    """What it gives back goes behind what it asked, however both are written."""
    performing = router.scripts._batches._performing
    with performing:  # others' write, behind which both are asked
        first = router.scripts.run_all([])
        chosen = router.guard.chosen(router.asked, router.way)
        asks, run_all = asyncio.Event(), router.scripts.run_all

        def seen(questions: Any) -> Any:
            asks.set()
            return run_all(questions)

        router.scripts.run_all = seen  # type: ignore[method-assign]  # it is looked at
        router.cancel(chosen, asks)
        assert not first.done()
    eventually(lambda: router.is_free)


def test_while_it_writes_down_that_it_goes_on_with_the_next(router: Router) -> None:
    async def fails(_: Asked) -> Reply:
        raise ProviderUnavailableError("It is down.")

    guard = AdmissionGuard(router.breakers, router.limits)
    reply = Routing(router.guard, router.asked, router.way).reply(partial(guard, go_on=fails))
    router.cancel(reply, router.moves)
    router.pass_a_minute()
    eventually(lambda: router.is_free)
    assert router.limits.renew() is None  # nothing that a heartbeat would hold for longer
