"""Breakers on a real Redis: the Lua keeps the rules, for many threads, and fails open."""

from __future__ import annotations

import json
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from agents.policies import breaker as rules
from agents.policies.breaker import Breaker, BreakerPolicy, Standing, Verdict
from app.admission import scripts as module
from app.admission.breakers import Admission, Breakers, Change, Switch
from app.admission.scripts import BATCH, TIMEOUT_S, Query
from celery_agents import names
from tests.support.redis_server import RedisServer
from tests.unit.agents.policies.test_breaker import happenings, policies

pytestmark = pytest.mark.databases("none")

#: Time as the test says it.
STOPPED = "local now = tonumber(redis.call('GET', 'now'))\n"


@pytest.fixture
def stopped(redis: Redis) -> Breakers:
    return Breakers(redis, clock=STOPPED)


def switch(name: str = "agent:a", **policy: Any) -> Switch:
    return Switch(name, BreakerPolicy(**{"failures": 2, "open_s": 30, **policy}))


def fail(breakers: Breakers, one: Switch, times: int) -> list[Change]:
    return [c for n in range(times) for c in breakers.tell([one], f"f{n}", ["bad"]).result()]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(policies, happenings)
def test_the_script_and_the_rules_agree(
    redis: Redis, stopped: Breakers, policy: BreakerPolicy, what: list[Any]
) -> None:
    redis.flushdb()
    breakers, one = stopped, Switch("x", policy)
    record, now, n, out = Breaker(), 1_700_000_000_000, 0, []
    for pause, act, which in what:
        now += pause
        redis.set("now", now)
        before = record.standing
        if act == "ask":
            n += 1
            expected = rules.ask(policy, record, now, f"c{n}")
            found = breakers.ask([one], f"c{n}").result()
            assert found.refused_by == (None if expected.wait is None else "x")
            assert found.wait_s == (expected.wait or 0) / 1000
            assert found.probe is (f"c{n}" in expected.breaker.probes)
            if expected.wait is None:
                record = expected.breaker
                out.append(f"c{n}")
            changes = list(found.changes)
        elif out:
            call = out.pop(which % len(out))
            record = rules.tell(policy, record, now, call, act)
            changes = list(breakers.tell([one], call, [act]).result())
        else:
            continue
        changed = [] if record.standing is before else [Change("x", before, record.standing)]
        assert changes == changed
        refuses = rules.ask(policy, record, now, "another").wait is not None
        assert breakers.refusing([one]) == ({"x"} if refuses else set())


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(policies, policies, st.lists(happenings, max_size=6))
def test_what_goes_in_one_write_is_as_one_by_one(
    redis: Redis,
    stopped: Breakers,
    policy: BreakerPolicy,
    other: BreakerPolicy,
    parts: list[list[Any]],
) -> None:
    redis.flushdb()
    now, asked = 1_700_000_000_000, count()
    out: list[str] = []
    for acts in parts:
        now += sum(pause for pause, _, _ in acts)
        redis.set("now", now)
        calls = [f"c{next(asked)}" for _, act, _ in acts if act == "ask"]
        ends = [
            (
                out.pop(n % len(out)) if out else f"unknown {next(asked)}",
                [act, list(Verdict)[n % 3]],
            )
            for _, act, n in acts
            if act != "ask"
        ]

        def questions(name: str, ends: Any = ends, calls: Any = calls) -> list[Query]:
            both = [Switch(f"{name}1", policy), Switch(f"{name}2", other)]
            told = [stopped.telling(both, call, said) for call, said in ends]
            return told + [stopped.asking(both, call) for call in calls]

        together = stopped.scripts.run_all(questions("x")).result()
        alone = [stopped.scripts.run(q).result() for q in questions("y")]
        assert str(together).replace("'x", "'y") == str(alone)
        for place in "12":
            assert _record(redis, f"x{place}") == _record(redis, f"y{place}")
        out += [
            call for call, one in zip(calls, alone[len(ends) :], strict=True) if not one.refused_by
        ]


def _record(redis: Redis, name: str) -> Any:
    return json.loads(redis.get(names.BREAKERS + name) or "null")


def test_many_that_ask_the_same_are_one_command_of_redis(redis: Redis) -> None:
    breakers, one = Breakers(redis), switch()
    breakers.ask([one], "first").result()  # which gives Redis the scripts
    redis.config_resetstat()
    ends = [breakers.telling([one], f"e{n}", ["good"]) for n in range(20)]
    asked = [breakers.asking([one], f"c{n}") for n in range(20)]
    assert breakers.scripts.run_all([*ends, *asked]).result()[20:] == [Admission()] * 20
    told = redis.info("commandstats")
    assert (told["cmdstat_evalsha"]["calls"], told["cmdstat_set"]["calls"]) == (2, 1)


@pytest.mark.parametrize(("later_ms", "opens"), [(999, True), (1000, False)])
def test_the_scripts_window_slides(
    redis: Redis, stopped: Breakers, later_ms: int, opens: bool
) -> None:
    one = switch(failures=100, rate=0.5, min_calls=4, window_s=1.0)
    begin = 1_700_000_000_000  # where a part of the window begins
    redis.set("now", begin)
    assert fail(stopped, one, 3) == []
    redis.set("now", begin + later_ms)
    assert bool(fail(stopped, one, 1)) is opens


def test_who_asks_again_keeps_its_place(redis: Redis) -> None:
    breakers = Breakers(redis)
    one = switch(failures=1, open_s=0.05)
    fail(breakers, one, 1)
    threading.Event().wait(0.1)
    found = [breakers.ask([one], call).result().refused_by for call in ("a", "a", "b")]
    assert found == [None, None, "agent:a"]


