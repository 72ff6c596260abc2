"""Gauges of limits and tenants: what they add up to, and how few labels they have."""

from __future__ import annotations

from agents.policies.breaker import Standing
from app.telemetry.exposition import page
from app.telemetry.gauges import NAMED_MAX, ServiceGauges
from celery_agents.contracts.budgets import BudgetPolicy, BudgetState, Spent
from celery_agents.contracts.caching import CacheState
from celery_agents.contracts.limits import LimitPolicy, LimitState
from celery_agents.contracts.tenants import TenantState
from celery_agents.contracts.watching import Cluster, QueueState, ServingWorker
from tests.support.prometheus import needs_promtool, promtool


def told(sight: ServiceGauges) -> dict[tuple[str, str], float]:
    samples = [s for family in sight.families() for s in family.samples]
    return {(s.name, next(iter(s.labels.values()), "")): s.value for s in samples}


def test_each_limit_is_one_series() -> None:
    one = LimitPolicy(concurrent=2)
    states = [
        LimitState(name="all", policy=one, in_use=2, waiting=7),
        LimitState(name="each", policy=one, subject="a", in_use=1, waiting=1, paused_s=3.0),
        LimitState(name="each", policy=one, subject="b", in_use=2, waiting=4),
    ]
    found = {key: n for key, n in told(ServiceGauges(limits=states)).items() if "limit" in key[0]}
    assert found == {
        ("agents_limit_in_use", "all"): 2,
        ("agents_limit_in_use", "each"): 3,
        ("agents_limit_waiting", "all"): 7,
        ("agents_limit_waiting", "each"): 5,
        ("agents_limit_paused", "all"): 0,
        ("agents_limit_paused", "each"): 1,
    }


def test_a_few_tenants_have_their_names() -> None:
    states = [TenantState(name=f"t{n:03}", queue="q", queued=200 - n) for n in range(100)]
    states += [TenantState(name="", queue="q", queued=5, in_flight=6)]
    states += [TenantState(name="known", queue="q", queued=1, in_flight=2)]
    found = told(ServiceGauges(tenants=states, known=frozenset({"known"})))
    queued = {label: n for (name, label), n in found.items() if name == "agents_tenant_queued"}
    assert len(queued) == NAMED_MAX + 3
    assert (queued["t000"], queued["known"], queued["none"]) == (200, 1, 5)
    assert queued["other"] == sum(200 - n for n in range(NAMED_MAX, 100))
    assert found["agents_tenant_in_flight", "none"] == 6


def test_breakers_as_numbers() -> None:
    standings = {"agent:a": Standing.OPEN, "agent:b": Standing.HALF_OPEN, "c": Standing.CLOSED}
    found = told(ServiceGauges(breakers=standings))
    assert [n for (name, _), n in found.items() if name == "agents_breaker_state"] == [1, 0.5, 0]


def test_the_unit_that_is_used_most_tells_of_a_budget() -> None:
    policy = BudgetPolicy(usd=10, calls=4)
    states = [
        BudgetState(name="b", policy=policy, subject="x", spent=Spent(nano_usd=10**9, calls=1)),
        BudgetState(name="b", policy=policy, subject="y", reserved=Spent(calls=3)),
        BudgetState(name="none", policy=BudgetPolicy(tokens=0), in_doubt=Spent(calls=2)),
    ]
    found = told(ServiceGauges(budgets=states))
    assert found["agents_budget_used_ratio", "b"] == 0.75
    assert found["agents_budget_used_ratio", "none"] == 1
    assert found["agents_budget_in_doubt_calls", "none"] == 2


@needs_promtool
def test_promtool_finds_nothing_wrong() -> None:
    worker = ServingWorker(name="w", host="h", pid=1, started_at=0, lease_left_s=-1, running=0)
    cluster = Cluster(workers=(worker,), queues=(QueueState(name="q", queued={0: 3}),), ready=3)
    target = {"target": "agent:a", "state": "healthy", "latency_ms": 2.0, "age_s": 1.0}
    found = ServiceGauges(
        cluster=cluster,
        accepted=2,
        targets=[target],
        breakers={"agent:a": Standing.OPEN},
        limits=[LimitState(name="l", policy=LimitPolicy(concurrent=2))],
        tenants=[TenantState(name="t", queue="q")],
        budgets=[BudgetState(name="b", policy=BudgetPolicy(usd=1))],
        caches=[CacheState(name="c")],
    )
    assert promtool("check", "metrics", text=page(found.families())) == ""
