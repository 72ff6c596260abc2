from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from celery_agents.contracts.ask import Ask
from celery_agents.contracts.gather import Gather
from celery_agents.contracts.mapping import Map
from celery_agents.contracts.patterns import Fallback
from celery_agents.contracts.schema import as_object, checked, is_object, resolved
from celery_agents.errors import InvalidPayloadError


class Tree(BaseModel):
    name: str | None = None
    size: float = 0
    sub: list[Tree] = []
    by_name: dict[str, Tree] = {}


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        {},
        Tree.model_json_schema(),
        {"type": ["string", "null"], "enum": ["a", None], "format": "email"},
        {"$ref": "#/nowhere"},
        {"properties": {"self": {"$ref": "#"}}},
        {"type": "object", "required": ["a"], "anyOf": [{"required": ["b"]}, True]},
        {"minimum": 0, "maximum": 1.5},
        deep(90),
    ],
)
def test_schemas_that_are_served(schema: dict[str, Any]) -> None:
    assert checked(schema) is schema


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"enum": [*range(20_000)]}, "at most 10,000 values"),
        ({"anyOf": [{"type": "null"}] * 10_000}, "at most 10,000 values"),
        (deep(200), "100 deep"),
        ({"$ref": "#"}, "leads back"),
        ({"$ref": "#/a", "a": {"$ref": "#/b"}, "b": {"$ref": "#/a"}}, "leads back"),
        ({"items": {"anyOf": [{"oneOf": [{"$ref": "#/items"}]}]}}, "leads back"),
        ({"properties": {"a": {"properties": 5}}}, "properties is not an object"),
        ({"items": {"enum": 5}}, "enum is not a list"),
        ({"$defs": {"a": {"required": "abc"}}}, "required is not a list of names"),
        ({"anyOf": [{"type": [{"a": 1}]}]}, "type is not a name"),
        ({"minimum": "x"}, "minimum is not a number"),
        ({"maximum": True}, "maximum is not a number"),
        ({"oneOf": {"a": 1}}, "oneOf is not a list of schemas"),
    ],
)
def test_schemas_that_are_refused(schema: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        checked(schema)


@pytest.mark.parametrize(
    ("contract", "about"),
    [
        (Ask, {"agent": "a"}),
        (Fallback, {"candidates": ["a"]}),
        (Gather, {"agents": ["a"]}),
        (Map, {"agent": "a", "input": [1]}),
    ],
)
def test_every_contract_that_takes_one(contract: Any, about: dict[str, Any]) -> None:
    bad = {**about, "answer_schema": {"$ref": "#"}}
    with pytest.raises(ValidationError, match="leads back"):
        contract.model_validate(bad)
    with pytest.raises(InvalidPayloadError, match=r"answer_schema: .*leads back"):
        contract.from_message([], bad)
    assert contract.from_message([], bad, known=True)  # of a row, which was checked


class Node(BaseModel):
    name: str
    below: list[Node] = []


class Leaf(BaseModel):
    name: str


@pytest.mark.parametrize("kind", [int, list[Leaf], Leaf | int, Node, list[Node], str | None])
def test_what_is_no_object_outright_stands_in_one(kind: Any) -> None:
    schema = TypeAdapter(kind).json_schema()
    assert not is_object(schema)
    made = checked(as_object(schema))
    assert is_object(made)
    assert as_object(made) is made
    assert made["required"] == [*made["properties"]] == ["answer"]
    for ref in references(made):
        assert resolved(ref, made) is not None


def test_an_object_stays_as_it_is() -> None:
    schema = Leaf.model_json_schema()
    assert as_object(schema) is schema


def test_references_to_other_parts_follow_them() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#"}}}
    schema = {"anyOf": [node, {"$ref": "#/anyOf/0"}, {"$ref": "#/definitions/n"}]}
    made = as_object({**schema, "definitions": {"n": {"$ref": "#"}}})
    here = "#/properties/answer"
    assert sorted(references(made)) == ["#/definitions/n", here, here, f"{here}/anyOf/0"]


def references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [ref for part in node for ref in references(part)]
    if not isinstance(node, dict):
        return []
    here = [node["$ref"]] if "$ref" in node else []
    return here + [ref for part in node.values() for ref in references(part)]


@pytest.mark.parametrize(
    "schema",
    [
        {"minLength": "short"},
        {"pattern": 5},
        {"multipleOf": "2"},
        {"prefixItems": {}},
        {"prefixItems": [{"type": 5}]},
        {"additionalProperties": {"type": 5}},
    ],
)
def test_bounds_of_another_form_are_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=" is not "):
        checked(schema)
