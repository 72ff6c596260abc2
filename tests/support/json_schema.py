"""A small reader of JSON Schema: whether a value has the form that a contract's schema tells."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

Schema = Any


def fits(value: Any, schema: Schema, root: Schema | None = None) -> bool:
    """Return whether the value is one of the schema; by the keywords that pydantic writes."""
    root = schema if root is None else root
    if isinstance(schema, bool):
        return schema
    assert schema.keys() <= _KNOWN.keys() | _TOLD, schema.keys()
    return all(check(value, schema, root) for name, check in _KNOWN.items() if name in schema)


def _is(value: Any, kind: str) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    kinds: dict[str, bool] = {
        "null": value is None,
        "boolean": isinstance(value, bool),
        "number": number,
        "integer": number and value == int(value),
        "string": isinstance(value, str),
        "array": isinstance(value, list | tuple),
        "object": isinstance(value, dict),
    }
    return kinds[kind]


def _type(value: Any, schema: Schema, _: Schema) -> bool:
    told = schema["type"]
    return any(_is(value, kind) for kind in ([told] if isinstance(told, str) else told))


def _ref(value: Any, schema: Schema, root: Schema) -> bool:
    found = root
    for part in schema["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return fits(value, found, root)


def _properties(value: Any, schema: Schema, root: Schema) -> bool:
    told = schema["properties"]
    return not _is(value, "object") or all(
        fits(item, told[name], root) for name, item in value.items() if name in told
    )


def _others(value: Any, schema: Schema, root: Schema) -> bool:
    told = schema.get("properties", {})
    return not _is(value, "object") or all(
        fits(item, schema["additionalProperties"], root)
        for name, item in value.items()
        if name not in told
    )


def _patterns(value: Any, schema: Schema, root: Schema) -> bool:
    return not _is(value, "object") or all(
        fits(item, one, root)
        for pattern, one in schema["patternProperties"].items()
        for name, item in value.items()
        if re.search(pattern, name)
    )


def _items(value: Any, schema: Schema, root: Schema) -> bool:
    first = len(schema.get("prefixItems", ()))
    return not _is(value, "array") or all(fits(i, schema["items"], root) for i in value[first:])


def _prefix(value: Any, schema: Schema, root: Schema) -> bool:
    told = schema["prefixItems"]
    return not _is(value, "array") or all(
        fits(item, one, root) for item, one in zip(value, told, strict=False)
    )


Check = Callable[[Any, Schema, Schema], bool]


def _bound(
    kind: str, measure: Callable[[Any], Any], name: str, ok: Callable[[Any, Any], bool]
) -> Check:
    def check(value: Any, schema: Schema, _: Schema) -> bool:
        return not _is(value, kind) or ok(measure(value), schema[name])

    return check


def _same(value: Any, told: Any) -> bool:
    return type(value) is type(told) and value == told


_KNOWN: dict[str, Check] = {
    "type": _type,
    "$ref": _ref,
    "const": lambda v, s, _: _same(v, s["const"]),
    "enum": lambda v, s, _: any(_same(v, one) for one in s["enum"]),
    "anyOf": lambda v, s, r: any(fits(v, one, r) for one in s["anyOf"]),
    "oneOf": lambda v, s, r: sum(fits(v, one, r) for one in s["oneOf"]) == 1,
    "not": lambda v, s, r: not fits(v, s["not"], r),
    "properties": _properties,
    "patternProperties": _patterns,
    "additionalProperties": _others,
    "propertyNames": lambda v, s, r: (
        not _is(v, "object") or all(fits(name, s["propertyNames"], r) for name in v)
    ),
    "required": lambda v, s, _: not _is(v, "object") or set(s["required"]) <= v.keys(),
    "items": _items,
    "prefixItems": _prefix,
    "pattern": lambda v, s, _: not _is(v, "string") or bool(re.search(s["pattern"], v)),
    "minLength": _bound("string", len, "minLength", lambda a, b: a >= b),
    "maxLength": _bound("string", len, "maxLength", lambda a, b: a <= b),
    "minItems": _bound("array", len, "minItems", lambda a, b: a >= b),
    "maxItems": _bound("array", len, "maxItems", lambda a, b: a <= b),
    "maxProperties": _bound("object", len, "maxProperties", lambda a, b: a <= b),
    "minimum": _bound("number", float, "minimum", lambda a, b: a >= b),
    "maximum": _bound("number", float, "maximum", lambda a, b: a <= b),
    "exclusiveMinimum": _bound("number", float, "exclusiveMinimum", lambda a, b: a > b),
    "exclusiveMaximum": _bound("number", float, "exclusiveMaximum", lambda a, b: a < b),
}
_TOLD = {"title", "description", "default", "$defs", "discriminator", "examples", "format"}
