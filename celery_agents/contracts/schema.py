"""The schema of an answer; one that no answer could be held against is refused at the call."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any

from pydantic import AfterValidator, ValidationInfo

from celery_agents.values import KNOWN, JsonObject

#: Values in a schema: objects, lists, texts, numbers. Those of large applications have hundreds.
MOST_VALUES = 10_000
MOST_DEEP = 100

_FORMS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "type": ((str, list), "a name or a list of names"),
    "enum": (list, "a list"),
    "properties": (dict, "an object"),
    "required": (list, "a list of names"),
    "anyOf": (list, "a list of schemas"),
    "oneOf": (list, "a list of schemas"),
    "prefixItems": (list, "a list of schemas"),
    "minimum": ((int, float), "a number"),
    "maximum": ((int, float), "a number"),
    "exclusiveMinimum": ((int, float), "a number"),
    "exclusiveMaximum": ((int, float), "a number"),
    "multipleOf": ((int, float), "a number"),
    "minLength": (int, "a number"),
    "maxLength": (int, "a number"),
    "minItems": (int, "a number"),
    "maxItems": (int, "a number"),
    "pattern": (str, "a text"),
    "format": (str, "a name"),
}
_OF_NAMES = ("type", "required")
#: The only field of an object that stands around an answer which is none.
ANSWER = "answer"
#: Definitions, which stay at the root of a schema, and references to them.
_SHARED = ("$defs", "definitions")
_TO_SHARED = ("#/$defs/", "#/definitions/")


def resolved(reference: str, root: dict[str, Any]) -> Any:
    """The part of ``root`` that a local ``$ref`` names; None when there is no such object."""
    node: Any = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        node = node.get(part.replace("~1", "/").replace("~0", "~")) if part else node
        if not isinstance(node, dict):
            return None
    return node


def checked(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema itself.

    Raises:
        ValueError: it is too large, malformed, or a ``$ref`` of it leads back to itself.
    """
    _measure(schema)
    same: dict[int, set[int]] = {}  # which parts are asked about the same value as which
    seen: set[int] = set()
    todo: list[dict[str, Any]] = [schema]
    while todo:
        node = todo.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        _well_formed(node)
        alike = list(_alike(node, schema))
        same[id(node)] = {id(one) for one in alike}
        todo += alike
        todo += _below(node)
    try:
        TopologicalSorter(same).prepare()
    except CycleError:
        raise ValueError("a $ref leads back to itself") from None
    return schema


def _measure(schema: dict[str, Any]) -> None:
    values, depth = 0, 0
    level: list[Any] = [schema]
    while level:
        values += len(level)
        if values > MOST_VALUES or depth > MOST_DEEP:
            raise ValueError(
                f"a schema has at most {MOST_VALUES:,} values, {MOST_DEEP} deep: describe less"
            )
        level = [part for node in level for part in _parts(node)]
        depth += 1


def _parts(node: Any) -> Iterator[Any]:
    if isinstance(node, dict):
        yield from node.values()
    elif isinstance(node, list):
        yield from node


def _well_formed(node: dict[str, Any]) -> None:
    for keyword, (kinds, form) in _FORMS.items():
        if keyword not in node:
            continue
        told: Any = node[keyword]
        named = told if keyword in _OF_NAMES and isinstance(told, list) else ()
        fits = isinstance(told, kinds) and not isinstance(told, bool)
        if not fits or not all(isinstance(name, str) for name in named):
            raise ValueError(f"{keyword} is not {form}")


def _alike(node: dict[str, Any], root: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Parts that say something about the same value as ``node``."""
    if "$ref" in node:
        target = resolved(str(node["$ref"]), root)
        if target is not None:
            yield target
        return
    for keyword in ("anyOf", "oneOf"):
        variants: list[Any] = node.get(keyword, [])
        yield from (one for one in variants if isinstance(one, dict))


def _below(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Parts about what is inside of it, or that others refer to."""
    for keyword in ("properties", "$defs", "definitions"):
        found = node.get(keyword)
        if isinstance(found, dict):
            yield from (one for one in found.values() if isinstance(one, dict))
    for keyword in ("items", "additionalProperties"):
        if isinstance(node.get(keyword), dict):
            yield node[keyword]
    yield from (one for one in node.get("prefixItems", ()) if isinstance(one, dict))


def is_object(schema: dict[str, Any]) -> bool:
    """Return whether the schema says outright that an answer is an object, as providers want it."""
    return schema.get("type") == "object" and not schema.keys() & {"anyOf", "oneOf", "$ref"}


def form_of(schema: dict[str, Any]) -> str:
    """A short digest of a schema: steps that answer by the same one have it in common."""
    text = json.dumps(schema, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def as_object(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema that providers get: itself, or that of an object with the answer in it.

    They answer with objects alone, so unions, lists and simple values stand in one.
    """
    if is_object(schema):
        return schema
    shared = {k: _moved(schema[k]) for k in _SHARED if k in schema}
    inner = {k: v for k, v in schema.items() if k not in shared}
    return {
        **shared,
        "type": "object",
        "properties": {ANSWER: _moved(inner)},
        "required": [ANSWER],
        "additionalProperties": False,
    }


def _moved(node: Any) -> Any:
    """A part of a schema that was the whole: what refers to its other parts follows them."""
    if isinstance(node, list):
        return [_moved(part) for part in node]
    if not isinstance(node, dict):
        return node
    moved = {k: _moved(v) for k, v in node.items()}
    ref = node.get("$ref")
    if isinstance(ref, str) and ref.startswith("#") and not ref.startswith(_TO_SHARED):
        moved["$ref"] = f"#/properties/{ANSWER}{ref[1:]}"
    return moved


def _served(schema: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
    return schema if info.context is KNOWN else checked(schema)


#: An answer's JSON Schema; a row's was checked when it came in.
AnswerSchema = Annotated[JsonObject, AfterValidator(_served)]
