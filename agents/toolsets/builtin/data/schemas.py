"""All problems of a value by a JSON schema, in a bounded number of steps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import cache, lru_cache, partial
from itertools import islice
from typing import Any, NamedTuple

from agents.tools.calls import ToolError
from agents.toolsets.builtin.data.budget import Budget, counted
from agents.toolsets.builtin.patterns import compiled

_MAX_STEPS = 400_000
#: Steps of one keyword, beside those of what it looks at.
_KEYWORD = 20
#: Steps of holding one name against one pattern, and characters of it that take one more.
_FIT, _CHARACTERS = 2, 64
#: Values of a schema: it is held against the schema of schemas first.
_MAX_SCHEMA = 2_000
_SHOWN = 300
#: They are followed without an end that could be counted.
_UNBOUNDED = ("unevaluatedProperties", "unevaluatedItems", "$dynamicRef")

_Check = Callable[[Any, Any, Any, Any], Iterator[Any]]


def problems(value: Any, schema: dict[str, Any], most: int) -> list[dict[str, str]]:
    """The problems of a value, each with the place where it is; empty where it fits.

    Raises:
        ToolError: the schema is none, or needs what is not there, as parts from elsewhere.
    """
    import jsonschema
    import referencing.exceptions

    counted(value)
    counted(schema, most=_MAX_SCHEMA)
    sizes: dict[int, int] = {}
    _weigh(value, sizes)
    _LOOK.set(_Look(Budget(_MAX_STEPS), sizes))
    try:
        check = _check_of(json.dumps(schema))
        return [
            {"path": found.json_path, "problem": found.message[:_SHOWN]}
            for found in islice(check.iter_errors(value), most)
        ]
    except jsonschema.SchemaError as error:
        told = f"{error.json_path}: {error.message[:_SHOWN]}"
        raise ToolError(f"The schema is none of JSON Schema 2020-12: {told}") from None
    except referencing.exceptions.Unresolvable as error:
        raise ToolError(
            f"$ref {str(error.ref)[:100]!r} does not lead into the schema. Nothing is fetched: "
            "put the part under $defs."
        ) from None
    except RecursionError:
        raise ToolError("A $ref of the schema leads back to itself.") from None


@lru_cache(64)
def _check_of(text: str) -> Any:
    """Hold a schema against the schema of schemas, and make the check that it is.

    Models ask by the same one again and again.

    Raises:
        jsonschema.SchemaError: it is none.
    """
    import jsonschema
    import referencing.jsonschema

    own = _without_dialects(json.loads(text))
    jsonschema.Draft202012Validator.check_schema(own)
    # Without a registry of its own, parts at other addresses would be fetched.
    return _validator()(own, registry=referencing.jsonschema.EMPTY_REGISTRY)


def _without_dialects(part: Any) -> Any:
    """A schema without ``$schema``: it would select rules that are not bounded."""
    if isinstance(part, list):
        return [_without_dialects(one) for one in part]
    if not isinstance(part, dict):
        return part
    return {
        name: _without_dialects(one)
        for name, one in part.items()
        if name != "$schema" or not isinstance(one, str)
    }


class _Look(NamedTuple):
    """The steps that are left to one call, and what looking at each part of its value takes."""

    budget: Budget
    sizes: dict[int, int]


#: The call that is made here. Validators are made anew for each part, and hand nothing on.
_LOOK: ContextVar[_Look] = ContextVar("validate_json")


@cache
def _validator() -> Any:
    """The validators' class, whose checks cost as much as the value that they look at."""
    import jsonschema

    draft = jsonschema.Draft202012Validator
    checks = {**draft.VALIDATORS, **_own(jsonschema.ValidationError)}

    def bounded(name: str, check: _Check) -> _Check:
        def run(validator: Any, part: Any, instance: Any, schema: Any) -> Any:
            if name in _UNBOUNDED:
                raise ToolError(f"{name} is not looked at. Say it with properties and $ref.")
            look = _LOOK.get()
            own = len(part) if isinstance(part, list | dict) else 0
            look.budget.take(_KEYWORD + own + look.sizes.get(id(instance), 1))
            return check(validator, part, instance, schema)

        return run

    return jsonschema.validators.extend(
        draft, {name: bounded(name, check) for name, check in checks.items()}
    )


def _weigh(value: Any, sizes: dict[int, int]) -> int:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    size = 1 + sum(_weigh(part, sizes) for part in parts)
    if isinstance(value, str):
        size += len(value) // 64
    sizes[id(value)] = size
    return size


def _own(problem: Callable[[str], Any]) -> dict[str, _Check]:
    """Keywords whose usual checks take regular expressions without a bound, or squares."""

    def pattern(_validator: Any, part: Any, value: Any, _schema: Any) -> Iterator[Any]:
        if isinstance(value, str) and compiled(part).search(value) is None:
            yield problem(f"{value!r} does not match {part!r}")

    def pattern_properties(validator: Any, part: Any, value: Any, _schema: Any) -> Iterator[Any]:
        named = value.items() if isinstance(value, dict) else ()
        every = _compiled(named and part)
        for name, one in named:
            for below in _below(every, name):
                yield from validator.descend(one, below, path=name)

    def additional(validator: Any, part: Any, value: Any, schema: Any) -> Iterator[Any]:
        named = value.items() if isinstance(value, dict) else ()
        known = schema.get("properties", {})
        every = _compiled(named and schema.get("patternProperties"))
        for name, one in named:
            if name in known or _below(every, name):
                continue
            if part is False:
                yield problem(f"{name!r} is not allowed here")
            else:
                yield from validator.descend(one, part, path=name)

    return {
        "pattern": pattern,
        "patternProperties": pattern_properties,
        "additionalProperties": additional,
        "uniqueItems": partial(_unique, problem),
    }


def _compiled(parts: Any) -> list[tuple[Any, Any]]:
    """Patterns for names with the schemas below them; none where there is nothing to look at."""
    return [(compiled(pattern), below) for pattern, below in parts.items()] if parts else []


def _below(every: list[tuple[Any, Any]], name: str) -> list[Any]:
    """The schemas below the patterns that fit a name: of many names all steps are a product."""
    _LOOK.get().budget.take(len(every) * (_FIT + len(name) // _CHARACTERS))
    return [below for pattern, below in every if pattern.search(name) is not None]


def _unique(
    problem: Callable[[str], Any], _validator: Any, part: Any, value: Any, _schema: Any
) -> Iterator[Any]:
    if part and isinstance(value, list):
        told = [json.dumps(_whole(one), sort_keys=True) for one in value]
        if len({*told}) < len(told):
            yield problem("has elements that are the same")


def _whole(value: Any) -> Any:
    """A value whose numbers are the same where they are equal: 1.0 is 1."""
    if isinstance(value, dict):
        return {name: _whole(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_whole(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
