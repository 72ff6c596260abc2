from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from agents.schema import ballot_schema, is_strict, problem
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
        ("kept", {"format": "email", "pattern": "^z"}),  # not among the checked keywords
        ("any", {"$ref": "#/nowhere"}),
    ],
)
def test_values_of_the_form(value: Any, schema: dict[str, Any]) -> None:
    assert problem(value, schema) is None


@pytest.mark.parametrize(
    ("value", "schema", "why"),
    [
        ({}, POINT, "lacks 'x'"),
        ({"x": -1}, POINT, "the answer.x is not one of the allowed values"),
        ({"x": "1"}, POINT, "the answer.x is not of type number"),
        ({"x": True}, POINT, "the answer.x is not of type number"),
        ({"x": 1, "tag": "q"}, POINT, "the answer.tag is not one of"),
        ({"x": 1, "y": 1}, POINT, "unknown field 'y'"),
        ([1], POINT, "not of type object"),
        ({"leaves": [{"name": 5}]}, TREE, "the answer.leaves[0].name is not of type string"),
        ({"leaves": [], "sub": [{"leaves": [{}]}]}, TREE, "sub[0].leaves[0] lacks 'name'"),
        ({"leaves": [{"name": "", "size": "x"}]}, TREE, "size has none of the allowed forms"),
        (3.5, {"type": "integer"}, "not of type integer"),
        (1, {"type": "boolean"}, "not of type boolean"),
        (5, {"type": "number", "maximum": 4}, "not one of the allowed values"),
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


def test_malformed_schema_for_strict_mode() -> None:
    with pytest.raises(InvalidPayloadError):
        is_strict({"type": "object", "properties": 3, "additionalProperties": False})


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


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (ballot_schema(["a"]), True),
        ({"type": "object", "properties": {"a": {}}, "required": ["a"]}, False),
        ({"type": "object", "properties": {"a": {}}, "additionalProperties": False}, False),
        ({"type": "array", "items": {"type": "object"}}, False),
        (TREE, False),
        ({"type": "string"}, True),
    ],
)
def test_is_strict(schema: dict[str, Any], strict: bool) -> None:
    assert is_strict(schema) is strict
