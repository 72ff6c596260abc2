"""The order of deployments: what sessions cost, what is learned, who leaves whom."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.governance.routing import Asking, By, Experience, RoutePolicy, ServedTurn, ordered
from celery_agents.contracts.fallback import Adaptive

NAMES = ["a", "b", "c", "d"]
#: Seconds for which a provider keeps what it has read, and what reading that again costs.
KEPT_S, READ = 300.0, 0.1


def conversations(seed: int = 0) -> list[tuple[float, int, int]]:
    """Turns of 400 sessions, eight of them long ones: time, session, place in it."""
    rng, turns = random.Random(seed), []
    for session in range(400):
        at = rng.random() * 1000
        for place in range(200 if session < 8 else 20):
            turns.append((at, session, place))
            at += rng.expovariate(1 / 4)
    return sorted(turns)


def input_cost(choose: Callable[[int, int], str]) -> float:
    """Cost of all input, of what it would cost if nothing was kept."""
    kept: dict[tuple[int, str], tuple[float, int]] = {}
    paid = whole = 0.0
    for at, session, place in conversations():
        who, tokens = choose(session, place), 2000 + 400 * place
        known_at, known = kept.get((session, who), (at - 2 * KEPT_S, 0))
        paid += tokens if at - known_at > KEPT_S else tokens - known + READ * known
        whole += tokens
        kept[session, who] = (at, tokens)
    return paid / whole


def first(policy: RoutePolicy, asking: Asking, **known: object) -> str:
    return ordered(policy, NAMES, asking, **known).names[0]  # type: ignore[arg-type]


@pytest.mark.parametrize("by", ["load", "turns", "cost", "latency"])
def test_sessions_that_stay_cost_little(by: By) -> None:
    policy, known = RoutePolicy(by), Experience()
    for name in NAMES:  # as quick as each other, and asked as often
        known = known.after(ServedTurn(name, True, 1.0), policy.adaptive)

    def choose(session: int, place: int) -> str:
        asking = Asking(f"{session}/{place}", f"run {session}/{place}", f"session {session}")
        return first(policy, asking, experience=known, costs=dict.fromkeys(NAMES, 7))

    assert input_cost(choose) <= 0.14


def test_by_latency_sessions_stay_where_slow_ones_are_tried_too() -> None:
    """And one that has become the quickest is found."""
    policy, known, served = RoutePolicy("latency"), Experience(), list[str]()

    def choose(session: int, place: int) -> str:
        nonlocal known
        asking = Asking(f"{session}/{place}", f"run {session}/{place}", f"session {session}")
        who = first(policy, asking, experience=known)
        latencies_s = {"a": 4.0, "b": 1.0, "c": 1.0, "d": 1.0 if len(served) < 4_000 else 0.2}
        known = known.after(ServedTurn(who, True, latencies_s[who]), policy.adaptive)
        served.append(who)
        return who

    for turn in range(2_000):  # it has been at work before
        choose(-1 - turn % 100, 0)
    served.clear()
    assert input_cost(choose) <= 0.14  # with those that move to the quickest one
    slow = Counter(served[:4_000])["a"] / 4_000
    assert 0.01 <= slow <= 0.1
    assert Counter(served[-2_000:])["d"] >= 0.85 * 2_000


def test_sessions_that_move_about_cost_much() -> None:
    rng = random.Random(1)
    assert input_cost(lambda _session, _place: rng.choice(NAMES)) >= 0.2


@given(st.text(max_size=20), st.sets(st.text(min_size=1, max_size=8), min_size=2, max_size=8))
def test_one_that_is_gone_moves_its_own_sessions_alone(session: str, names: set[str]) -> None:
    asking, policy = Asking("s", "r", session), RoutePolicy("load")
    before = ordered(policy, sorted(names), asking).names
    for gone in names:
        after = ordered(policy, sorted(names - {gone}), asking).names
        assert after == tuple(name for name in before if name != gone)


def test_sessions_are_spread_evenly() -> None:
    policy = RoutePolicy("load")
    found = Counter(first(policy, Asking("s", "r", f"session {n}")) for n in range(4000))
    assert set(found) == set(NAMES)
    assert max(found.values()) <= 1.15 * 1000


def test_runs_without_a_session_go_by_what_is_so_where_it_is_reserved() -> None:
    for by in ("load", "turns"):
        order = ordered(RoutePolicy(by), NAMES, Asking("s", "r"))
        assert (order.there, order.names) == (by, tuple(NAMES))
    with_session = ordered(RoutePolicy("load"), NAMES, Asking("s", "r", "x"))
    assert with_session.there == "order"
    loose = ordered(RoutePolicy("load", sticky=False), NAMES, Asking("s", "r", "x"))
    assert loose.there == "load"


def test_by_cost_the_cheapest_goes_first_and_unknown_prices_last() -> None:
    costs = {"a": None, "b": 300, "c": 100, "d": 103}
    found = [
        ordered(RoutePolicy("cost"), NAMES, Asking("s", f"r{n}"), costs=costs).names
        for n in range(50)
    ]
    assert {names[2:] for names in found} == {("b", "a")}
    assert {names[:2] for names in found} == {("c", "d"), ("d", "c")}  # as good as each other


def taught(policy: RoutePolicy, *latencies_s: float) -> Experience:
    known = Experience()
    for _ in range(20):
        for name, latency_s in zip(NAMES, latencies_s, strict=True):
            known = known.after(ServedTurn(name, True, latency_s), policy.adaptive)
    return known


def test_by_latency_the_quickest_goes_first_and_others_are_tried_now_and_then() -> None:
    policy = RoutePolicy("latency")
    known = taught(policy, 4.0, 1.0, 4.0, 4.0)
    found = Counter(
        first(policy, Asking(f"step {n}", f"r{n}"), experience=known) for n in range(1000)
    )
    assert 0.9 <= found["b"] / 1000 < 1
    assert known.latency_s("b") == pytest.approx(1.0, rel=0.1)
    failed = known.after(ServedTurn("b", False, 0.01), policy.adaptive)
    assert failed.latency_s("b") == known.latency_s("b")  # to fail quickly is not to be quick


#: Who succeeds how often, takes how long and costs how much; in the second half otherwise.
WORLDS: dict[str, Sequence[Sequence[tuple[float, float, float]]]] = {
    "one is better": [[(0.9, 1, 0.001), (0.6, 1, 0.001), (0.5, 1, 0.001), (0.3, 1, 0.001)]] * 2,
    "one is quicker": [[(1, 1, 0.001), (1, 9, 0.001), (1, 20, 0.001), (1, 30, 0.001)]] * 2,
    "the best dies": [
        [(0.95, 1, 0.001), (0.8, 1, 0.001), (0.7, 1, 0.001), (0.6, 1, 0.001)],
        [(0.0, 1, 0.001), (0.8, 1, 0.001), (0.7, 1, 0.001), (0.6, 1, 0.001)],
    ],
}


@pytest.mark.parametrize("name", WORLDS)
def test_what_is_learned_earns_nine_tenths_of_the_best(name: str) -> None:
    policy, rng, known = RoutePolicy("learned"), random.Random(3), Experience()
    earned = best = 0.0
    for n in range(2000):
        world = dict(zip(NAMES, WORLDS[name][n >= 1000], strict=True))
        who = first(policy, Asking(f"s{n}", f"run {n}"), experience=known)
        succeeds, latency_s, cost_usd = world[who]
        done = rng.random() < succeeds
        known = known.after(ServedTurn(who, done, latency_s, cost_usd), policy.adaptive)
        earned += worth(policy.adaptive, world[who])
        best += max(worth(policy.adaptive, one) for one in world.values())
    assert earned >= 0.9 * best


def worth(settings: Adaptive, one: tuple[float, float, float]) -> float:
    """The expected reward, counted apart from the code that learns."""
    succeeds, latency_s, cost_usd = one
    fast = 1 / (1 + latency_s / settings.latency_scale_s)
    cheap = 1 / (1 + cost_usd / settings.cost_scale_usd)
    total = settings.success + settings.latency + settings.cost
    weighed = settings.success + settings.latency * fast + settings.cost * cheap
    return succeeds * weighed / total


def test_experience_is_a_small_json_value_that_later_versions_may_add_to() -> None:
    known = taught(RoutePolicy("learned"), 1.0, 2.0, 3.0, 4.0)
    told = known.compact() | {"more": 1}
    assert Experience.read(told) == known
    assert Experience.read({}).latency_s("a") is None
