"""The choice among several while Redis is away: by this process's share, breakers let through."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from agents.governance.routing import Order
from agents.needs import Needs
from app.admission import scripts
from app.admission.limits.tickets import Asker, load_of
from app.admission.routing.choosing import Chooser, Chosen, NoneFree, Option
from celery_agents.contracts.limits import LimitPolicy
from tests.support.entries import agent_of
from tests.unit.app.admission.limits.test_passage import Redis, limits_of

TABLE = {"kind": "openai", "model": "m"}
AGENTS = {
    name: agent_of(name, lambda: None, None, TABLE | {"api_key_env": f"KEY_{name}"})
    for name in "ab"
}


class Away:
    """A process without Redis."""

    def __init__(self, workers: int = 1, **policies: LimitPolicy) -> None:
        redis = Redis()
        redis.away = True
        self.limits = limits_of(redis, workers, 0, **policies)
        self.chooser = Chooser(self.limits)

    def choose(self, who: str, there: Any = "order") -> Chosen | NoneFree:
        options = []
        for agent in AGENTS.values():
            ticket = self.limits.ticket(agent, Asker(who), "run", Needs(), (load_of(agent),))
            options.append(Option(agent, (), ticket))
        order = Order(tuple(AGENTS), there)
        question = self.chooser.asking(options, order, call=who, router="r")
        found: Chosen | NoneFree = self.limits.scripts.run(question).result()
        return found


@pytest.fixture(autouse=True)
def _soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts, "TRY_AGAIN_S", 0.0)
    monkeypatch.setattr(scripts, "exchange", Redis.exchange)


@pytest.mark.parametrize(("workers", "each"), [(1, 4), (2, 2), (4, 1)])
def test_each_has_its_share(workers: int, each: int) -> None:
    away = Away(workers, key=LimitPolicy(per="key", concurrent=4))
    found = [away.choose(f"w{n}") for n in range(10)]
    chosen = Counter(one.option.agent.name for one in found if isinstance(one, Chosen))
    assert chosen == {"a": each, "b": each}
    refused = found[-1]
    assert isinstance(refused, NoneFree)
    assert not refused.error().refusal.parks  # there is no queue to stand in


@pytest.mark.parametrize("there", ["load", "turns"])
def test_many_are_spread(there: str) -> None:
    away = Away()
    found = [away.choose(f"w{n}", there) for n in range(10)]
    names = Counter(one.option.agent.name for one in found if isinstance(one, Chosen))
    assert names == {"a": 5, "b": 5}
