from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import AnyUrl, BaseModel, Field, TypeAdapter, ValidationError

from agents.keywords import beyond
from agents.schema import problem
from tests.support.drawn import costly


class Item(BaseModel):
    """Of everything that pydantic writes a bound for."""

    name: Annotated[str, Field(min_length=1, max_length=5, pattern="^[a-z]*$")]
    number: Annotated[int, Field(gt=0, lt=10, multiple_of=2)]
    share: Annotated[float, Field(ge=0, le=1)] = 0.5
    tags: Annotated[list[str], Field(min_length=1, max_length=2)]
    pair: tuple[int, str] = (1, "x")
    counts: dict[str, int] = {}
    kind: Literal["a", "b"] = "a"
    price: Decimal = Decimal(1)
    day: dt.date = dt.date(2030, 1, 2)
    at: dt.datetime = dt.datetime(2030, 1, 2, tzinfo=dt.UTC)
    hour: dt.time = dt.time(1, 2)
    length: dt.timedelta = dt.timedelta(hours=1)
    known_as: uuid.UUID = uuid.UUID(int=7)
    link: AnyUrl = AnyUrl("https://example.com/a")
    next: Item | None = None


SCHEMA = Item.model_json_schema()
GOOD: dict[str, Any] = {"name": "ab", "number": 4, "tags": ["x"]}

ITEMS = st.builds(
    Item,
    name=st.text("abc", min_size=1, max_size=5),
    number=st.sampled_from([2, 4, 6, 8]),
    share=st.floats(0, 1),
    tags=st.lists(st.text(), min_size=1, max_size=2),
    pair=st.tuples(st.integers(), st.text()),
    counts=st.dictionaries(st.text(), st.integers()),
    price=st.decimals(allow_nan=False, allow_infinity=False, places=2),
    day=st.dates(),
    at=st.datetimes(timezones=st.just(dt.UTC)),
    hour=st.times(),
    length=st.timedeltas(max_value=dt.timedelta(days=999)),
    known_as=st.uuids(),
)


@settings(max_examples=costly(100, part=3))
@given(ITEMS)
def test_what_pydantic_writes_of_a_model_is_of_its_form(item: Item) -> None:
    assert problem(item.model_dump(mode="json"), SCHEMA) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "abcdef"},
        {"name": "AB"},
        {"number": 0},
        {"number": 10},
        {"number": 3},
        {"share": 1.5},
        {"tags": []},
        {"tags": ["x", "y", "z"]},
        {"pair": ["x", 1]},
        {"counts": {"a": "many"}},
        {"kind": "c"},
        {"day": "tomorrow"},
        {"at": "noon"},
        {"hour": "late"},
        {"length": "long"},
        {"known_as": "me"},
        {"link": "no link"},
        {"next": {**GOOD, "name": "AB"}},
    ],
    ids=str,
)
def test_what_pydantic_refuses_of_a_model_is_refused(wrong: dict[str, Any]) -> None:
    assert problem(GOOD, SCHEMA) is None
    with pytest.raises(ValidationError):
        Item.model_validate(GOOD | wrong)
    assert problem(GOOD | wrong, SCHEMA) is not None


@pytest.mark.parametrize(
    ("value", "schema", "why"),
    [
        ("ab", {"minLength": 3}, "has 2 characters, fewer than 3"),
        ([1], {"maxItems": 0}, "has 1 items, more than 0"),
        (5, {"exclusiveMaximum": 5}, "is not less than 5"),
        (7, {"minimum": 7.5}, "is not at least 7.5"),
        (0.3, {"multipleOf": 0.1}, None),
        (0.35, {"multipleOf": 0.1}, "is no multiple of 0.1"),
        (10**400, {"multipleOf": 0.1}, None),
        (1, {"multipleOf": 0}, None),
        (True, {"minimum": 5}, None),
        ("x", {"pattern": "("}, None),
        ("x", {"format": "hostname"}, None),
        ("2030-02-30", {"format": "date"}, "is no date"),
    ],
)
def test_bounds(value: Any, schema: dict[str, Any], why: str | None) -> None:
    assert beyond(value, schema) == why


@given(st.one_of(st.text(), st.integers(), st.floats(), st.lists(st.none())), st.integers(-3, 9))
def test_bounds_never_fail(value: Any, bound: int) -> None:
    names = ("minLength", "maxItems", "minimum", "exclusiveMaximum", "multipleOf")
    for name in names:
        beyond(value, {name: bound})


def test_an_exponential_pattern_takes_no_time() -> None:
    assert beyond("a" * 50_000, {"pattern": "^(a+)+$"}) is None
    assert beyond("a" * 50_000 + "b", {"pattern": "^(a+)+$"}) is not None


def test_schemas_of_simple_types() -> None:
    assert problem(3, TypeAdapter(Annotated[int, Field(gt=2)]).json_schema()) is None
    assert problem(2, TypeAdapter(Annotated[int, Field(gt=2)]).json_schema()) is not None
