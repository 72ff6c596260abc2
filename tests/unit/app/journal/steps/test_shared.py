"""Members borrow what their parent's row holds, and get the same back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.patterns.plan import Member
from app.journal.schema.engine import as_json
from app.journal.schema.rows import Claimed
from app.journal.steps.members import new_members
from app.journal.steps.shared import ELSEWHERE, LEAST, SHARED, Lender, filled
from celery_agents.errors import PayloadTooLargeError

LONG, OTHER = "i" * 5_000, "j" * 5_000
SCHEMA = {"type": "object", "properties": {f"field_{n}": {"type": "string"} for n in range(50)}}
CHOICES = [f"choice {n}" for n in range(100)]


def back(value: Any) -> Any:
    return json.loads(as_json(value))


@pytest.mark.parametrize(
    ("parent", "told", "options", "borrowed"),
    [
        ({"args": [LONG], "kwargs": {}}, LONG, {"agent": "a"}, {"input"}),
        ({"args": [], "kwargs": {"input": LONG}}, LONG, {}, {"input"}),
        (
            {"args": [[1, 2]], "kwargs": {"instructions": LONG}},
            1,
            {"instructions": LONG},
            {"instructions"},
        ),
        (
            {"args": [0], "kwargs": {"answer_schema": SCHEMA, "choices": CHOICES}},
            0,
            {"answer_schema": SCHEMA, "choices": CHOICES},
            {"answer_schema", "choices"},
        ),
        (
            {
                "args": [0],
                "kwargs": {"voters": [{"agent": "a", "instructions": t} for t in (LONG, OTHER)]},
            },
            0,
            {"instructions": OTHER, "agent": "a"},
            {"instructions"},
        ),
        ({"args": [[LONG, {"text": OTHER}]], "kwargs": {}}, {"text": OTHER}, {}, {"input"}),
        ({"args": [LONG], "kwargs": {}}, LONG[:-1], {"instructions": OTHER}, set()),
        ({"args": ["short"], "kwargs": {"instructions": "too"}}, "short", {"x": "too"}, set()),
        ({"args": [as_json(SCHEMA)], "kwargs": {}}, SCHEMA, {}, set()),  # its text, not the value
    ],
)
def test_what_a_parent_has_is_borrowed(
    parent: dict[str, Any], told: Any, options: dict[str, Any], borrowed: set[str]
) -> None:
    payload = back(Lender(parent).member(told, options))
    shared = payload.get(SHARED, {})
    assert {*shared.get("kwargs", ()), *({"input"} & shared.keys())} == borrowed
    whole = filled(payload, back(parent)) if borrowed else payload
    assert whole == {"args": [told], "kwargs": options}
    if borrowed:
        assert len(as_json(payload)) < LEAST
    assert ("input" in borrowed) == (payload["args"] == [ELSEWHERE])


texts = st.one_of(
    st.text(max_size=5), st.sampled_from([LONG, OTHER, "x" * LEAST, "x" * (LEAST - 1)])
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), texts),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)
options_ = st.dictionaries(st.text(max_size=6), values, max_size=5)


@given(told=values, parents=options_, options=options_, data=st.data())
def test_whatever_is_said_comes_back(
    told: Any, parents: dict[str, Any], options: dict[str, Any], data: st.DataObject
) -> None:
    parent = {"args": [data.draw(st.one_of(values, st.just(told)))], "kwargs": parents | options}
    payload = back(Lender(parent).member(told, options))
    whole = filled(payload, back(parent)) if SHARED in payload else payload
    assert whole == back({"args": [told], "kwargs": options})


def claimed(payload: dict[str, Any]) -> Claimed:
    about: Any = {"run_id": "r", "parent_id": None, "member": None, "task": "agents.map"}
    return Claimed(
        "r",
        1,
        1,
        agent=None,
        queue="agents",
        priority=5,
        payload=payload,
        max_attempts=1,
        remaining_s=None,
        **about,
    )


def members(count: int, told: Any, options: dict[str, Any]) -> list[Member]:
    first = Member(key="", task="agents.ask", input=told, options=options)
    return [first.model_copy(update={"key": str(n)}) for n in range(count)]


@pytest.mark.parametrize("name", ["instructions", "answer_schema", "system"])
def test_rows_of_members_hold_no_copies(name: str) -> None:
    options = {name: "i" * 150_000}
    parent = claimed({"args": [[0] * 1_500], "kwargs": options})
    made = new_members(parent, members(1_500, 0, options), 1_000_000)
    assert sum(len(m.text) for m in made) < 1_500 * 100
    assert made[7].payload == {"args": [0], "kwargs": options}


@pytest.mark.parametrize(
    ("told", "options"), [("q" * 1_000, {}), (0, {"x": "y" * 1_000}), ("é" * 500, {})]
)
def test_what_is_not_borrowed_has_a_limit(told: Any, options: dict[str, Any]) -> None:
    parent = claimed({"args": ["?"], "kwargs": {}})
    with pytest.raises(PayloadTooLargeError, match="spread_limit_bytes"):
        new_members(parent, members(200, told, options), 200_000)
    assert len(new_members(parent, members(200, told, options), 210_000)) == 200
    assert len(new_members(parent, members(200, told, options), None)) == 200


def test_what_a_person_is_shown_stands_in_its_row() -> None:
    parent = claimed({"args": [LONG], "kwargs": {}})
    asked = Member(key="@person", task="agents.approval", input=LONG, options={}, waits=True)
    (made,) = new_members(parent, [asked], None)
    assert json.loads(made.text) == {"args": [LONG], "kwargs": {}}
