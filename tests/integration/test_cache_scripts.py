"""The shared cache on a real Redis: bounded in bytes, by dollars saved, and one asks at a time."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from app.admission.scripts import CLOCK
from app.caching import scripts, sights
from app.caching.shared import Found, Missed, SharedAnswers, Sought, Taken
from celery_agents import names
from celery_agents.contracts.caching import CacheState

pytestmark = pytest.mark.databases("none")

#: Time as the test says it.
STOPPED = "local now = tonumber(redis.call('GET', 'now'))\n"
NOW = 1_700_000_000_000
MOST = 64 * 1024


@pytest.fixture(autouse=True)
def _now(redis: Redis) -> None:
    redis.set("now", NOW)


def answers_at(redis: Redis, most_bytes: int = MOST, clock: str = STOPPED) -> SharedAnswers:
    return SharedAnswers(redis, most_bytes=most_bytes, lease_s=7, clock=clock)


@pytest.fixture
def answers(redis: Redis) -> SharedAnswers:
    return answers_at(redis)


def asked(key: str = "k", step: str = "s", name: str = "gpt") -> Sought:
    return Sought(key, name, step)


def put(answers: SharedAnswers, one: Sought, text: str = "t", **about: Any) -> list[str]:
    told = {"ttl_s": 60.0, "price_usd": 0.01, "worth_usd": 0.01, **about}
    return answers.put(one, text, **told).result()[1]


def test_an_answer_is_found_until_it_ends(redis: Redis, answers: SharedAnswers) -> None:
    one = asked()
    assert answers.look(one, "use").result() == Missed(leads=True)
    put(answers, one, "said")
    until = NOW + 60_000
    assert answers.look(one, "use").result() == Found("said", until, 0.01)
    assert answers.look(one, "use", until).result() == Found(None, until, 0.01)
    assert answers.look(one, "use", until - 1).result() == Found("said", until, 0.01)
    redis.set("now", until)
    assert answers.look(one, "count", until).result() == Missed()
    state = CacheState(name="gpt", local_hits=1, shared_hits=2, misses=1, saved_usd=0.03)
    answers.missed("gpt")
    assert answers.states().result() == [state]


def test_one_asks_and_all_others_wait_for_it(answers: SharedAnswers) -> None:
    leader, others = asked(step="leader"), [asked(step=f"s{n}") for n in range(3)]
    assert answers.look(leader, "use").result() == Missed(leads=True)
    assert answers.look(leader, "use").result() == Missed(leads=True)  # its next attempt
    for place, one in enumerate(others):
        found = answers.look(one, "use").result()
        assert isinstance(found, Taken)
        assert 0 < found.lease_s <= 7
        assert answers.park(one, 2 - place).result() == []
    wait_s, woken = answers.pump("k").result()
    assert wait_s is not None
    assert (0 < wait_s <= 7, woken) == (True, [])
    assert answers.leave(others[0], alone=False).result() == []  # it does not lead
    assert put(answers, leader) == ["s2", "s1", "s0"]
    assert isinstance(answers.look(others[0], "use").result(), Found)
    assert answers.park(others[0], 0).result() == ["s0"]  # it came too late to be woken
    assert answers.pump("k").result() == (None, [])


def test_who_leads_and_fails_is_followed_by_one(redis: Redis, answers: SharedAnswers) -> None:
    leader, others = asked(step="leader"), [asked(step=f"s{n}") for n in range(3)]
    answers.look(leader, "use").result()
    for place, one in enumerate(others):
        answers.park(one, place).result()
    assert answers.leave(leader, alone=False).result() == ["s0"]
    assert answers.look(others[0], "use").result() == Missed(leads=True)
    redis.delete(f"{names.CACHE_KEYS}lead:k")  # it is dead
    assert answers.pump("k").result() == (scripts.WOKEN_MS / 1000, ["s1"])
    answers.renew(others[0])  # it lives after all, in a Redis that has lost it
    assert isinstance(answers.look(others[1], "use").result(), Taken)
    # Of what is never kept all ask by themselves.
    assert answers.leave(others[0], alone=True).result() == ["s2"]
    assert answers.look(others[1], "use").result() == Missed()
    assert answers.park(others[1], 0).result() == ["s1"]


def test_who_asks_anew_waits_for_nobody(answers: SharedAnswers) -> None:
    one, other = asked(step="one"), asked(step="other")
    put(answers, one)
    assert answers.look(one, "refresh").result() == Missed(leads=True)
    assert answers.look(other, "refresh").result() == Missed()
    put(answers, other, "newer")
    found = answers.look(one, "use").result()
    assert isinstance(found, Found)
    assert found.text == "newer"


class Gdsf:
    """The rule in plain words: what is least worth its bytes goes, and all others age by that."""

    def __init__(self, most: int) -> None:
        self.most, self.age = most, 0.0
        self.entries: dict[str, tuple[float, int, int, float]] = {}  # rank, size, hits, worth

    def _rank(self, key: str, size: int, hits: int, worth: float) -> None:
        self.entries[key] = (self.age + hits * worth / size, size, hits, worth)

    def hit(self, key: str) -> bool:
        if key not in self.entries:
            return False
        _, size, hits, worth = self.entries[key]
        self._rank(key, size, hits + 1, worth)
        return True

    def put(self, key: str, size: int, worth: float) -> None:
        _, _, hits, _ = self.entries.pop(key, (0, 0, 1, 0))
        if size > self.most / scripts.LARGEST_PART:
            return
        while self.entries and sum(e[1] for e in self.entries.values()) + size > self.most:
            goes = min(self.entries, key=lambda k: (self.entries[k][0], k))
            self.age = self.entries.pop(goes)[0]
        self._rank(key, size, hits, worth)


acts = st.tuples(st.sampled_from("abcdefghijklmnop"), st.integers(0, 9000), st.integers(1, 900))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(acts, max_size=60))
def test_what_goes_is_least_worth_its_bytes(redis: Redis, happens: list[Any]) -> None:
    redis.flushdb()
    redis.set("now", NOW)
    answers, rule = answers_at(redis), Gdsf(MOST)
    for key, length, cents in happens:
        found = answers.look(asked(key), "use").result()
        assert isinstance(found, Found) == rule.hit(key)
        if isinstance(found, Missed):
            put(answers, asked(key), "x" * length, worth_usd=cents / 100)
            rule.put(key, length + len("gpt") + scripts.OVERHEAD_BYTES, cents * 1e7)
        kept = redis.hkeys(f"{names.CACHE_KEYS}values")
        assert {k.decode() for k in kept} == rule.entries.keys()  # type: ignore[union-attr]
    (state,) = answers.states().result() or [CacheState(name="gpt")]
    assert state.entries == len(rule.entries)
    assert state.bytes == sum(e[1] for e in rule.entries.values()) <= MOST


@pytest.mark.parametrize("length", [10, 400, 5_000])
def test_it_takes_no_more_memory_than_it_may(redis: Redis, length: int) -> None:
    most = 2 * 1024 * 1024
    answers = answers_at(redis, most, CLOCK)
    rng = random.Random(length)
    puts = [
        answers.put(
            asked(rng.randbytes(16).hex()),
            rng.randbytes(length // 2).hex(),
            ttl_s=3600,
            price_usd=rng.random(),
            worth_usd=rng.random(),
        )
        for _ in range(3 * most // (length + scripts.OVERHEAD_BYTES))
    ]
    for told in puts:
        told.result()
    keys = [*redis.scan_iter(f"{names.CACHE_KEYS}*")]
    used = sum(redis.memory_usage(key, samples=0) or 0 for key in keys)
    (state,) = answers.states().result()
    assert 0.8 * most < state.bytes <= most
    assert 0.3 * most < used <= 1.05 * most


def test_what_has_ended_makes_room(redis: Redis, answers: SharedAnswers) -> None:
    for n in range(5):
        put(answers, asked(f"old{n}"), worth_usd=1e6)
    redis.set("now", NOW + 60_001)
    put(answers, asked("new"))
    (state,) = answers.states().result()
    assert state.entries == 1


def test_answers_of_one_are_forgotten(redis: Redis, answers: SharedAnswers) -> None:
    large = answers_at(redis, 8 * 1024 * 1024)
    for n in range(450):
        put(large, asked(f"k{n}", name="ab"[n % 2]))
    assert sights.forget(answers, "a") == 225
    assert {s.name: s.entries for s in answers.states().result()} == {"a": 0, "b": 225}
    assert sights.forget(answers, "nobody") == 0
    assert sights.forget(answers, None) == 225
    assert [*redis.scan_iter(f"{names.CACHE_KEYS}*")] == [f"{names.CACHE_KEYS}stats".encode()]
    put(answers, asked("again"))
    assert {s.name: s.entries for s in answers.states().result()} == {"a": 0, "b": 0, "gpt": 1}


def near(answers: SharedAnswers, group: str, after: int = 0) -> list[tuple[str, bytes]]:
    return [(key, vector) for _, key, vector in answers.near(group, after).result()[1]]


def test_vectors_stand_beside_their_answers(redis: Redis, answers: SharedAnswers) -> None:
    for n in range(3):
        put(answers, asked(f"k{n}"), near=("ab"[n % 2], bytes([0, 255, n])))
    assert near(answers, "a") == [("k0", b"\x00\xff\x00"), ("k2", b"\x00\xff\x02")]
    assert near(answers, "a", 1) == [("k2", b"\x00\xff\x02")]
    put(answers, asked("k0"), near=("a", b"new"))
    assert near(answers, "a", 3) == [("k0", b"new")]
    assert answers.near("a", 3).result()[0] == 4
    answers.forget(["k0"]).result()
    assert near(answers, "a") == [("k2", b"\x00\xff\x02")]
    redis.set("now", NOW + 60_001)
    put(answers, asked("other"))
    assert (near(answers, "a"), near(answers, "b")) == ([], [])
    (state,) = answers.states().result()
    assert state.entries == 1


def test_an_answer_that_is_compared_is_no_hit(answers: SharedAnswers) -> None:
    put(answers, asked("k0"))
    assert answers.look(asked("k1"), "use").result() == Missed(leads=True)
    assert isinstance(answers.look(asked("k0"), "compare").result(), Found)
    answers.missed("gpt")  # it is asked all the same
    (state,) = answers.states().result()
    assert (state.similar_hits, state.misses) == (0, 1)
    assert isinstance(answers.look(asked("k0"), "similar").result(), Found)
    (state,) = answers.states().result()
    assert (state.similar_hits, state.misses, state.hit_rate) == (1, 1, 0.5)