def test_it_opens_for_everybody(redis: Redis, redis_url: str) -> None:
    one = switch()
    assert fail(Breakers(redis), one, 2) == [Change("agent:a", "closed", "open")]
    with Redis.from_url(redis_url) as other:
        found = Breakers(other).ask([one], "c").result()
    assert found.refused_by == "agent:a"
    assert 25 < found.wait_s <= 30


def test_only_so_many_probes_of_many_threads(redis: Redis) -> None:
    breakers = Breakers(redis)
    one = switch(open_s=0.05, probes=3, successes=3)
    fail(breakers, one, 2)
    threading.Event().wait(0.1)
    start = threading.Barrier(16)

    def come(n: int) -> list[Admission]:
        start.wait()
        return [breakers.ask([one], f"{n}/{i}").result() for i in range(10)]

    with ThreadPoolExecutor(16) as pool:
        found = [a for many in pool.map(come, range(16)) for a in many]
    assert sum(a.refused_by is None for a in found) == 3
    assert [c for a in found for c in a.changes] == [Change("agent:a", "open", "half_open")]


def test_failures_of_many_threads_all_count(redis: Redis) -> None:
    breakers = Breakers(redis)
    one = switch(failures=64, min_calls=1000)
    with ThreadPoolExecutor(16) as pool:
        told = list(pool.map(lambda n: breakers.tell([one], f"{n}", ["bad"]), range(64)))
    assert [c for reply in told for c in reply.result()] == [Change("agent:a", "closed", "open")]


def test_a_refusal_of_one_takes_no_place_of_the_other(redis: Redis) -> None:
    breakers = Breakers(redis)
    agent = switch("agent:a", open_s=0.05, failures=1)
    provider = switch("provider:p", failures=1)
    breakers.tell([agent, provider], "f", ["bad", "bad"]).result()
    threading.Event().wait(0.1)
    assert breakers.ask([agent, provider], "c").result().refused_by == "provider:p"
    assert breakers.ask([agent], "d").result().refused_by is None  # its only place was free
    assert breakers.refusing([agent, provider]) == {"agent:a", "provider:p"}


def test_verdicts_are_told_apart(redis: Redis) -> None:
    breakers = Breakers(redis)
    both = [switch("agent:a", failures=1), switch("provider:p", failures=1)]
    told = breakers.tell(both, "c", ["bad", "none"]).result()
    assert told == (Change("agent:a", "closed", "open"),)
    assert breakers.refusing(both) == {"agent:a"}


def test_records_do_not_stay_for_ever(redis: Redis) -> None:
    breakers = Breakers(redis)
    fail(breakers, switch(), 1)
    (key,) = redis.keys(f"{names.BREAKERS}*")
    assert 0 < redis.ttl(key) < 3 * 3600
    breakers.tell([switch("quiet")], "c", ["none"]).result()
    assert redis.keys(f"{names.BREAKERS}*") == [key]


def test_the_rules_half_open_record_is_closed_by_deletion(redis: Redis) -> None:
    breakers = Breakers(redis)
    one = switch(open_s=0.05, failures=1)
    fail(breakers, one, 1)
    threading.Event().wait(0.1)
    assert breakers.ask([one], "c").result().changes[0].after == Standing.HALF_OPEN
    assert breakers.tell([one], "c", [Verdict.GOOD]).result()[0].after == Standing.CLOSED
    assert redis.keys(f"{names.BREAKERS}*") == []


def test_a_redis_that_forgot_the_scripts_is_given_them_again(redis: Redis) -> None:
    breakers, one = Breakers(redis), switch()
    fail(breakers, one, 1)
    redis.script_flush()
    assert fail(breakers, one, 1) == [Change("agent:a", "closed", "open")]


def test_a_record_that_cannot_be_read_is_in_the_way_of_nobody_else(redis: Redis) -> None:
    breakers, other = Breakers(redis), switch("agent:b")
    redis.lpush(f"{names.BREAKERS}agent:a", "no record")
    fail(breakers, other, 2)
    assert breakers.ask([switch()], "c").result() == Admission()
    assert breakers.ask([other], "c").result().refused_by == "agent:b"


def test_without_redis_everything_passes_and_is_said_once(
    own_broker: RedisServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TRY_AGAIN_S", 0.0)
    caplog.set_level(logging.WARNING)
    own_broker.start()
    # A busy machine is not an outage; a Redis that is down refuses at once.
    with Redis.from_url(own_broker.url, socket_timeout=20, socket_connect_timeout=20) as client:
        client.config_set("appendfsync", "always")  # else a kill may cost it what it wrote last
        breakers, one = Breakers(client), switch()
        fail(breakers, one, 2)
        assert breakers.refusing([one]) == {"agent:a"}
        own_broker.kill()
        for _ in range(3):
            assert breakers.ask([one], "c").result() == Admission()
            assert list(breakers.tell([one], "c", ["bad"]).result()) == []
            assert breakers.refusing([one]) == set()
        said = [r.getMessage() for r in caplog.records if "without Redis" in r.getMessage()]
        assert len(said) == 1
        own_broker.start()
        assert breakers.ask([one], "c").result().refused_by == "agent:a"


def test_a_frozen_redis_holds_up_a_thousand_calls_no_longer_than_one(
    own_broker: RedisServer,
) -> None:
    own_broker.start()
    with Redis.from_url(own_broker.url, socket_timeout=TIMEOUT_S) as client:
        breakers, one = Breakers(client), switch()
        fail(breakers, one, 2)
        own_broker.pause()
        began = time.monotonic()
        asked = [breakers.ask([one], f"{n}") for n in range(1000)]
        assert {reply.result() for reply in asked} == {Admission()}
        # Each write of those would take its own timeout, had they to be tried.
        assert time.monotonic() - began < 1000 / BATCH * TIMEOUT_S
        own_broker.resume()
