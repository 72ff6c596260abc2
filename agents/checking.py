"""Holding a value against a JSON schema in a bounded number of steps.

Schema and value both come from outside. A value is looked at once for each part of the schema
that it meets, however many ways lead there (``anyOf`` and ``$ref`` may make exponentially many),
and steps are counted, not seconds: the same answer is refused on every machine.
"""

from __future__ import annotations

from itertools import chain, repeat
from typing import Any

from agents.keywords import PATTERN_STEPS, beyond
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.schema import resolved
from celery_agents.errors import InvalidPayloadError

#: Less than a microsecond each; an answer of 10,000 records of a dozen fields takes as many.
MOST_STEPS = 200_000
#: Characters that are compared in the time of a step; those that a pattern is held against.
_CHARACTERS, _MATCHED = 256, 16
_NAMES_SHOWN, _FORMS_SHOWN = 8, 4

#: Why a value does not fit, and where: (step of the path, what is below it) or a plain text.
_Problem = tuple[str, Any]

_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}


class TooMuchError(InvalidPayloadError):
    """A value and its schema are more than one check looks at."""


class Check:
    """One value held against one schema; its memory is by (value, schema part)."""

    def __init__(
        self, root: dict[str, Any], *, what: str = "the answer", most_steps: int = MOST_STEPS
    ) -> None:
        self._root = root
        self._what = what
        self._left = most_steps
        self._most = most_steps
        # By identity: both trees outlive the check. Ellipsis: being looked at.
        self._known: dict[tuple[int, int], Any] = {}
        self._parts: dict[str, Any] = {}
        self._weights: dict[int, int] = {}

    def problem(self, value: JsonValue) -> str | None:
        """The first reason why ``value`` does not fit, or None.

        Raises:
            TooMuchError: it takes more steps than are allowed.
            TypeError, ValueError, AttributeError, RecursionError: the schema is malformed.
        """
        found = self._problem(value, self._root)
        if found is None:
            return None
        path, why = _told(found)
        return f"{self._what}{path} {why}"

    def _step(self, steps: int = 1) -> None:
        self._left -= steps
        if self._left < 0:
            raise TooMuchError(
                f"{self._what[:1].upper()}{self._what[1:]} cannot be held against the schema in "
                f"{self._most:,} steps: ask for less at once, or say less in the schema."
            )

    def _problem(self, value: JsonValue, schema: Any) -> _Problem | None:
        self._step()
        if not isinstance(schema, dict) or not schema:
            return None
        key = (id(value), id(schema))
        known = self._known.get(key, self)
        if known is ...:
            raise ValueError("a $ref leads back to itself")
        if known is self:
            self._known[key] = ...
            known = self._known[key] = self._looked(value, schema)
        return known  # type: ignore[no-any-return]

    def _looked(self, value: JsonValue, schema: dict[str, Any]) -> _Problem | None:
        if "$ref" in schema:
            return self._problem(value, self._part(str(schema["$ref"])))
        variants = schema.get("anyOf") or schema.get("oneOf")
        if variants and (told := self._of_none(value, variants)) is not None:
            return ("", told)
        if "type" in schema and not self._is_of(value, schema["type"]):
            return ("", f"is not of type {_named(schema['type'])}")
        if not self._allowed(value, schema):
            return ("", "is not one of the allowed values")
        if "pattern" in schema and isinstance(value, str):
            self._step(PATTERN_STEPS + len(value) // _MATCHED)
        if (found := beyond(value, schema)) is not None:
            return ("", found)
        return self._inside(value, schema)

    def _inside(self, value: JsonValue, schema: dict[str, Any]) -> _Problem | None:
        if isinstance(value, dict):
            return self._of_object(value, schema)
        if isinstance(value, list):
            parts = schema.get("prefixItems", ())
            if "items" in schema:
                parts = chain(parts, repeat(schema["items"]))
            for index, (item, part) in enumerate(zip(value, parts, strict=False)):
                if (found := self._problem(item, part)) is not None:
                    return (f"[{index}]", found)
        return None

    def _of_none(self, value: JsonValue, variants: list[Any]) -> str | None:
        """Why a value has none of several forms, in what it misses of the first few."""
        reasons: list[str] = []
        for one in variants:
            if (found := self._problem(value, one)) is None:
                return None
            if len(reasons) < _FORMS_SHOWN:
                where, why = _told(found)
                # Cut, since a form may be one of forms again.
                reasons.append(_cut(f"{_name(one)}: it{where} {why}"))
        return f"has none of the allowed forms ({'; '.join(reasons)})"

    def _of_object(self, value: dict[str, JsonValue], schema: dict[str, Any]) -> _Problem | None:
        properties = schema.get("properties", {})
        if not isinstance(properties, dict):
            raise TypeError("properties is no object")
        for name in schema.get("required", ()):
            self._step()
            if name not in value:
                return ("", f"lacks {_shown(name)}")
        others = schema.get("additionalProperties")
        for name, item in value.items():
            self._step()
            if name in properties:
                if (found := self._problem(item, properties[name])) is not None:
                    return (f".{_cut(name)}", found)
            elif others is not None and (found := self._problem(item, others)) is not None:
                return (f".{_cut(name)}", found)
            elif others is False:
                return ("", f"has the unknown field {_shown(name)}")
        return None

    def _allowed(self, value: JsonValue, schema: dict[str, Any]) -> bool:
        for keyword in ("const", "enum"):
            if keyword in schema:
                told = schema[keyword]
                self._step(self._weight(told))
                if value not in ([told] if keyword == "const" else told):
                    return False
        return True

    def _is_of(self, value: JsonValue, types: Any) -> bool:
        names = types if isinstance(types, list) else [types]
        for name in names:
            self._step()
            if not isinstance(name, str):
                raise TypeError("type is no name")
            kind = _TYPES.get(name, object)
            if name == "integer" and isinstance(value, float) and value.is_integer():
                return True
            if isinstance(value, kind) and (not isinstance(value, bool) or name == "boolean"):
                return True
        return False

    def _weight(self, allowed: Any) -> int:
        """The steps that comparing a value with all of ``allowed`` can take."""
        if id(allowed) not in self._weights:
            self._weights[id(allowed)] = _size(allowed)
        return self._weights[id(allowed)]

    def _part(self, reference: str) -> Any:
        self._step(1 + len(reference) // _CHARACTERS)
        if reference not in self._parts:
            self._parts[reference] = resolved(reference, self._root)
        return self._parts[reference]


def _size(value: Any) -> int:
    """Values in ``value``, long texts as several."""
    total, todo = 0, [value]
    while todo:
        one = todo.pop()
        total += 1
        if isinstance(one, dict):
            todo.extend(one)
            todo.extend(one.values())
        elif isinstance(one, list):
            todo.extend(one)
        elif isinstance(one, str):
            total += len(one) // _CHARACTERS
    return total


def _told(found: _Problem) -> tuple[str, str]:
    """Where it is, and why."""
    path = ""
    while not isinstance(found[1], str):
        path += found[0]
        found = found[1]
    return path, found[1]


def _name(schema: Any) -> str:
    """The name of a form among several."""
    if not isinstance(schema, dict):
        return "one"
    named = schema.get("title") or str(schema.get("$ref", "")).rpartition("/")[2]
    return _cut(str(named)) if named else _named(schema.get("type", "one"))


def _cut(text: str) -> str:
    return text if len(text) <= _CHARACTERS else f"{text[:_CHARACTERS]}…"


def _shown(name: Any) -> str:
    return repr(_cut(name) if isinstance(name, str) else type(name).__name__)


def _named(types: Any) -> str:
    if not isinstance(types, list):
        return _cut(types)
    return " or ".join(_cut(name) for name in types[:_NAMES_SHOWN])
