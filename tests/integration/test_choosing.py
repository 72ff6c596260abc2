"""The choice among several on a real Redis: the first that is free is reserved, and no herd."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from agents.governance import limits as rules
from agents.governance.limits import Book, Concurrency, Want
from agents.governance.routing import Order
from agents.governance.wants import Wanted
from agents.needs import Needs
from agents.policies.breaker import BreakerPolicy
from app.admission.breakers import Breakers, Switch
from app.admission.limits.plans import Plan
from app.admission.limits.shared import SharedLimits
from app.admission.limits.tickets import Asker, Ticket, load_of
from app.admission.routing.choosing import Chooser, Chosen, NoneFree, Option, in_all_queues
from celery_agents import names
from celery_agents.errors import BreakerOpenError, NotAdmittedError
from tests.integration.test_limit_scripts import LEASE_MS, NOW, STOPPED, wants
from tests.support.entries import agent_of

pytestmark = pytest.mark.databases("none")

POLICY = BreakerPolicy(failures=1, open_s=30.0, probes=1)
ALL = ("a", "b", "c", "d")


@pytest.fixture(autouse=True)
def _now(redis: Redis) -> None:
    redis.set("now", NOW)


class Process:
    """Chooses as one worker process does."""

    def __init__(self, redis: Redis) -> None:
        self.breakers = Breakers(redis, clock=STOPPED)
        scripts = self.breakers.scripts
        self.limits = SharedLimits(scripts, {}, lease_s=7, standing=lambda: (0, 2), clock=STOPPED)
        self.chooser = Chooser(self.limits)

    def choose(
        self, who: str, options: dict[str, Sequence[Want]], there: Any = "order", **about: Any
    ) -> Chosen | NoneFree:
        made = [option(who, name, *of, **about) for name, of in options.items()]
        order = Order(tuple(options), there)
        question = self.chooser.asking(made, order, call=f"{who}/1", router="r")
        found: Chosen | NoneFree = self.limits.scripts.run(question).result()
        return found

    def tell(self, chosen: Chosen | NoneFree) -> tuple[str, ...]:
        assert isinstance(chosen, Chosen)
        return self.limits.tell(chosen.option.ticket, Needs()).result().woken


def option(who: str, name: str, *of: Want, again: bool = False, guarded: bool = False) -> Option:
    wanted = tuple(Wanted(want.key, want, None) for want in of)
    agent = agent_of(name, lambda: None)
    switches = (Switch(agent.target, POLICY),) if guarded else ()
    return Option(agent, switches, Ticket(Asker(who, again=again), Needs(), Plan(wanted), name))


def name_of(found: Chosen | NoneFree) -> str:
    assert isinstance(found, Chosen), found
    return found.option.agent.name


def slots(*on: str, most: int = 1) -> dict[str, Sequence[Want]]:
    return {name: [Concurrency(name, most)] for name in on}


def by_load(*on: str) -> dict[str, Sequence[Want]]:
    return {name: [load_of(agent_of(name, lambda: None)).want] for name in on}


@pytest.fixture
def process(redis: Redis) -> Process:
    return Process(redis)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2000),
            st.lists(st.lists(wants, min_size=1, max_size=3), min_size=1, max_size=4),
        ),
        max_size=25,
    )
)
def test_the_script_takes_the_first_that_the_rules_let_through(
    redis: Redis, process: Process, happens: list[Any]
) -> None:
    redis.flushdb()
    book, now = Book(), NOW
    for n, (pause, offered) in enumerate(happens):
        now += pause
        redis.set("now", now)
        expected = None
        for place, of in enumerate(offered):
            book, denied = rules.ask(book, of, f"w{n}", now, LEASE_MS)
            if denied is None:
                expected = place
                book, _ = rules.send(book, of, now)
                break
        found = process.choose(f"w{n}", {f"d{place}": of for place, of in enumerate(offered)})
        if expected is None:
            assert isinstance(found, NoneFree)
            assert len(found.refused) == len(offered)
        else:
            assert name_of(found) == f"d{expected}"


@pytest.mark.parametrize("there", ["load", "turns"])
def test_many_at_once_from_two_processes_are_spread_evenly(redis: Redis, there: str) -> None:
    two = [Process(redis), Process(redis)]
    found = [two[n % 2].choose(f"w{n}", by_load(*ALL), there) for n in range(40)]
    assert Counter(map(name_of, found)) == dict.fromkeys(ALL, 10)


def test_by_load_what_has_ended_counts_no_more(process: Process) -> None:
    found = [process.choose(f"w{n}", by_load("a", "b"), "load") for n in range(4)]
    assert [name_of(one) for one in found] == ["a", "b", "a", "b"]
    process.tell(found[1])
    process.tell(found[3])
    assert name_of(process.choose("w5", by_load("a", "b"), "load")) == "b"


def test_who_waits_for_several_is_granted_the_first_that_is_free(
    redis: Redis, process: Process
) -> None:
    held = [process.choose(f"w{n}", slots("a", "b")) for n in range(2)]
    assert [name_of(one) for one in held] == ["a", "b"]
    waits = process.choose("late", slots("a", "b"))
    assert isinstance(waits, NoneFree)
    error = waits.error()
    assert isinstance(error, NotAdmittedError)
    assert process.limits.park(error.refusal).result().woken == ()
    queues = [f"{names.LIMIT_KEYS}queue:S:{name}" for name in "ab"]
    assert [redis.zcard(queue) for queue in queues] == [1, 1]
    assert process.tell(held[1]) == ("late",)
    assert redis.exists(*queues) == 0  # it waits for the other no more
    assert name_of(process.choose("late", slots("a", "b"), again=True)) == "b"
    assert process.tell(held[0]) == ()
    assert name_of(process.choose("next", slots("a", "b"))) == "a"


def test_what_becomes_free_before_it_is_parked_wakes_it_at_once(process: Process) -> None:
    held = [process.choose(f"w{n}", slots("a", "b")) for n in range(2)]
    waits = process.choose("late", slots("a", "b"))
    assert isinstance(waits, NoneFree)
    process.tell(held[1])
    parked = process.limits.park(in_all_queues(waits.refused)).result()
    assert parked.woken == ("late",)
    assert name_of(process.choose("late", slots("a", "b"), again=True)) == "b"


def test_a_pause_of_one_does_not_hold_who_waits_for_both(process: Process) -> None:
    wanted: dict[str, Sequence[Want]] = {
        name: [rules.Pause(name), Concurrency(name, 1)] for name in "ab"
    }
    held = [process.choose(f"w{n}", wanted) for n in range(2)]
    waits = process.choose("late", wanted)
    assert isinstance(waits, NoneFree)
    process.limits.park(in_all_queues(waits.refused)).result()
    process.limits.pause(["a"], 3600).result()
    process.limits.pump().result()
    ((queue, place, _),) = process.limits.places(["late"]).result()
    assert (queue, place) in {("P:a", 1), ("S:b", 1)}
    assert process.tell(held[1]) == ("late",)


def test_who_takes_another_than_it_waits_for_leaves_all_queues(
    redis: Redis, process: Process
) -> None:
    process.choose("w0", slots("a"))
    waits = process.choose("late", slots("a"))
    assert isinstance(waits, NoneFree)
    process.limits.park(in_all_queues(waits.refused)).result()
    assert name_of(process.choose("late", slots("a", "b"), again=True)) == "b"
    assert redis.keys(f"{names.LIMIT_KEYS}queue:*") == []
    assert redis.hlen(f"{names.LIMIT_KEYS}asks") == 0


def test_an_open_breaker_leaves_the_next_one_and_all_open_ones_an_error(
    redis: Redis, process: Process
) -> None:
    bad = [Switch("agent:a", POLICY)]
    process.breakers.tell(bad, "x", ["bad"]).result()
    both = slots("a", "b", most=9)
    assert name_of(process.choose("w0", both, guarded=True)) == "b"
    redis.set("now", NOW + 10_000)
    process.breakers.tell([Switch("agent:b", POLICY)], "x", ["bad"]).result()
    none = process.choose("w1", both, guarded=True)
    assert isinstance(none, NoneFree)
    error = none.error()
    assert isinstance(error, BreakerOpenError)
    assert error.retry_after_s == 20
    redis.set("now", NOW + 31_000)
    first, second = (process.choose(who, both, guarded=True) for who in ("w2", "w3"))
    assert isinstance(first, Chosen)
    assert (first.option.agent.name, first.probe) == ("a", True)
    assert [(c.before, c.after) for c in first.changes] == [("open", "half_open")]
    assert isinstance(second, NoneFree)  # one probe alone, and b is open still


def test_a_refusal_by_a_limit_takes_no_place_among_the_probes(
    redis: Redis, process: Process
) -> None:
    process.choose("w0", slots("a"))
    process.breakers.tell([Switch("agent:a", POLICY)], "x", ["bad"]).result()
    redis.set("now", NOW + 31_000)
    process.limits.renew()
    assert isinstance(process.choose("w1", slots("a"), guarded=True), NoneFree)
    assert name_of(process.choose("w2", slots("a", most=9), guarded=True)) == "a"
