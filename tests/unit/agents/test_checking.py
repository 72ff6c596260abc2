from __future__ import annotations

from typing import Any

import pytest

from agents.checking import MOST_STEPS, Check
from celery_agents.errors import InvalidPayloadError


def ladder(levels: int, wide: int = 2, keyword: str = "anyOf") -> dict[str, Any]:
    """Each level leads to the next one in several ways: ``wide ** levels`` of them in all."""
    steps: dict[str, Any] = {"d0": {"type": "string"}}
    for n in range(1, levels + 1):
        steps[f"d{n}"] = {keyword: [{"$ref": f"#/$defs/d{n - 1}"} for _ in range(wide)]}
    return {"$defs": steps, "$ref": f"#/$defs/d{levels}"}


def nested(levels: int) -> dict[str, Any]:
    """The same for the insides of values: every level of a list has two ways to the next."""
    steps: dict[str, Any] = {"d0": {"type": "string"}}
    for n in range(1, levels + 1):
        ref = {"$ref": f"#/$defs/d{n - 1}"}
        steps[f"d{n}"] = {"items": {"anyOf": [ref, {"anyOf": [ref, ref]}]}}
    return {"$defs": steps, "$ref": f"#/$defs/d{levels}"}


def lists(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        (1, ladder(30)),
        (1, ladder(60, wide=10)),
        (1, ladder(40, keyword="oneOf")),
        (lists(50), nested(50)),
        ({"a": 1}, {"properties": {"a": ladder(40)}, **ladder(40)}),
    ],
)
def test_ways_that_meet_are_gone_once(value: Any, schema: dict[str, Any]) -> None:
    assert Check(schema, most_steps=2_000).problem(value) is not None


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        ([*range(30_000)], {"items": {"enum": [*range(30_000)]}}),
        ([["x"]] * 1_000 + [["x"] * n for n in range(500)], {"items": {"enum": [["x"] * 2_000]}}),
        ([f"{n}" for n in range(5_000)], {"items": {"anyOf": [{"type": "null"}] * 500 + [{}]}}),
        ([{} for _ in range(5_000)], {"items": {"required": ["a"] * 500, "anyOf": [{}]}}),
        ([f"{n}" for n in range(9_000)], {"items": {"type": ["null"] * 400 + ["string"]}}),
        ([{"a": n} for n in range(99_999)], {"items": {"properties": {"a": {"minimum": 0}}}}),
    ],
    ids=["enum", "enum of lists", "anyOf", "required", "types", "many items"],
)
def test_what_is_too_much_is_refused(value: Any, schema: dict[str, Any]) -> None:
    check = Check(schema, most_steps=MOST_STEPS)
    if schema["items"].get("required"):  # the first one that lacks it is enough
        assert check.problem(value) == "the answer[0] lacks 'a'"
        return
    if schema["items"].get("enum") == [["x"] * 2_000]:
        assert check.problem(value) == "the answer[0] is not one of the allowed values"
        return
    with pytest.raises(InvalidPayloadError, match=r"200,000 steps: ask for less"):
        check.problem(value)


def test_steps_do_not_depend_on_the_machine() -> None:
    schema = {"items": {"type": "integer"}}
    assert Check(schema, most_steps=11).problem([1, 2, 3, 4, 5]) is None
    with pytest.raises(InvalidPayloadError):
        Check(schema, most_steps=10).problem([10, 20, 30, 40, 50])


def test_a_large_answer_of_records_is_checked() -> None:
    record = {
        "type": "object",
        "properties": {f"f{n}": {"type": "string"} for n in range(4)},
        "required": [f"f{n}" for n in range(4)],
    }
    value: list[Any] = [{f"f{n}": f"{place}/{n}" for n in range(4)} for place in range(9_000)]
    assert Check({"type": "array", "items": record}).problem(value) is None


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "#/a", "a": {"$ref": "#/b"}, "b": {"anyOf": [{"$ref": "#/a"}]}},
        {"anyOf": [{"type": "null"}, {"oneOf": [{"$ref": "#"}]}]},
    ],
)
def test_a_ref_that_leads_back(schema: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="leads back"):
        Check(schema).problem(1)


def test_a_ref_that_leads_back_from_inside_is_recursion() -> None:
    tree = {"type": "object", "properties": {"sub": {"$ref": "#"}}, "additionalProperties": False}
    assert Check(tree).problem({"sub": {"sub": {}}}) is None
    assert Check(tree).problem({"sub": {"sub": 3}}) == "the answer.sub.sub is not of type object"


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        ({"x" * 100_000: 1}, {"additionalProperties": False}),
        ({"x" * 100_000: 1}, {"properties": {"x" * 100_000: {"type": "string"}}}),
        ({}, {"required": ["x" * 100_000]}),
        (1, {"type": ["x" * 100_000, "string"]} | {"enum": [2]}),
    ],
)
def test_problems_are_short(value: Any, schema: dict[str, Any]) -> None:
    found = Check(schema).problem(value)
    assert found is not None
    assert len(found) < 400
