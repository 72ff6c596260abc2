"""Laws of merging: in any order, in any grouping and any number of times it is the same value."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.replicated import changes as made_of
from agents.replicated.causality import CausalContext
from agents.replicated.changes import checked_delta, delta
from agents.replicated.values import Replicated, merge_all
from celery_agents.contracts.flows.replicated import TYPES, changes_of
from celery_agents.errors import InvalidPayloadError
from tests.support.drawn import costly

REPLICAS = ("a", "b", "c")
_FIELDS = ("counter:n", "register:r", "set:s", "map:m")
_ELEMENTS = ["tea", "salt", 1, None, {"b": 1, "a": [2]}]
#: Of each step: who, whom it hears of before or that it changes something, what, and whether later.
_STEPS = st.lists(
    st.tuples(
        st.sampled_from(REPLICAS),
        st.sampled_from([None, None, *REPLICAS]),
        st.integers(0, 999),
        st.booleans(),
    ),
    max_size=14,
)


def act_of(data_type: str, chance: random.Random) -> dict[str, Any]:
    """Choose a change that the type does."""
    if chance.random() < 0.1:
        return {"act": "clear"}
    if data_type == "counter":
        return {"act": "increment", "value": chance.randint(-5, 5)}
    if data_type == "register":
        return {"act": "assign", "value": chance.choice(_ELEMENTS)}
    if data_type == "set":
        return {"act": chance.choice(["add", "discard"]), "value": chance.choice(_ELEMENTS)}
    if chance.random() < 0.2:
        return {"act": "remove", "value": chance.choice(_FIELDS)}
    path = [chance.choice(_FIELDS)]
    if path[-1].startswith("map:"):
        path.append(chance.choice(_FIELDS[:3]))
    return {**act_of(path[-1].partition(":")[0], chance), "path": path}


def played(
    data_type: str, steps: list[tuple[str, str | None, int, bool]]
) -> tuple[list[Replicated], list[Replicated]]:
    """Deltas of three replicas that hear of each other now and then; and what each has then."""
    have = {name: Replicated(data_type) for name in REPLICAS}
    made: list[Replicated] = []
    at = 0.0
    for replica, heard, choice, later in steps:
        at += later
        if heard is None:
            change = [act_of(data_type, random.Random(choice))]
            read = changes_of(change, data_type)  # type: ignore[arg-type]
            made.append(delta(have[replica], read, replica, at))
            have[replica] = have[replica].merge(made[-1])
        else:
            have[replica] = have[replica].merge(have[heard])
    return made, [*have.values()]


@pytest.mark.parametrize("data_type", TYPES)
@settings(max_examples=costly(50, part=3), deadline=None)
@given(steps=_STEPS)
def test_merging_is_commutative_associative_and_idempotent(
    data_type: str, steps: list[tuple[str, str | None, int, bool]]
) -> None:
    made, have = played(data_type, steps)
    values = [*made[:4], *have]
    for one, other in itertools.combinations_with_replacement(values, 2):
        assert one.merge(other) == other.merge(one)
    for one, other, third in itertools.product(values[-4:], values[:4], values):
        assert one.merge(other).merge(third) == one.merge(other.merge(third))
    for one in values:
        assert one.merge(one) == one


@pytest.mark.parametrize("data_type", TYPES)
@settings(max_examples=50, deadline=None)
@given(steps=_STEPS, order=st.integers(0, 999))
def test_deltas_converge_in_any_order_and_again(
    data_type: str, steps: list[tuple[str, str | None, int, bool]], order: int
) -> None:
    made, have = played(data_type, steps)
    whole = Replicated(data_type)
    for one in have:
        whole = whole.merge(one)
    told = [json.loads(json.dumps(one.as_delta())) for one in made * 2]
    random.Random(order).shuffle(told)
    found = Replicated(data_type)
    for one in told:
        found = found.merge(checked_delta(data_type, one, now=0.0))
        found = Replicated.from_json(json.loads(json.dumps(found.as_json())))
    assert found == whole
    assert found.context.cloud == frozenset()
    assert found.context.compare(whole.context) == "equal"


@pytest.mark.parametrize("data_type", TYPES)
@settings(max_examples=costly(50, part=3), deadline=None)
@given(
    steps=_STEPS,
    cuts=st.lists(st.integers(0, 14), max_size=3),
    order=st.integers(0, 999),
    named=st.sampled_from([0, 10_000]),
)
def test_what_stands_for_many_changes_is_merged_as_they_are(
    data_type: str,
    steps: list[tuple[str, str | None, int, bool]],
    cuts: list[int],
    order: int,
    named: int,
) -> None:
    """Whoever has them finds that it changes nothing, and the other way round."""
    made, _ = played(data_type, steps)
    bounds = [0, *sorted(cuts), len(made)]
    parts = [made[a:b] for a, b in itertools.pairwise(bounds) if made[a:b]]
    told = [json.loads(json.dumps(merge_all(part).as_whole(named))) for part in parts]
    assert all(("vector" in one) is (not named) for one in told)
    wholes = [checked_delta(data_type, one, now=0.0) for one in told]
    for part, whole in zip(parts, wholes, strict=True):
        assert whole == merge_all(part)
        assert all(whole.merge(one) == whole for one in part)
    every = Replicated(data_type)
    for one in made:
        every = every.merge(one)
    assert all(every.merge(whole) == every for whole in wholes)
    mixed = [*wholes, *made]
    random.Random(order).shuffle(mixed)
    found = Replicated(data_type)
    for one in mixed:
        found = found.merge(one)
    assert found == every


def changed(had: Replicated, replica: str, /, at: float = 0.0, **change: Any) -> Replicated:
    read = changes_of([change], had.data_type)  # type: ignore[arg-type]
    return had.merge(delta(had, read, replica, at))


def test_a_counter_goes_up_and_down_on_both_sides() -> None:
    first = changed(Replicated("counter"), "a", act="increment", value=5)
    second = changed(first, "b", act="increment", value=-2)
    first = changed(first, "a", act="increment", value=10)
    assert first.merge(second).value == second.merge(first).value == 13


def test_an_addition_wins_over_a_removal_that_has_not_seen_it() -> None:
    first = changed(Replicated("set"), "a", act="add", value="tea")
    second = changed(first, "b", act="discard", value="tea")
    first = changed(first, "a", act="add", value="tea")
    assert second.value == []
    assert first.merge(second).value == ["tea"]
    seen = changed(first.merge(second), "b", act="discard", value="tea")
    assert first.merge(seen).value == []


def test_the_last_writer_wins_and_what_was_assigned_beside_is_told() -> None:
    first = changed(Replicated("register"), "a", at=7.0, act="assign", value="early")
    second = changed(Replicated("register"), "b", at=8.0, act="assign", value="late")
    both = first.merge(second)
    assert (both.value, both.conflicts) == ("late", ["early"])
    slow = changed(both, "a", at=1.0, act="assign", value="by a slow clock, who has seen both")
    assert both.merge(slow).value == "by a slow clock, who has seen both"
    assert slow.conflicts == []


def test_a_field_that_is_changed_elsewhere_survives_its_removal() -> None:
    path = ["map:order", "set:items"]
    first = changed(Replicated("map"), "a", act="add", path=path, value="tea")
    second = changed(first, "b", act="remove", value="map:order")
    assert second.value == {}
    first = changed(first, "a", act="add", path=path, value="salt")
    assert first.merge(second).value == {"order": {"items": ["salt"]}}
    twice = changed(first, "a", act="assign", path=["register:order"], value=1)
    assert twice.value == {"order": {"items": ["salt", "tea"]}, "register:order": 1}


def test_versions_are_compared() -> None:
    one, two = CausalContext.of(["a:1"]), CausalContext.of(["a:1", "b:1"])
    assert (one.compare(two), two.compare(one), one.compare(one)) == ("before", "after", "equal")
    assert two.compare(CausalContext.of(["a:1", "a:2"])) == "concurrent"
    ahead = CausalContext.of(["a:3"])
    assert "a:3" in ahead
    assert "a:2" not in ahead
    assert ahead.next_of("a") == "a:4"
    assert ahead.merge(CausalContext.of(["a:1", "a:2"])) == CausalContext({"a": 3})


def test_what_others_would_not_take_over_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Replicated("set")
    for element in ("tea", "salt", "oil"):
        whole = changed(whole, "a", act="add", value=element)
    monkeypatch.setattr(made_of, "_SEEN_MAX", 3)
    with pytest.raises(InvalidPayloadError, match="at once"):
        changed(whole, "a", act="clear")
    fewer = changed(whole, "a", act="discard", value="tea")
    assert changed(fewer, "a", act="discard", value="oil").value == ["salt"]


def test_a_text_may_have_halves_of_surrogate_pairs() -> None:
    told = delta(
        Replicated("set"), changes_of([{"act": "add", "value": "\ud800"}], "set"), "a", 0.0
    ).as_delta()
    json.dumps(told, ensure_ascii=False).encode()  # no key and no value of it is in the way
    assert checked_delta("set", told, now=0.0).value == ["\ud800"]


def nested(depth: int) -> Any:
    store: Any = {"counter:n": {"a:1": 1}}
    for _ in range(depth):
        store = {"map:m": store}
    return store


@pytest.mark.parametrize(
    ("data_type", "told"),
    [
        ("set", None),
        ("set", {"store": {}}),
        ("set", {"store": {"tea": {"a:1": 1}}, "seen": ["a:1"]}),  # its elements are JSON
        ("set", {"store": {'{"b": 1}': {"a:1": 1}}, "seen": ["a:1"]}),
        ("counter", {"store": {"a:1": 1}, "seen": []}),
        ("counter", {"store": {"a:1": True}, "seen": ["a:1"]}),
        ("counter", {"store": {"a:1": "7"}, "seen": ["a:1"]}),
        ("counter", {"store": {"a:0": 7}, "seen": ["a:0"]}),
        ("counter", {"store": {"a:1": 7}, "seen": [["a", 1]]}),
        ("register", {"store": {"a:1": [1e300, "for ever"]}, "seen": ["a:1"]}),
        ("register", {"store": {"a:1": [float("nan"), 1]}, "seen": ["a:1"]}),
        ("register", {"store": {"a:1": 7}, "seen": ["a:1"]}),
        ("register", {"store": {"a:1": [1, float("inf")]}, "seen": ["a:1"]}),
        (
            "register",
            {"store": {"a:1": [1, {"__type__": "uuid", "__value__": 1}]}, "seen": ["a:1"]},
        ),
        ("set", {"store": {"NaN": {"a:1": 1}}, "seen": ["a:1"]}),
        ("set", {"store": {'{"__type__":1,"__value__":1}': {"a:1": 1}}, "seen": ["a:1"]}),
        ("counter", {"store": {"a:1": 10**400}, "seen": ["a:1"]}),
        ("counter", {"store": {"a:1": 1, "a:01": 1}, "seen": ["a:1"]}),
        ("counter", {"store": {}, "seen": ["a:" + "9" * 400]}),
        ("counter", {"store": {}, "vector": {"a": 1}}),
        ("counter", {"store": {}, "vector": {"a": True}, "cloud": []}),
        ("counter", {"store": {}, "vector": {"a": -1}, "cloud": []}),
        ("counter", {"store": {}, "vector": {"": 1}, "cloud": []}),
        ("counter", {"store": {}, "vector": {"a": 10**16}, "cloud": []}),
        ("counter", {"store": {}, "vector": ["a"], "cloud": []}),
        ("counter", {"store": {"a:2": 7}, "vector": {"a": 1}, "cloud": []}),
        ("counter", {"store": {}, "seen": ["a:" + "9" * 18]}),
        ("map", {"store": {"tree:m": {}}, "seen": []}),
        ("map", {"store": {"set:": {}}, "seen": []}),
        ("map", {"store": {"set:a\nb": {}}, "seen": []}),
        ("map", {"store": nested(5_000), "seen": ["a:1"]}),
    ],
)
def test_what_is_no_change_is_refused(data_type: str, told: Any) -> None:
    with pytest.raises(InvalidPayloadError, match=f"no change of a {data_type}"):
        checked_delta(data_type, told, now=100.0)
