from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from celery_agents.contracts.ask import Ask
from celery_agents.contracts.gather import Gather
from celery_agents.contracts.mapping import Map
from celery_agents.contracts.patterns import Fallback
from celery_agents.contracts.schema import checked
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
