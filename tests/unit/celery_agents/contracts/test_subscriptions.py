"""Streams that belong together, keys of events, and how long those are kept."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celery_agents.contracts.flows.entries import OWN
from celery_agents.contracts.flows.subscriptions import (
    StreamLimits,
    StreamSet,
    SubscriptionRule,
)
from celery_agents.errors import InvalidPayloadError

EVENT: dict[str, Any] = {
    "stream": "order/7",
    "seq": 3,
    "kind": "paid",
    "key": None,
    "data": {"id": "a", "of": {"n": 5, "all": [1, {"x": "y"}]}, "none": None, "{": "odd"},
}


@pytest.mark.parametrize(
    ("of", "inside", "outside"),
    [
        ("order/7", ["order/7"], ["order/", "order/71", "Order/7"]),
        ("order/*", ["order/", "order/7", "order/7/8"], ["order", "orders/7"]),
        ("*", ["order/7", "x", "sessions"], ["session/x", "flow/x", "signals/x", "graph/step/x"]),
        ("s*", ["shop"], ["session/x", "signals/x", "order"]),
    ],
)
def test_streams_that_belong_together(of: str, inside: list[str], outside: list[str]) -> None:
    streams = StreamSet.of(of)
    assert streams.text == of
    assert [s for s in [*inside, *outside] if s in streams] == inside


@pytest.mark.parametrize("of", ["", "a*b", "**", "a\n", 7, None, *OWN, *(f"{o}*" for o in OWN)])
def test_none(of: object) -> None:
    with pytest.raises(InvalidPayloadError, match="of: "):
        StreamSet.of(of)


@pytest.mark.parametrize(
    ("template", "key"),
    [
        (None, None),
        ("{data[id]}", "a"),
        ("{stream}/{seq}", "order/7/3"),
        ("x-{data[of][n]}-{kind}", "x-5-paid"),
        ("{data[of][all][1][x]}", "y"),
    ],
)
def test_keys_of_events(template: str | None, key: str | None) -> None:
    assert SubscriptionRule.read({"key": template}).key_of(EVENT) == key


@pytest.mark.parametrize(
    "template",
    ["{data[no]}", "{data[of]}", "{data[none]}", "{key}", "{data[id][x]}", "{data[of][all][9]}"],
)
def test_an_event_without_the_key(template: str) -> None:
    with pytest.raises(InvalidPayloadError, match="key: "):
        SubscriptionRule.read({"key": template}).key_of(EVENT)


@pytest.mark.parametrize(
    "template", ["fixed", "{data.__class__}", "{0}", "{data[id]!r}", "{at}", "{data[id]}{", "{}"]
)
def test_a_template_names_parts_of_events_alone(template: str) -> None:
    with pytest.raises(InvalidPayloadError, match="names parts of an event"):
        SubscriptionRule.read({"key": template})


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=9), max_size=5))
def test_a_key_is_that_of_the_data_alone(data: dict[str, Any]) -> None:
    """Values are not read as templates again."""
    rule = SubscriptionRule.read({"key": "{data[id]}"})
    told = str({"data": data})[:100]
    assert rule.key_of({**EVENT, "data": {"id": f"{{data[x]}}{told}"}}) == f"{{data[x]}}{told}"


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ({"failures_max": 0}, "failures_max"),
        ({"poison": "drop"}, "poison"),
        ({"since": "yesterday"}, "since"),
        ({"poisn": "skip"}, "poisn"),
        ("skip", "subscription"),
    ],
)
def test_a_rule_that_is_none(rule: Any, why: str) -> None:
    with pytest.raises(InvalidPayloadError, match=why):
        SubscriptionRule.read(rule)


@pytest.mark.parametrize("limits", [{}, {"keep_s": 0.0}, {"keep_bytes": 0}, {"days": 3}, None])
def test_limits_that_are_none(limits: Any) -> None:
    with pytest.raises(InvalidPayloadError, match="keep: "):
        StreamLimits.read(limits)


def test_a_key_that_no_id_can_be_made_of_is_refused() -> None:
    event = {**EVENT, "data": {"id": "\ud800"}}
    with pytest.raises(InvalidPayloadError, match="no text"):
        SubscriptionRule.read({"key": "{data[id]}"}).key_of(event)
    with pytest.raises(InvalidPayloadError, match="parts of an event"):
        SubscriptionRule.read({"key": "{data[id]}}"})
