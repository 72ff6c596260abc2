"""Schemas of descriptions as JSON schemas."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from agents.toolsets.openapi.documents import Document
from agents.toolsets.openapi.schemas import Schemas

TREE = {
    "type": "object",
    "properties": {"child": {"$ref": "#/components/schemas/Tree"}, "id": {"readOnly": True}},
    "required": ["id", "child"],
}
COMPONENTS = {"components": {"schemas": {"Tree": TREE}, "other": {"Tree": {"type": "string"}}}}


@pytest.mark.parametrize(
    ("told", "made"),
    [
        ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
        (
            {"type": "string", "enum": ["a"], "nullable": True},
            {"type": ["string", "null"], "enum": ["a", None]},
        ),
        ({"minimum": 1, "exclusiveMinimum": True}, {"exclusiveMinimum": 1}),
        ({"maximum": 1, "exclusiveMaximum": False}, {"maximum": 1}),
        ({"exclusiveMinimum": 3}, {"exclusiveMinimum": 3}),
        ({"type": "file"}, {"type": "string"}),
        ({"type": "string", "example": "x", "xml": {}, "x-any": 1}, {"type": "string"}),
        ({"type": "string", "pattern": "("}, {"type": "string"}),
        ({"type": "number", "minimum": "1"}, {"type": "number"}),
        ({"type": "any"}, {}),
        ({"type": ["integer", "null"]}, {"type": ["integer", "null"]}),
        ({"enum": []}, {}),
        ({"required": True}, {}),
        (
            {"properties": {"a": {"readOnly": True}}, "required": ["a"]},
            {
                "properties": {},
                "required": [],
            },
        ),
        ({"additionalProperties": False}, {"additionalProperties": False}),
        (
            {"oneOf": [{"type": "string"}], "nullable": True},
            {
                "anyOf": [{"oneOf": [{"type": "string"}]}, {"type": "null"}],
            },
        ),
        (None, {}),
    ],
)
def test_what_is_spelled_otherwise_is_put_right(told: Any, made: Any) -> None:
    found = Schemas(Document({"openapi": "3.0.0"})).of(told)
    assert found == made
    Draft202012Validator.check_schema(found)


def test_recursion_is_kept_and_closed() -> None:
    schemas = Schemas(Document({"openapi": "3.0.0", **COMPONENTS}))
    found = schemas.of({"$ref": "#/components/schemas/Tree"})
    other = schemas.of({"$ref": "#/components/other/Tree"})
    assert found == {"$ref": "#/$defs/Tree"}
    assert other == {"$ref": "#/$defs/Tree_2"}
    whole = {**found, "$defs": schemas.defs}
    Draft202012Validator.check_schema(whole)
    good = Draft202012Validator(whole)
    assert good.is_valid({"child": {"child": {"child": 3}}}) is False
    assert schemas.defs["Tree"]["required"] == ["child"]
