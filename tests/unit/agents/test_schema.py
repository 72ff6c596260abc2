from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from agents.schema import answer_of, ballot_schema, problem
from celery_agents.errors import InvalidPayloadError


class Leaf(BaseModel):
    name: str
    size: int | None = None


class Tree(BaseModel):
    leaves: list[Leaf]
    sub: list[Tree] = []


TREE = Tree.model_json_schema()
POINT = {
    "type": "object",
    "properties": {"x": {"type": "number", "minimum": 0}, "tag": {"const": "p"}},
    "required": ["x"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        ({"x": 1}, POINT),
        ({"x": 0.5, "tag": "p"}, POINT),
        ({"leaves": [{"name": "a", "size": None}], "sub": [{"leaves": []}]}, TREE),
        (3.0, {"type": "integer"}),
        (None, {"type": ["string", "null"]}),
        ("b", {"enum": ["a", "b"]}),
        (["anything", {}], {}),
        (
            [1, "x"],
            {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}},
        ),
        ("kept", {"format": "email", "pattern": "(?=z)"}),  # not among what is checked
        ({"a": 1}, {"additionalProperties": {"type": "integer"}}),
        ([1, "x"], {"prefixItems": [{"type": "integer"}, {"type": "string"}]}),
        ("any", {"$ref": "#/nowhere"}),
    ],
)
def test_values_of_the_form(value: Any, schema: dict[str, Any]) -> None:
    assert problem(value, schema) is None


@pytest.mark.parametrize(
    ("value", "schema", "why"),
    [
        ({}, POINT, "lacks 'x'"),
        ({"x": -1}, POINT, "the answer.x is not at least 0"),
        ({"x": "1"}, POINT, "the answer.x is not of type number"),
        ({"x": True}, POINT, "the answer.x is not of type number"),
        ({"x": 1, "tag": "q"}, POINT, "the answer.tag is not one of"),
        ({"x": 1, "y": 1}, POINT, "unknown field 'y'"),
        ([1], POINT, "not of type object"),
        ({"a": "1"}, {"additionalProperties": {"type": "integer"}}, "the answer.a is not of type"),
        (["x"], {"prefixItems": [{"type": "integer"}], "minItems": 1}, "the answer[0] is not"),
        (
            {"y": 1},
            {"anyOf": [{"title": "P", **POINT}, {"const": 1}]},
            "(P: it lacks 'x'; one: ",
        ),
        ({"leaves": [{"name": 5}]}, TREE, "the answer.leaves[0].name is not of type string"),
        ({"leaves": [], "sub": [{"leaves": [{}]}]}, TREE, "sub[0].leaves[0] lacks 'name'"),
        ({"leaves": [{"name": "", "size": "x"}]}, TREE, "size has none of the allowed forms"),
        (3.5, {"type": "integer"}, "not of type integer"),
        (1, {"type": "boolean"}, "not of type boolean"),
        (5, {"type": "number", "maximum": 4}, "the answer is not at most 4"),
    ],
)
def test_values_of_another_form(value: Any, schema: dict[str, Any], why: str) -> None:
    found = problem(value, schema)
    assert found is not None
    assert why in found


@pytest.mark.parametrize(
    "schema",
    [
        {"enum": 5},
        {"type": "string", "anyOf": 3},
        {"type": "object", "required": 3},
        {"minimum": "low"},
        {"$ref": "#"},
    ],
)
def test_malformed_schemas(schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidPayloadError, match="malformed"):
        problem(1 if "minimum" in schema else {"a": 1} if "required" in schema else "x", schema)


UNION = {"anyOf": [{"type": "integer"}, POINT]}


@pytest.mark.parametrize(
    ("value", "schema", "answer", "why"),
    [
        ({"answer": 7}, UNION, 7, None),
        ({"answer": {"x": 1}}, UNION, {"x": 1}, None),
        (7, UNION, 7, None),  # a model that leaves the object out
        ({"x": 1}, UNION, {"x": 1}, None),
        ({"answer": "x"}, UNION, "x", "the answer has none of the allowed forms"),
        ({"answer": 7}, {"anyOf": [{"properties": {"answer": {"const": 7}}}]}, 7, None),
        ({"answer": 7, "x": 1}, {"type": "array"}, ..., "the answer is not of type array"),
        ({"answer": 7}, {"type": "object"}, {"answer": 7}, None),
    ],
)
def test_the_answer_in_an_object(
    value: Any, schema: dict[str, Any], answer: Any, why: str | None
) -> None:
    found, wrong = answer_of(value, schema)
    assert found == (value if answer is ... else answer)
    assert wrong is None if why is None else why in str(wrong)


def test_items_of_any_form_take_no_steps() -> None:
    assert problem([0] * 300_000, {"type": "array", "minItems": 1}) is None


def test_reasons_of_forms_in_forms_stay_short() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for depth in range(40):
        schema = {"type": "array", "items": {"anyOf": [schema, {"const": depth}, {"const": "z"}]}}
    value: Any = 7
    for _ in range(40):
        value = [value]
    assert len(str(problem(value, schema))) < 2_000


@given(st.lists(st.text(min_size=1), min_size=1, unique=True), st.data())
def test_ballots(choices: list[str], data: Any) -> None:
    schema = ballot_schema(choices)
    ballot = {
        "option": data.draw(st.sampled_from(choices)),
        "confidence": data.draw(st.floats(0, 1)),
        "reason": data.draw(st.text()),
    }
    assert problem(ballot, schema) is None
    assert problem(ballot | {"option": "".join(choices) + "x"}, schema) is not None
    for name in ballot:
        assert problem({k: v for k, v in ballot.items() if k != name}, schema) is not None
