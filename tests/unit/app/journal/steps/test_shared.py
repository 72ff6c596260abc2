"""Members borrow what their parent's row holds, and get the same back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.plan import Expand, JoinPolicy, Member
from app.journal import Journal
from app.journal.schema.engine import as_json
from app.journal.schema.rows import Claimed
from app.journal.steps import compensations, dead_letters
from app.journal.steps.members import new_members
from app.journal.steps.shared import ELSEWHERE, LEAST, SHARED, Lender, filled
from celery_agents.errors import PayloadTooLargeError
from tests.support.claims import claim
from tests.support.drawn import costly
from tests.unit.app.journal.support import DONE, FAILED, SOON, World, member, step

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


@settings(max_examples=costly(100, part=3))
@given(told=values, parents=options_, options=options_, data=st.data())
def test_whatever_is_said_comes_back(
    told: Any, parents: dict[str, Any], options: dict[str, Any], data: st.DataObject
) -> None:
    parent = {"args": [data.draw(st.one_of(values, st.just(told)))], "kwargs": parents | options}
    payload = back(Lender(parent).member(told, options))
    whole = filled(payload, back(parent)) if SHARED in payload else payload
    assert whole == back({"args": [told], "kwargs": options})


def members(count: int, told: Any, options: dict[str, Any]) -> list[Member]:
    first = Member(key="", task="agents.ask", input=told, options=options)
    return [first.model_copy(update={"key": str(n)}) for n in range(count)]


@pytest.mark.parametrize("name", ["instructions", "answer_schema", "system"])
def test_rows_of_members_hold_no_copies(name: str) -> None:
    options = {name: "i" * 150_000}
    parent = claim(payload={"args": [[0] * 1_500], "kwargs": options})
    made = new_members(parent, members(1_500, 0, options), 1_000_000)
    assert sum(len(m.text) for m in made) < 1_500 * 100
    assert made[7].payload == {"args": [0], "kwargs": options}


@pytest.mark.parametrize(
    ("told", "options"), [("q" * 1_000, {}), (0, {"x": "y" * 1_000}), ("é" * 500, {})]
)
def test_what_is_not_borrowed_has_a_limit(told: Any, options: dict[str, Any]) -> None:
    parent = claim(payload={"args": ["?"], "kwargs": {}})
    with pytest.raises(PayloadTooLargeError, match="spread_limit_bytes"):
        new_members(parent, members(200, told, options), 200_000)
    assert len(new_members(parent, members(200, told, options), 210_000)) == 200
    assert len(new_members(parent, members(200, told, options), None)) == 200


def test_what_a_person_is_shown_stands_in_its_row() -> None:
    parent = claim(payload={"args": [LONG], "kwargs": {}})
    asked = Member(key="@person", task="agents.approval", input=LONG, options={}, waits=True)
    (made,) = new_members(parent, [asked], None)
    assert json.loads(made.text) == {"args": [LONG], "kwargs": {}}


# ---------------------------------------------------------------- who reads them


@pytest.fixture
def child(world: World, journal: Journal) -> Claimed:
    """A member whose row says of its input and instructions where they are."""
    payload = {"args": [LONG], "kwargs": {"instructions": OTHER}}
    parent = journal.claim("p", step("p", payload=payload)).result(SOON)
    assert isinstance(parent, Claimed)
    asked = member("a", input=LONG, options={"agent": "a", "instructions": OTHER})
    (wake,) = journal.expand(parent, Expand(members=(asked,))).result(SOON).members
    assert wake.payload["args"] == [LONG]  # whoever wakes it first may show it
    found = journal.claim(wake.id).result(SOON)
    assert isinstance(found, Claimed)
    assert LONG not in as_json(dict(found.payload))
    assert OTHER not in as_json(dict(found.payload))
    return found


WHOLE = {"args": [LONG], "kwargs": {"agent": "a", "instructions": OTHER}}


def test_a_claim_is_made_whole(journal: Journal, child: Claimed) -> None:
    assert journal.parents.whole(child).payload == WHOLE
    assert journal.parents.whole(child).payload == WHOLE  # of what was read before


def test_a_member_of_a_member_too(journal: Journal, child: Claimed) -> None:
    asked = member("b", input=LONG, options={"instructions": OTHER})
    plan = Expand(members=(asked,))
    (wake,) = journal.expand(journal.parents.whole(child), plan).result(SOON).members
    found = journal.claim(wake.id).result(SOON)
    assert isinstance(found, Claimed)
    assert LONG not in as_json(dict(found.payload))
    assert journal.parents.whole(found).payload == {
        "args": [LONG],
        "kwargs": {"instructions": OTHER},
    }


def test_who_undoes_it_is_told_its_input(journal: Journal, child: Claimed) -> None:
    journal.finish(child, DONE).result(SOON)
    assert journal.read(lambda c: compensations.told(c, child.id)) == (LONG, "yes")


def test_who_was_amid_it_is_told_too(journal: Journal, child: Claimed) -> None:
    journal.finish(child, FAILED).result(SOON)
    found = journal.read(lambda c: compensations.uncertain(c, "p"))
    assert {one.id: one.payload for one in found}[child.id] == WHOLE


def test_a_dead_letter_shows_it(world: World, journal: Journal, child: Claimed) -> None:
    world.set(child.id, state="dead", finished_at=world.clock(), worker_id=None)
    letter = journal.read(lambda c: dead_letters.find(c, child.id))
    assert letter is not None
    assert "iiii" in letter["payload"]
    assert "jjjj" in letter["payload"]
    assert ELSEWHERE not in letter["payload"]


def test_a_pattern_that_is_a_member_decides_by_all_of_it(world: World, child: Claimed) -> None:
    asked: list[Any] = []

    def decided(task: str, payload: dict[str, Any], members: Any) -> bool:
        asked.append(payload)
        return True

    journal = world.journal("decides", decided=decided)
    world.journals[0].postpone(child, delay_s=0).result(SOON)
    own = journal.claim(child.id).result(SOON)
    assert isinstance(own, Claimed)
    plan = Expand(members=(member("b"), member("c")), join=JoinPolicy(kind="decided"))
    first, _ = journal.expand(journal.parents.whole(own), plan).result(SOON).members
    ended = journal.claim(first.id).result(SOON)
    assert isinstance(ended, Claimed)
    journal.finish(ended, DONE).result(SOON)
    assert asked == [WHOLE]


def test_members_of_many_borrow_small_things_too() -> None:
    """A map of 20,000 zeros, with options of some hundred bytes, took 334 times its message."""
    options = {
        "agent": "a" * 20,
        "instructions": "i" * 511,
        "choices": [f"choice {n}" for n in range(10)],
        "answer_schema": {"type": "object", "properties": {"x": {"type": "string"}}},
    }
    payload = {"args": [[0] * 20_000], "kwargs": options}
    made = new_members(claim(payload=payload), members(20_000, 0, options), None)
    each = sum(len(m.text) for m in made) / len(made)
    assert each < 350
    few = new_members(claim(payload=payload), members(3, 0, options), None)
    assert len(few[0].text) > 600
    assert all(filled(json.loads(m.text), back(payload))["kwargs"] == options for m in made[:2])
