"""Limits on a real Redis: the Lua keeps the rules, wakes in a fair order, and loses nothing."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from agents.governance import limits as rules
from agents.governance.limits import Book, Concurrency, Pause, Rate, Start, ToldRate, Want
from agents.governance.wants import Wanted
from agents.needs import Needs
from app.admission import scripts
from app.admission.limits.lua.rules import COMING_MS
from app.admission.limits.plans import Plan
from app.admission.limits.shared import SharedLimits as Shared
from app.admission.limits.tickets import Asker, NotAdmitted, Pumped, Ticket
from app.admission.scripts import Query, Scripts
from celery_agents import names
from celery_agents.contracts.limits import LimitPolicy

pytestmark = pytest.mark.databases("none")

#: Time as the test says it.
STOPPED = "local now = tonumber(redis.call('GET', 'now'))\n"
NOW = 1_700_000_000_000
LEASE_MS = 7000


@pytest.fixture(autouse=True)
def _now(redis: Redis) -> None:
    redis.set("now", NOW)


def limits_at(redis: Redis, clock: str = STOPPED) -> Shared:
    policies = {"x": LimitPolicy(concurrent=1)}
    about: Any = {"standing": lambda: (0, 2), "weights": {"third": 3.0}}
    return Shared(Scripts(redis), policies, lease_s=7, clock=clock, **about)


@pytest.fixture
def limits(redis: Redis) -> Shared:
    return limits_at(redis)


def ticket(who: str, *wants: Want, tenant: str = "", priority: int = 5) -> Ticket:
    def what(want: Want) -> Any:
        return "requests" if isinstance(want, Rate | ToldRate) else None

    wanted = tuple(Wanted(want.key, want, what(want)) for want in wants)
    return Ticket(Asker(who, tenant, priority), Needs(), Plan(wanted))


def answer(limits: Shared, one: Ticket) -> NotAdmitted | float:
    found: NotAdmitted | float = limits.scripts.run(limits.asking(one)).result()
    return found


def ask(limits: Shared, one: Ticket) -> NotAdmitted | None:
    found = answer(limits, one)
    return found if isinstance(found, NotAdmitted) else None


def park(limits: Shared, one: Ticket) -> Pumped:
    """Ask, and wait where that is refused."""
    refused = ask(limits, one)
    assert refused is not None
    return limits.park(refused).result()


def of_a_woken(one: Ticket) -> Ticket:
    return Ticket(one.asker._replace(again=True), one.needs, Plan(one.wanted))


def again(limits: Shared, one: Ticket) -> NotAdmitted | None:
    """Ask as a step that was woken."""
    return ask(limits, of_a_woken(one))


def slots(most: int = 1) -> Concurrency:
    return Concurrency("x", most)


def a_rate(per_s: float, burst_s: float = 1.0, cost: int = 1, key: str = "r") -> Rate:
    unit_ms = 1000 / per_s
    return Rate(key, rules.burst_ms(unit_ms, burst_s), unit_ms, cost)


wants = st.one_of(
    st.builds(Rate, st.sampled_from("ab"), st.floats(50, 3000), st.floats(1, 500), st.just(1)),
    st.builds(Rate, st.sampled_from("ab"), st.just(1000.0), st.just(7.0), st.integers(0, 400)),
    st.builds(Concurrency, st.sampled_from("cd"), st.integers(1, 3)),
    st.builds(Pause, st.sampled_from(["p", "acc"])),
    st.just(Start("u", "acc")),
    st.builds(
        ToldRate, st.just("l"), st.just("acc"), st.just("requests"), st.just(0.5), st.just(3)
    ),
)
acts = st.one_of(
    st.tuples(st.just("ask"), st.lists(wants, min_size=1, max_size=4)),
    st.tuples(st.just("tell"), st.integers(0, 400)),
    st.tuples(st.just("pause"), st.sampled_from(["p", "acc"]), st.integers(1, 4000)),
    st.tuples(st.just("resume"), st.sampled_from(["p", "acc"])),
    st.tuples(st.just("learned"), st.integers(1, 100_000)),
    st.tuples(st.just("left"), st.integers(0, 20), st.integers(0, 500)),
    st.tuples(st.sampled_from(["answered", "refused"])),
)
LEFT = a_rate(10, key="a")


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 3000), acts), max_size=40))
def test_the_scripts_and_the_rules_agree(redis: Redis, limits: Shared, happens: list[Any]) -> None:
    redis.flushdb()
    book, now, out = Book(), NOW, []
    for n, (pause, (act, *of)) in enumerate(happens):
        now += pause
        redis.set("now", now)
        if act == "ask":
            one = ticket(f"w{n}", *of[0])
            book, expected = rules.ask(book, of[0], f"w{n}", now, LEASE_MS)
            found = answer(limits, one)
            if expected is None:
                book, early_ms = rules.send(book, of[0], now)
                assert found == math.ceil(early_ms) / 1000
                out.append(one)
                continue
            assert isinstance(found, NotAdmitted)
            assert found.place == expected.place
            wait_s = None if expected.wait_ms is None else math.ceil(expected.wait_ms) / 1000
            assert found.wait_s == wait_s
        elif act == "tell" and out:
            one = out.pop(of[0] % len(out))
            every = [w.want for w in one.wanted]
            used = {w.key: 1 for w in every if isinstance(w, Rate | ToldRate)}
            book = rules.settle(book, every, one.asker.step_id, now, used)
            limits.tell(one, Needs()).result()
        elif act == "pause":
            book = rules.pause(book, of[0], now + of[1])
            limits.tell(ticket("-"), None, [("pause", of[0], of[1])]).result()
        elif act == "resume":
            book = rules.resume(book, of[0])
            limits.resume([of[0]]).result()
        elif act == "learned":
            told = {**book.learned.get("acc", {}), "requests": of[0]}
            book = replace(book, learned={"acc": told})
            limits.tell(ticket("-"), None, [("learned", "acc", "requests", of[0])]).result()
        elif act == "left":
            book = rules.lower(book, LEFT, of[0], now, of[1])
            free = replace(LEFT, cost=0)
            limits.tell(ticket("-", free), None, [("left", 1, *of)]).result()
        elif act in {"answered", "refused"}:
            grown = act == "answered"
            book = rules.answered(book, "acc") if grown else rules.refused(book, "acc", now)
            limits.tell(ticket("-"), None, [(act, "acc")]).result()


TOGETHER = (
    Wanted("acc", Pause("acc")),
    Wanted("c", Concurrency("c", 3)),
    Wanted("a", Rate("a", 1000.0, 7.0, 0), "tokens"),
    Wanted("b", a_rate(50, burst_s=0.5, key="b"), "requests"),
)
one_write = st.tuples(
    st.integers(0, 2000), st.lists(st.integers(0, 150), max_size=5), st.lists(st.integers(0, 99))
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(one_write, max_size=10))
def test_what_goes_in_one_write_is_as_one_by_one(
    redis: Redis, limits: Shared, writes: list[Any]
) -> None:
    redis.flushdb()
    plan, book, now, out = Plan(TOGETHER), Book(), NOW, list[Ticket]()
    for pause, costs, ends in writes:
        now += pause
        redis.set("now", now)
        over = [out.pop(n % len(out)) for n in ends if out]
        told = list[Query]()
        for one in over:  # they took half as much again
            real = Needs(one.needs.input_tokens * 3 // 2)
            told.append(telling(limits, one, real))
            used = {"a": real.input_tokens, "b": 1}
            every = [w.want for w in one.wanted]
            book = rules.settle(book, every, one.asker.step_id, now, used)
        asking = [Ticket(Asker(f"{now} {n}"), Needs(c), plan) for n, c in enumerate(costs)]
        questions = [*map(limits.asking, asking), *told]
        answers = limits.scripts.run_all(questions).result() if questions else []
        for one, found in zip(asking, answers, strict=False):
            who, every = one.asker.step_id, [w.want for w in one.wanted]
            book, expected = rules.ask(book, every, who, now, LEASE_MS)
            if expected is None:
                book, early_ms = rules.send(book, every, now)
                assert found == math.ceil(early_ms) / 1000
                out.append(one)
            else:
                assert isinstance(found, NotAdmitted)
                assert found.place == expected.place


def telling(limits: Shared, one: Ticket, real: Needs | None, *said: Any) -> Query:
    """The question by which it is told how a request went."""
    told = list[Any]()
    run, limits.scripts.run = limits.scripts.run, told.append  # type: ignore[method-assign, assignment]
    try:
        limits.tell(one, real, said)
    finally:
        limits.scripts.run = run  # type: ignore[method-assign]
    (found,) = told
    assert isinstance(found, Query)
    return found


def test_many_that_ask_the_same_are_one_command_of_redis(redis: Redis, limits: Shared) -> None:
    plan = Plan(TOGETHER)
    tickets = [Ticket(Asker(f"w{n}"), Needs(n), plan) for n in range(3)]
    limits.scripts.run_all([*map(limits.asking, tickets)]).result()
    limits.scripts.run_all([telling(limits, one, Needs(1)) for one in tickets]).result()
    redis.config_resetstat()
    limits.scripts.run_all([*map(limits.asking, tickets)]).result()
    limits.scripts.run_all([telling(limits, one, Needs(1)) for one in tickets]).result()
    commands = redis.info("commandstats")
    assert commands["cmdstat_evalsha"]["calls"] == 2
    assert commands["cmdstat_set"]["calls"] <= 8  # each number once a write


def test_a_provider_that_says_never_spoils_nothing_of_others(redis: Redis, limits: Shared) -> None:
    """Redis keeps nothing for so long, and refuses all that is told in the same write."""
    told = Wanted("l", ToldRate("l", "acc", "requests", 0.5, 1), "requests")
    plan = Plan((Wanted("acc", Pause("acc")), Wanted("c", Concurrency("c", 3)), told))
    both = [Ticket(Asker(who), Needs(), plan) for who in "ab"]
    limits.scripts.run_all([*map(limits.asking, both)]).result()
    never = ("pause", "acc", 1e30)
    ends = [telling(limits, both[0], Needs(), never), telling(limits, both[1], Needs())]
    limits.scripts.run_all(ends).result()
    assert redis.zcard(f"{names.LIMIT_KEYS}S:c") == 0
    assert ask(limits, both[0]) is not None
    limits.resume(["acc"]).result()
    limits.tell(ticket("-"), None, [("learned", "acc", "requests", 1e-30)]).result()
    assert ask(limits, both[1]) is None
    assert redis.exists(f"{names.LIMIT_KEYS}R:l") == 1
    assert ask(limits, both[0]) is not None


def test_who_waits_is_woken_once_in_its_turn_and_admitted(redis: Redis, limits: Shared) -> None:
    first = ticket("first", slots())
    assert ask(limits, first) is None
    waiting = [ticket(f"w{n}", slots()) for n in range(3)]
    lapses = Pumped(again={"S:x": 7.0})  # when nobody tells
    assert [park(limits, one) for one in waiting] == [lapses] * 3
    refused = ask(limits, ticket("late", slots()))
    assert refused is not None
    assert refused.before == 3
    assert [limits.tell(first, Needs()).result().woken] == [("w0",)]
    assert ask(limits, ticket("late", slots())) is not None
    assert again(limits, waiting[0]) is None
    assert limits.tell(waiting[0], Needs()).result().woken == ("w1",)
    assert again(limits, waiting[1]) is None
    assert limits.tell(waiting[1], Needs()).result().woken == ("w2",)


def test_a_crowd_that_asks_before_anybody_stands_knows_how_long_it_is(
    redis: Redis, limits: Shared
) -> None:
    """Else each would take its turn to be near, and come too early by itself."""
    one = a_rate(100, burst_s=0.01)
    assert ask(limits, ticket("first", one)) is None
    crowd = [ticket(f"w{n}", one) for n in range(4)]
    refused = [found for each in crowd if (found := ask(limits, each)) is not None]
    assert [found.before for found in refused] == [0, 1, 2, 3]
    assert [(ask(limits, each) or refused[0]).before for each in crowd] == [0, 1, 2, 3]  # once each
    limits.park(refused[0]).result()
    last = ask(limits, crowd[3])
    assert last is not None
    assert last.before == 3
    redis.set("now", NOW + COMING_MS)  # who does not come is not waited for
    late = ask(limits, ticket("late", one))
    assert late is None or late.before <= 1


def test_what_becomes_free_before_it_is_parked_wakes_it_at_once(limits: Shared) -> None:
    first, second = ticket("first", slots()), ticket("second", slots())
    assert ask(limits, first) is None
    refused = ask(limits, second)
    assert refused is not None
    limits.tell(first, Needs()).result()
    assert limits.park(refused).result().woken == ("second",)


def test_a_rate_says_when_to_pump_and_wakes_as_many_as_fit(redis: Redis, limits: Shared) -> None:
    one = a_rate(100, burst_s=0.05)
    for n in range(5):
        assert ask(limits, ticket(f"a{n}", one)) is None
    found = [park(limits, ticket(f"w{n}", one)) for n in range(8)]
    assert found[-1].again == {"R:r": 0.01}
    redis.set("now", NOW + 30)
    pumped = limits.pump(["R:r"]).result()
    assert pumped.woken == ("w0", "w1", "w2")
    assert pumped.again == {"R:r": 0.01}
    redis.set("now", NOW + 10_000)
    assert limits.pump(["R:r"]).result().woken == ("w3", "w4", "w5", "w6", "w7")
    assert not redis.exists(f"{names.LIMIT_KEYS}queues", f"{names.LIMIT_KEYS}asks")


def test_tenants_take_turns_and_priority_goes_first(limits: Shared) -> None:
    first = ticket("first", slots())
    assert ask(limits, first) is None
    for n in range(50):
        park(limits, ticket(f"heavy{n}", slots(), tenant="heavy"))
    for n in range(3):
        park(limits, ticket(f"light{n}", slots(), tenant="light"))
    park(limits, ticket("urgent", slots(), tenant="heavy", priority=1))
    order: list[str] = []
    woken = limits.tell(first, Needs()).result().woken
    while woken:
        order += woken
        one = ticket(woken[0], slots())
        assert again(limits, one) is None
        woken = limits.tell(one, Needs()).result().woken
    assert len(order) == 54
    assert order[0] == "urgent"
    assert max(order.index(f"light{n}") for n in range(3)) <= 6


def test_a_tenant_with_a_weight_is_woken_so_much_more_often(limits: Shared) -> None:
    held = ticket("first", slots())
    assert ask(limits, held) is None
    for n in range(24):
        for tenant in ("third", "other"):
            park(limits, ticket(f"{tenant}{n}", slots(), tenant=tenant))
    order: list[str] = []
    for _ in range(24):
        (woken,) = limits.tell(held, Needs()).result().woken
        order.append(woken[:5])
        held = ticket(woken, slots())
        assert again(limits, held) is None
    assert order.count("third") == 18


def test_nothing_is_held_while_something_else_is_waited_for(redis: Redis, limits: Shared) -> None:
    """A step that wants a slot and a rate is granted both or none, so they cannot lock."""
    one = a_rate(1, burst_s=1.0)
    first = ticket("first", slots(), one)
    assert ask(limits, first) is None
    both = ticket("both", slots(), one)
    assert park(limits, both).again == {"S:x": 7.0}  # for the slot
    pumped = limits.tell(first, Needs(1)).result()
    assert pumped.woken == ()
    assert pumped.again == {"R:r": 1.0}  # now for the rate
    assert limits.places(["both"]).result() == [("R:r", 1, 1.0)]
    assert redis.zcard(f"{names.LIMIT_KEYS}S:x") == 0
    redis.set("now", NOW + 1000)
    assert limits.pump(["R:r"]).result().woken == ("both",)
    assert again(limits, both) is None


def test_a_grant_that_nobody_takes_is_taken_back(redis: Redis, limits: Shared) -> None:
    first, gone, other = (ticket(name, slots()) for name in ("first", "gone", "other"))
    assert ask(limits, first) is None
    park(limits, gone)
    park(limits, other)
    assert limits.tell(first, Needs()).result().woken == ("gone",)
    assert limits.revoke(["gone"]).result().woken == ("other",)
    assert limits.revoke(["gone", "nobody"]).result() == Pumped()


def test_who_does_not_come_for_a_grant_is_woken_once_more(redis: Redis, limits: Shared) -> None:
    """The process that was to send its message was killed."""
    first, lost = ticket("first", slots()), ticket("lost", slots())
    assert ask(limits, first) is None
    park(limits, lost)
    assert limits.tell(first, Needs()).result().woken == ("lost",)
    assert limits.pump().result() == Pumped()  # it may be on its way
    redis.set("now", NOW + 3_000)
    assert limits.pump(["S:x"]).result() == Pumped()  # a timer of a queue looks at that alone
    assert limits.pump().result().woken == ("lost",)
    assert limits.pump().result() == Pumped()
    redis.set("now", NOW + 6_000)
    assert limits.pump().result().woken == ("lost",)
    assert again(limits, lost) is None
    redis.set("now", NOW + 12_000)
    assert limits.pump().result() == Pumped()


def test_a_grant_that_nobody_ever_takes_lapses(redis: Redis, limits: Shared) -> None:
    first, lost = ticket("first", slots()), ticket("lost", slots())
    assert ask(limits, first) is None
    park(limits, lost)
    assert limits.tell(first, Needs()).result().woken == ("lost",)
    for key in redis.scan_iter(f"{names.LIMIT_KEYS}grant:*"):
        redis.delete(key)  # as its time would
    redis.set("now", NOW + 31_000)
    assert limits.pump().result() == Pumped()
    assert not redis.exists(f"{names.LIMIT_KEYS}granted")


def test_a_grant_does_not_pass_a_pause(redis: Redis, limits: Shared) -> None:
    key = Pause("p")
    first, second = ticket("first", key, slots()), ticket("second", key, slots())
    assert ask(limits, first) is None
    park(limits, second)
    told = limits.tell(first, None, [("pause", "p", 6000)]).result()
    assert told.woken == ()
    refused = again(limits, second)
    assert refused is not None
    assert refused.lasts
    assert refused.wait_s == 6
    redis.set("now", NOW + 6000)
    assert limits.pump().result().woken == ("second",)


def test_who_was_woken_before_a_short_pause_goes_out_after_it(limits: Shared) -> None:
    key = Pause("p")
    first, second = ticket("first", key, slots()), ticket("second", key, slots())
    assert ask(limits, first) is None
    park(limits, second)
    assert limits.tell(first, Needs()).result().woken == ("second",)
    limits.tell(ticket("-"), None, [("pause", "p", 1500)]).result()
    assert answer(limits, of_a_woken(second)) == 1.5


def test_a_resumed_key_wakes_those_that_waited(limits: Shared) -> None:
    limits.pause(["p"], None).result()
    park(limits, ticket("w", Pause("p")))
    assert limits.resume(["p"]).result().woken == ("w",)


def test_keys_that_are_resumed_together_wake_who_waited_for_all_of_them(limits: Shared) -> None:
    limits.pause(["p", "acc"], 60).result()
    park(limits, ticket("both", Pause("p"), Pause("acc")))
    assert limits.resume(["p", "acc"]).result().woken == ("both",)


def test_all_that_a_request_goes_by_is_read_in_one_command(redis: Redis) -> None:
    limits = limits_at(redis, scripts.CLOCK)
    one = ticket("one", Pause("p"), Pause("acc"), slots(), a_rate(10), a_rate(20, key="q"))
    assert ask(limits, one) is None
    redis.config_resetstat()
    limits.tell(one, Needs()).result()
    assert ask(limits, one) is None
    commands = redis.info("commandstats")
    assert commands["cmdstat_mget"]["calls"] == 1
    assert "cmdstat_get" not in commands


def test_a_wiped_redis_has_what_is_held_again(redis: Redis, limits: Shared) -> None:
    assert ask(limits, ticket("a", slots())) is None
    redis.flushdb()
    redis.set("now", NOW)
    renewed = limits.renew()
    assert renewed is not None
    renewed.result()
    assert ask(limits, ticket("b", slots())) is not None
    limits.tell(ticket("a", slots()), Needs()).result()
    assert limits.renew() is None
    assert ask(limits, ticket("b", slots())) is None


def test_what_a_killed_worker_held_is_free_within_its_lease(redis: Redis, limits: Shared) -> None:
    assert ask(limits, ticket("a", slots())) is None
    redis.set("now", NOW + LEASE_MS - 1)
    assert ask(limits_at(redis), ticket("b", slots())) is not None
    redis.set("now", NOW + LEASE_MS)
    assert ask(limits_at(redis), ticket("b", slots())) is None


def test_records_do_not_stay_for_ever(redis: Redis, limits: Shared) -> None:
    one = ticket("a", Pause("p"), slots(), a_rate(10), Start("u", "acc"))
    assert ask(limits, one) is None
    limits.tell(one, Needs(1), [("pause", "p", 10), ("learned", "acc", "requests", 9)]).result()
    keys = redis.keys(f"{names.LIMIT_KEYS}*")
    assert keys
    assert all(0 < redis.ttl(key) < 2 * 3600 for key in keys)


def test_names_of_any_kind_are_told_apart(limits: Shared) -> None:
    odd = ['a"b', "a\\b", "a|b", "{a}", "ä🤖", "a'); redis.call('FLUSHALL') --"]
    for name in odd:
        assert ask(limits, ticket(f"first {name}", Concurrency(name, 1))) is None
        assert not park(limits, ticket(f"next {name}", Concurrency(name, 1), tenant=name)).woken
        told = limits.tell(ticket(f"first {name}", Concurrency(name, 1)), Needs()).result()
        assert told.woken == (f"next {name}",)


def test_a_place_that_cannot_be_read_is_in_the_way_of_nobody(redis: Redis, limits: Shared) -> None:
    assert ask(limits, ticket("first", slots())) is None
    park(limits, ticket("w", slots()))
    redis.hdel(f"{names.LIMIT_KEYS}asks", "w")
    park(limits, ticket("v", slots()))
    assert limits.tell(ticket("first", slots()), Needs()).result().woken == ("v",)
    assert json.loads(redis.hget(f"{names.LIMIT_KEYS}asks", "v") or "null") is None


def test_those_that_are_woken_and_come_all_at_once_go_out_one_by_one(
    redis: Redis, limits: Shared
) -> None:
    one = a_rate(10, burst_s=0.2)
    assert [ask(limits, ticket(f"a{n}", one)) for n in range(2)] == [None, None]
    waiting = [ticket(f"w{n}", one) for n in range(5)]
    for each in waiting:
        park(limits, each)
    woken = 0
    for n in range(5):
        redis.set("now", NOW + 100 * (n + 1))
        woken += len(limits.pump().result().woken)
    assert woken == 5
    redis.set("now", NOW + 3000)  # so long was their worker busy
    come = [of_a_woken(each) for each in waiting]
    assert [answer(limits, each) for each in come] == [0, 0, 0.1, 0.2, 0.3]
