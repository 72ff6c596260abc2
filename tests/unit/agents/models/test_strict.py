from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

import pytest
from pydantic import AnyUrl, BaseModel, Field, TypeAdapter

from agents.models.strict import strict_form
from agents.schema import ballot_schema
from celery_agents.contracts.schema import as_object
from celery_agents.errors import InvalidPayloadError


class Line(BaseModel):
    kind: Literal["line"] = "line"
    what: Annotated[str, Field(min_length=1, description="In a word.")]
    count: int | None = None


class Total(BaseModel):
    kind: Literal["total"] = "total"
    lines: list[Line]


class Counts(BaseModel):
    counts: dict[str, int]


def of(kind: Any) -> dict[str, Any]:
    return as_object(TypeAdapter(kind).json_schema())


def objects(form: Any) -> list[dict[str, Any]]:
    """All objects of a form."""
    if isinstance(form, list):
        return [found for part in form for found in objects(part)]
    if not isinstance(form, dict):
        return []
    here = [form] if form.get("type") == "object" else []
    return here + [found for part in form.values() for found in objects(part)]


TAGGED = Annotated[Line | Total, Field(discriminator="kind")]


@pytest.mark.parametrize("kind", [Line, Total, Line | Total, list[Line], TAGGED, int, str | None])
def test_every_object_is_closed_and_every_field_given(kind: Any) -> None:
    form = strict_form(of(kind))
    assert form is not None
    found = objects(form)
    assert found
    for one in found:
        assert one["additionalProperties"] is False
        assert set(one["required"]) == set(one["properties"])
    told = str(form)
    assert "default" not in told
    assert "oneOf" not in told
    assert "discriminator" not in told


def test_what_it_does_not_take_is_told_in_words() -> None:
    form = strict_form(of(Line))
    assert form is not None
    assert form["properties"]["what"] == {
        "title": "What",
        "type": "string",
        "description": 'In a word. {"minLength": 1}',
    }


@pytest.mark.parametrize(
    ("kind", "keyword", "taken"),
    [
        (Annotated[str, Field(pattern="^a+$")], "pattern", True),
        (Annotated[str, Field(pattern="^(?i)a+$")], "pattern", False),
        (dt.date, "format", True),
        (AnyUrl, "format", False),
    ],
)
def test_patterns_and_formats_that_it_takes(kind: Any, keyword: str, taken: bool) -> None:
    form = strict_form(of(kind))
    assert form is not None
    inner = form["properties"]["answer"]
    assert (keyword in inner) is taken
    assert (keyword in inner.get("description", "")) is not taken


def test_what_is_strict_stays_as_it_is() -> None:
    schema = ballot_schema(["a", "b"])
    assert strict_form(schema) == schema


@pytest.mark.parametrize(
    "schema",
    [
        of(Counts),
        of(dict[str, int]),
        of(tuple[int, str]),
        of(Any),
        of(list[Any]),
        {"type": "object"},
        {"type": "array"},
        {"type": "object", "properties": {"a": {"type": "string"}}},  # which may be missing
        {"type": "object", "properties": {"a": {}}, "required": ["a"]},
        {"type": "object", "properties": {}, "additionalProperties": True},
        {"allOf": [{"type": "string"}]},
    ],
    ids=str,
)
def test_what_has_no_strict_form(schema: dict[str, Any]) -> None:
    assert strict_form(schema) is None


def test_a_malformed_schema() -> None:
    with pytest.raises(InvalidPayloadError):
        strict_form({"type": "object", "properties": 3, "additionalProperties": False})
