from __future__ import annotations

import json
import math
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from celery_agents.contracts.base import Id, JsonObject, JsonValue, Name, id_of
from celery_agents.contracts.outcome import Answer
from celery_agents.errors import InvalidPayloadError
from celery_agents.values import KNOWN, has_halves, jsonable, mended, problem, storable
from tests.support.odd import CARRIED, REFUSED, deep

ANY = st.text(st.characters(exclude_categories=()))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | ANY,
    lambda below: (
        st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below, max_size=3)
    ),
    max_leaves=8,
)  # fmt: skip


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize("name", CARRIED)
def test_what_is_carried(name: str) -> None:
    value = CARRIED[name]
    assert problem(value) is None
    assert Answer(value=value).value is value  # not even copied
    assert json.loads(json.dumps(value)) == value


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    value = REFUSED[name]
    told = problem(value)
    assert told
    with pytest.raises(ValidationError, match="json_value") as error:
        Answer(value=value)
    assert error.value.errors()[0]["msg"] == told


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"a": {"b": [1, object()]}}, "a.b[1]: object is no JSON value"),
        ([math.nan], "[0]: NaN is no JSON value"),
        ({"a": {"__type__": 1, "__value__": 2}}, "a: an object of just __type__ and __value__"),
        ({"k" * 100: {1}}, f"{'k' * 40}: set is no JSON value"),
        (deep(101), "more than 100 levels"),
        ({"a": {2: 1}}, "a: a key of an object has to be a text, not int"),
    ],
)
def test_the_place_is_told_and_not_the_value(value: Any, told: str) -> None:
    assert (problem(value) or "").startswith(told)


def test_heirs_of_plain_types_are_written_as_those() -> None:
    for value in (Text("x"), [Text("x")], {Text("a"): Text("b")}, [type("L", (list,), {})([1])]):
        assert problem(value) is None
    assert problem(type("D", (dict,), {})(__type__=1, __value__=2)) is not None


def test_what_was_looked_at_is_not_looked_at_again() -> None:
    value = deep(104)  # what a pattern has put something around
    assert Answer.model_validate({"value": value}, context=KNOWN).value is value


@given(VALUES)
def test_a_value_is_one_exactly_if_json_gives_it_back(value: Any) -> None:
    assert problem(value) is None
    assert json.loads(json.dumps(value)) == value


@given(ANY)
def test_mended_text_can_be_encoded(text: str) -> None:
    whole = mended(text)
    whole.encode()
    assert (whole == text) is not has_halves(text)
    assert "\0" not in storable(text)


def test_halves_that_belong_together_are_joined() -> None:
    assert mended("\ud83d\ude00") == "😀"
    assert mended({"\ud83d\ude00": ["\ude00\ud83d", 1]}) == {"😀": ["\ufffd\ufffd", 1]}
    assert storable("a\0\ud83d") == "a\ufffd\ufffd"


@pytest.mark.parametrize("name", [*CARRIED, *REFUSED])
def test_anything_can_be_told(name: str) -> None:
    told = jsonable({"it": {**CARRIED, **REFUSED}[name]})
    assert problem(told) is None
    json.dumps(told, allow_nan=False)


def test_what_cannot_be_told_is_told_in_words() -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError

    itself: dict[str, Any] = {}
    itself["me"] = itself
    assert jsonable([Odd(), math.inf, 10**5_000]) == ["<Odd>", "inf", "<int>"]
    assert isinstance(jsonable(itself), str)
    assert jsonable({"a": 1, "b": (2, {3})}) == {"a": 1, "b": [2, [3]]}


@pytest.mark.parametrize("kind", [Name, Id])
@pytest.mark.parametrize("text", ["a\0", "\0", "\ud83d", "", "x" * 181, 7, None, b"a"])
def test_no_name_and_no_id(kind: Any, text: Any) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(text)


class Agents(StrEnum):
    ECHO = "echo"


@pytest.mark.parametrize("text", ["a", "ü 🤖", "two words", "x" * 155, Agents.ECHO])
def test_names_and_ids(text: str) -> None:
    assert TypeAdapter(Name).validate_python(text) == id_of(text) == text


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("a\0", "zero byte"),
        *((f"a{c}b", "control") for c in "\n\r\t\x1b\x7f\x9b\u2028\u202e"),
        ("\ud83d", "surrogate"),
        ("x" * 156, "155"),
        (7, "string"),
        ("", "1"),
    ],
)
def test_why_it_is_no_id(value: Any, told: str) -> None:
    with pytest.raises(InvalidPayloadError, match=f"run: .*{told}"):
        id_of(value, "run")


def test_an_object() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(JsonObject)
    assert adapter.validate_python({"a": [1]}) == {"a": [1]}
    wrong: list[Any] = [[], "x", None, {"__type__": 1, "__value__": 2}, {"a": math.nan}]
    for other in wrong:
        with pytest.raises(ValidationError):
            adapter.validate_python(other)
    assert TypeAdapter(JsonValue).validate_python([None]) == [None]
