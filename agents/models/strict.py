"""OpenAI's strict mode: the form of a schema by which its models answer without a deviation.

It wants each object closed and all its fields given, and takes some keywords alone. What it does
not take, the worker checks after all; it stands in the description, for the model to read.
"""

from __future__ import annotations

import json
from typing import Any

from agents.schema import Schema, well_formed

#: Keywords that go along as they are.
_TAKEN = {"type", "enum", "const", "title", "description", "format", "pattern", "multipleOf"} | {
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems")
}
#: Formats of texts that do.
_FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
#: Those that are told in words.
_TOLD = {"minLength", "maxLength", "uniqueItems", "minProperties", "maxProperties"}
#: Those that say nothing about the answer.
_LEFT_OUT = {"default", "examples", "discriminator", "$schema", "$id", "$comment"}
#: Those that are looked into.
_INSIDE = {"$defs", "$ref", "anyOf", "oneOf", "items"} | {
    *("properties", "required", "additionalProperties")
}
_KNOWN = _TAKEN | _TOLD | _LEFT_OUT | _INSIDE


class _OpenError(Exception):
    """The schema allows what strict mode cannot."""


def strict_form(schema: Schema) -> Schema | None:
    """The schema in the form of strict mode, which allows no more; None where it has none.

    Raises:
        InvalidPayloadError: the schema is malformed.
    """
    with well_formed():
        try:
            return _strict(schema)
        except _OpenError:
            return None


def _strict(node: Any) -> Schema:
    if not isinstance(node, dict) or not node or node.keys() - _KNOWN:
        raise _OpenError  # of any value, or of what has no strict form
    form: Schema = {}
    if "$defs" in node:
        form["$defs"] = {name: _strict(part) for name, part in node["$defs"].items()}
    if "$ref" in node:
        return form | {"$ref": node["$ref"]}  # beside which nothing may stand
    form |= {k: v for k, v in node.items() if k in _TAKEN and _fits(k, v)}
    if variants := node.get("anyOf") or node.get("oneOf"):
        form["anyOf"] = [_strict(one) for one in variants]
    if "array" in _types(node) or "items" in node:
        form["items"] = _strict(node.get("items"))
    if "object" in _types(node) or "properties" in node:
        form |= _closed(node)
    if told := {k: node[k] for k in sorted(node.keys() - form.keys()) if k in _TOLD | _TAKEN}:
        words = (node.get("description"), json.dumps(told))
        form["description"] = " ".join(word for word in words if word)
    return form


def _fits(keyword: str, value: Any) -> bool:
    """Return whether it is taken with that value: patterns that look around are not."""
    if keyword == "format":
        return value in _FORMATS
    return keyword != "pattern" or "(?" not in value


def _closed(node: Schema) -> Schema:
    """All fields of an object, each of which the model has to give."""
    properties = node.get("properties", {})
    required = node.get("required", ())
    closed = node.get("additionalProperties", False if properties else None)
    for name, part in properties.items():
        # A field that may be missing is given all the same where it has a value that says nothing.
        if name not in required and "default" not in part:
            raise _OpenError
    if closed is not False:
        raise _OpenError
    return {
        "properties": {name: _strict(part) for name, part in properties.items()},
        "required": [*properties],
        "additionalProperties": False,
    }


def _types(node: Schema) -> list[str]:
    found = node.get("type", [])
    return found if isinstance(found, list) else [found]
