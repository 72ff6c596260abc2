"""Dealing units of work: each to one member, by the strategy that was asked for."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.flows.dealing import Dealing
from celery_agents.contracts.teams.swarm import Working
from tests.support.drawn import costly


def asked(count: int, members: int, **more: Any) -> Working:
    names = {f"m{n}": "a" for n in range(members)}
    return Working(swarm="s", members=names, input=tuple(range(count)), **more)


def test_like_cards() -> None:
    desk = Dealing(asked(5, 2))
    assert [*desk.begin()] == [(0, "m0"), (1, "m1")]
    desk.end("m0")
    assert [*desk.begin()] == [(2, "m0")]
    desk.end("m0")
    assert [*desk.begin()] == [(4, "m0")]
    desk.end("m0")
    assert [*desk.begin()] == []
    assert desk.left == 1  # the other one's


def test_whoever_is_free() -> None:
    desk = Dealing(asked(5, 2, strategy="least_busy"))
    assert [*desk.begin()] == [(0, "m0"), (1, "m1")]
    for unit in (2, 3, 4):
        desk.end("m1")
        assert [*desk.begin()] == [(unit, "m1")]
    assert desk.left == 0


def test_the_least_busy_first() -> None:
    desk = Dealing(asked(9, 2, strategy="least_busy", at_a_time=2))
    assert [name for _, name in desk.begin()] == ["m0", "m1", "m0", "m1"]
    for name in ("m0", "m0", "m1"):
        desk.end(name)
    assert [name for _, name in desk.begin()] == ["m0", "m0", "m1"]


def test_the_most_urgent_first() -> None:
    units: Any = ({"priority": 7}, "plain", {"priority": 1}, {"priority": "no"}, {"priority": 1})
    told = Working(swarm="s", members={"m": "a"}, input=units, strategy="priority", at_a_time=9)
    assert [unit for unit, _ in Dealing(told).begin()] == [2, 4, 1, 3, 0]


def test_who_leaves_and_who_joins() -> None:
    desk = Dealing(asked(9, 3))
    assert len([*desk.begin()]) == 3
    desk.know({"m0": "a", "new": "b"})
    assert desk.members["new"] == "b"
    assert [*desk.begin()] == [(4, "new")]  # the first one is still at its unit
    desk.know({})
    desk.end("m0")
    assert [*desk.begin()] == []
    assert desk.left == 5
    desk.know({"last": "a"})
    assert [*desk.begin()] == [(3, "last")]


@settings(max_examples=costly(100, part=3))
@given(st.data(), st.sampled_from(["round_robin", "least_busy", "priority"]))
def test_each_unit_once_whoever_comes_and_goes(data: Any, strategy: Any) -> None:
    count = data.draw(st.integers(0, 30))
    about: Any = {"strategy": strategy, "at_a_time": data.draw(st.integers(1, 3))}
    desk, given_to, under_way = Dealing(asked(count, 3, **about)), list[int](), Counter[str]()
    for _ in range(200):
        for unit, name in desk.begin():
            assert name in desk.members
            given_to.append(unit)
            under_way[name] += 1
            assert under_way[name] <= about["at_a_time"]
        busy = sorted(name for name, units in under_way.items() if units)
        if not busy and not desk.left:
            break
        if data.draw(st.booleans()) or not busy:
            names = data.draw(st.sets(st.integers(0, 4), min_size=0 if busy else 1))
            desk.know({f"m{n}": "a" for n in sorted(names)})
        else:
            name = data.draw(st.sampled_from(busy))
            under_way[name] -= 1
            desk.end(name)
    while desk.left or +under_way:
        desk.know({"m0": "a"})
        for name in [*under_way.elements()]:
            desk.end(name)
        under_way.clear()
        for unit, name in desk.begin():
            given_to.append(unit)
            under_way[name] += 1
    assert sorted(given_to) == [*range(count)]


@pytest.mark.parametrize("told", [{"members": {}}, {"input": "no"}, {"strategy": "other"}])
def test_what_is_no_work(told: dict[str, Any]) -> None:
    about: dict[str, Any] = {"swarm": "s", "members": {"m": "a"}, "input": (1,)}
    with pytest.raises(ValueError, match=r"."):
        Working(**{**about, **told})
