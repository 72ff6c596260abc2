"""The form that an answer must have, as JSON Schema.

Only the keywords that model providers enforce in structured output are checked here: ``type``,
``enum``, ``const``, ``properties``, ``required``, ``additionalProperties: false``, ``items``,
``anyOf``/``oneOf`` (as any), ``minimum``, ``maximum`` and local ``$ref``. Others are let pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydantic import JsonValue

from celery_agents.errors import InvalidPayloadError

Schema = dict[str, Any]

_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}


def ballot_schema(choices: Sequence[str] | None, ballot: str = "option") -> Schema:
    """The schema of a ballot: one option, or a list of them under the name of its kind.

    The reason comes first: models answer better after reasoning.
    """
    one: Schema = {"type": "string"} if choices is None else {"type": "string", "enum": [*choices]}
    return {
        "type": "object",
        "properties": {
            "reason": {"type": "string", "description": "Why, in one or two sentences."},
            ballot: one if ballot == "option" else {"type": "array", "items": one},
            "confidence": {
                "type": "number",
                "minimum": 0,
                "maximum": 1,
                "description": "Probability, from 0 to 1, that it is right.",
            },
        },
        "required": ["reason", ballot, "confidence"],
        "additionalProperties": False,
    }


def problem(value: JsonValue, schema: Schema) -> str | None:
    """The first reason why ``value`` does not have the form of ``schema``, or None.

    Raises:
        InvalidPayloadError: the schema itself is malformed.
    """
    with _well_formed():
        return next(_problems(value, schema, schema, "the answer"), None)


def is_strict(schema: Any) -> bool:
    """Whether OpenAI's strict mode takes the schema: closed objects, all properties required.

    Raises:
        InvalidPayloadError: the schema itself is malformed.
    """
    with _well_formed():
        return _is_strict(schema)


@contextmanager
def _well_formed() -> Iterator[None]:
    """Schemas come from callers, unchecked; what they break here is their mistake."""
    try:
        yield
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        message = f"The answer schema is malformed: {type(error).__name__}: {error}"
        raise InvalidPayloadError(message) from None


def _is_strict(schema: Any) -> bool:
    if isinstance(schema, list):
        return all(_is_strict(item) for item in schema)
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object" or "properties" in schema:
        closed = schema.get("additionalProperties") is False
        if not closed or set(schema.get("properties", ())) - set(schema.get("required", ())):
            return False
    return all(_is_strict(part) for part in schema.values())


def _problems(value: JsonValue, schema: Any, root: Schema, path: str) -> Iterator[str]:
    if not isinstance(schema, dict):
        return
    if "$ref" in schema:
        yield from _problems(value, _resolved(str(schema["$ref"]), root), root, path)
        return
    variants = schema.get("anyOf") or schema.get("oneOf")
    if variants and all(any(_problems(value, v, root, path)) for v in variants):
        yield f"{path} has none of the allowed forms"
    if "type" in schema and not _is_of(value, schema["type"]):
        yield f"{path} is not of type {schema['type']}"
        return
    if not _allowed(value, schema):
        yield f"{path} is not one of the allowed values"
    if isinstance(value, dict):
        yield from _object_problems(value, schema, root, path)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _problems(item, schema.get("items"), root, f"{path}[{index}]")


def _allowed(value: JsonValue, schema: Schema) -> bool:
    if "const" in schema and value != schema["const"]:
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        within: bool = schema.get("minimum", value) <= value <= schema.get("maximum", value)
        return within
    return True


def _object_problems(
    value: dict[str, JsonValue], schema: Schema, root: Schema, path: str
) -> Iterator[str]:
    properties = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{path} lacks {name!r}"
    for name, item in value.items():
        if name in properties:
            yield from _problems(item, properties[name], root, f"{path}.{name}")
        elif schema.get("additionalProperties") is False:
            yield f"{path} has the unknown field {name!r}"


def _is_of(value: JsonValue, types: Any) -> bool:
    for name in types if isinstance(types, list) else [types]:
        kind = _TYPES.get(str(name), object)
        if name == "integer" and isinstance(value, float) and value.is_integer():
            return True
        if isinstance(value, kind) and (not isinstance(value, bool) or name == "boolean"):
            return True
    return False


def _resolved(reference: str, root: Schema) -> Any:
    node: Any = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        node = node.get(part.replace("~1", "/").replace("~0", "~")) if part else node
        if not isinstance(node, dict):
            return None
    return node
