"""Gauges of limits and tenants: what they add up to, and how few labels they have."""

from __future__ import annotations

from typing import Any

import pytest
from redis.exceptions import RedisError

from app.admission.limits import sights
from app.execution.runtime import Runtime
from app.maintenance import governed
from celery_agents.contracts.limits import LimitPolicy, LimitState
from celery_agents.contracts.tenants import TenantPolicy, TenantState


def told(families: list[Any]) -> dict[tuple[str, str], float]:
    samples = [s for family in families for s in family.samples]
    return {(s.name, next(iter(s.labels.values()))): s.value for s in samples}


def test_each_limit_is_one_series(monkeypatch: pytest.MonkeyPatch, runtime: Runtime) -> None:
    one = LimitPolicy(concurrent=2)
    states = [
        LimitState(name="all", policy=one, in_use=2, waiting=7),
        LimitState(name="each", policy=one, subject="a", in_use=1, waiting=1, paused_s=3.0),
        LimitState(name="each", policy=one, subject="b", in_use=2, waiting=4),
    ]
    monkeypatch.setattr(sights, "states", lambda *_: states)
    monkeypatch.setattr(sights, "tenants", lambda *_: [])
    assert told(governed.governed(runtime)) == {
        ("agents_limit_in_use", "all"): 2,
        ("agents_limit_in_use", "each"): 3,
        ("agents_limit_waiting", "all"): 7,
        ("agents_limit_waiting", "each"): 5,
        ("agents_limit_paused", "all"): 0,
        ("agents_limit_paused", "each"): 1,
    }


def test_a_few_tenants_have_their_names(monkeypatch: pytest.MonkeyPatch, runtime: Runtime) -> None:
    states = [TenantState(name=f"t{n:03}", queue="q", queued=200 - n) for n in range(100)]
    states += [TenantState(name="", queue="q", queued=5, in_flight=6)]
    states += [TenantState(name="known", queue="q", queued=1, in_flight=2)]
    monkeypatch.setattr(runtime.agents.registry, "tenants", {"known": TenantPolicy()})
    monkeypatch.setattr(sights, "tenants", lambda *_: states)
    found = told(governed.governed(runtime))
    queued = {label: n for (name, label), n in found.items() if name == "agents_tenant_queued"}
    assert len(queued) == governed.NAMED_MAX + 3
    assert (queued["t000"], queued["known"], queued["none"]) == (200, 1, 5)
    assert queued["other"] == sum(200 - n for n in range(governed.NAMED_MAX, 100))
    assert found["agents_tenant_in_flight", "none"] == 6


def test_without_redis_nothing_is_told(monkeypatch: pytest.MonkeyPatch, runtime: Runtime) -> None:
    def away(*_: object) -> None:
        raise RedisError("gone")

    monkeypatch.setattr(sights, "tenants", away)
    assert governed.governed(runtime) == []
