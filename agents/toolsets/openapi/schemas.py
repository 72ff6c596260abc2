"""JSON schemas (2020-12) of a description's own forms, closed under their references."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from agents.toolsets.openapi.documents import Document

#: What a schema may say that a model or a validator has a use for.
_KEPT = frozenset(
    {
        *("type", "enum", "const", "title", "description", "default", "format"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("minLength", "maxLength", "pattern", "minItems", "maxItems", "uniqueItems"),
        *("minProperties", "maxProperties", "required"),
    }
)
#: Keywords whose value is one schema, or several.
_ONE = ("items", "additionalProperties", "not", "contains", "propertyNames", "if", "then", "else")
_SEVERAL = ("allOf", "anyOf", "oneOf", "prefixItems")
_NAMED = ("properties", "patternProperties")
_TYPES = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})
_NUMBERS = frozenset(
    {
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
    }
)


class Schemas:
    """The schemas of one operation; what several places refer to stands once in ``defs``."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._names: dict[str, str] = {}
        self.defs: dict[str, Any] = {}

    def of(self, node: Any) -> dict[str, Any]:
        """A description's schema as JSON schema; ``{}``, anything, of what is none."""
        if not isinstance(node, Mapping):
            return {}
        reference = node.get("$ref")
        if isinstance(reference, str):
            return self._referred(reference)
        made = {name: value for name, value in node.items() if name in _KEPT}
        for name in _ONE:
            inner = node.get(name)
            if isinstance(inner, bool) and name == "additionalProperties":
                made[name] = inner
            elif isinstance(inner, Mapping):
                made[name] = self.of(inner)
        for name in _SEVERAL:
            inner = node.get(name)
            if isinstance(inner, list) and inner:
                made[name] = [self.of(one) for one in inner]
        for name in _NAMED:
            inner = node.get(name)
            if isinstance(inner, Mapping):
                made[name] = {str(key): self.of(one) for key, one in inner.items()}
        _without_read_only(made, node)
        return _repaired(made, nullable=node.get("nullable") is True)

    def _referred(self, reference: str) -> dict[str, Any]:
        name = self._names.get(reference)
        if name is None:
            name = _unique(re.sub(r"[^\w.-]", "_", reference.rsplit("/", 1)[-1]), self.defs)
            self._names[reference] = name
            self.defs[name] = {}  # one that refers to itself finds its name
            self.defs[name] = self.of(self._document.at(reference))
        return {"$ref": f"#/$defs/{name}"}


def _unique(name: str, taken: Mapping[str, Any]) -> str:
    found, number = name, 2
    while found in taken:
        found, number = f"{name}_{number}", number + 1
    return found


def _without_read_only(made: dict[str, Any], node: Mapping[str, Any]) -> None:
    """Leave out what only the service writes: nobody can send it."""
    properties = node.get("properties")
    if not isinstance(properties, Mapping):
        return
    own = {n for n, p in properties.items() if isinstance(p, Mapping) and p.get("readOnly") is True}
    for name in own:
        made["properties"].pop(name, None)
    if own and isinstance(made.get("required"), list):
        made["required"] = [name for name in made["required"] if name not in own]


def _repaired(made: dict[str, Any], *, nullable: bool) -> dict[str, Any]:
    """Put right what OpenAPI 2.0 and 3.0 spell otherwise, and leave out what is malformed."""
    for bound, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if made.get(bound) is True and limit in made:
            made[bound] = made.pop(limit)
    for name in _NUMBERS & made.keys():
        if not _is_number(made[name]):
            del made[name]
    _drop_malformed(made)
    kinds = _types(made.pop("type", None))
    if kinds and nullable and "null" not in kinds:
        kinds.append("null")
        if "enum" in made and None not in made["enum"]:
            made["enum"] = [*made["enum"], None]
    if kinds:
        made["type"] = kinds[0] if len(kinds) == 1 else kinds
    elif nullable and made:
        return {"anyOf": [made, {"type": "null"}]}
    return made


def _types(told: object) -> list[str]:
    """The types of JSON among those that are told; a file is a text of its bytes."""
    several = told if isinstance(told, list) else [told]
    known = ["string" if kind == "file" else kind for kind in several]
    return [kind for kind in known if kind in _TYPES]


def _drop_malformed(made: dict[str, Any]) -> None:
    pattern = made.get("pattern")
    if pattern is not None:
        try:
            re.compile(pattern)
        except (re.error, TypeError):
            del made["pattern"]
    required = made.get("required")
    if "required" in made and not (
        isinstance(required, list) and all(isinstance(name, str) for name in required)
    ):
        del made["required"]
    elif isinstance(required, list):
        made["required"] = list(dict.fromkeys(required))
    if "enum" in made and not (isinstance(made["enum"], list) and made["enum"]):
        del made["enum"]
    for name in ("title", "description", "format"):
        if name in made and not isinstance(made[name], str):
            del made[name]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
