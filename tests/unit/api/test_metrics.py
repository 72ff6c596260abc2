"""``/metrics`` of the API has the tenants of agents.toml by their names, as a worker has them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from redis.exceptions import ConnectionError as RedisAwayError

from api.metrics import sight
from api.services import Services
from celery_agents.contracts.tenants import TenantState
from celery_agents.contracts.watching import Cluster
from tests.support.api import settings


class Parts:
    """Those of an API with a worker, on which 25 tenants have more queued than the known one."""

    def __init__(self, known: frozenset[str]) -> None:
        self.tenants = known
        self.settings = SimpleNamespace(queue="agents")
        self.redis = SimpleNamespace(pipeline=self._away)
        self.overview = SimpleNamespace(cluster=lambda: Cluster(workers=(), queues=()))
        self.targets = SimpleNamespace(read=list)
        queued = {f"t{n}": n + 10 for n in range(25)} | {"acme": 1}
        states = [TenantState(name=t, queue="agents", queued=n) for t, n in queued.items()]
        self.client = SimpleNamespace(
            tenants=lambda: states,
            budgets=list,
            limits=SimpleNamespace(list=list),
            cache=SimpleNamespace(list=list),
        )

    def _away(self, **_: Any) -> Any:
        raise RedisAwayError

    async def read(self, work: Any) -> Any:
        return work()

    async def ask(self, _: Any, work: Any, **__: Any) -> Any:
        return work()


def test_tenants_of_the_configuration_have_their_names(tmp_path: Path, redis_url: str) -> None:
    config = tmp_path / "agents.toml"
    config.write_text("[agents]\n[tenants.acme]\n")
    given = settings(redis_url, f"sqlite:///{tmp_path}/j.db", config=config)
    parts: Any = Parts(Services(given).tenants)
    found = asyncio.run(sight(parts, None))  # type: ignore[arg-type]
    (queued,) = [family for family in found.families() if family.name == "agents_tenant_queued"]
    values = {sample.labels["tenant"]: sample.value for sample in queued.samples}
    assert values["acme"] == 1
    assert len(values) == 22  # with the 20 with most queued, and ``other``
