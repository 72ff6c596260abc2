"""Tools of JSON documents."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import Field

from agents.tools.calls import ToolError
from agents.toolsets.builtin.data.budget import MAX_VALUES, counted
from agents.toolsets.builtin.data.queries import queried
from agents.toolsets.builtin.data.schemas import problems
from agents.toolsets.builtin.offer import Short, offer
from celery_agents.contracts.base import TrustedJson

#: What goes through several looks at each character.
_MAX_BROKEN = 50_000
#: Brackets that are open at once: each is looked for to the end.
_MAX_OPEN = 200


@offer(
    {"value": {"a": [{"b": 1, "c": "x"}, {"b": 2, "c": "y"}]}, "expression": "a[?b > `1`].c"},
    "jmespath",
)
def query_json(value: TrustedJson, expression: Short) -> Any:
    """Gives the part of a JSON value that a JMESPath expression names; null where it has none."""
    return queried(value, expression)


@offer(
    {
        "value": {"a": "x", "b": 2},
        "schema": {
            "properties": {"a": {"type": "integer"}, "b": {"maximum": 1}},
            "required": ["c"],
        },
    },
    "jsonschema",
)
def validate_json(
    value: TrustedJson,
    schema: dict[str, TrustedJson],
    most: Annotated[int, Field(ge=1, le=200)] = 50,
) -> dict[str, Any]:
    """Holds a value against a JSON schema (2020-12): all problems with their paths."""
    found = problems(value, schema, most)
    return {"valid": not found, "problems": found}


@offer({"text": "{'a': 1, b: [1, 2"}, "json_repair")
def repair_json(text: Annotated[str, Field(max_length=_MAX_BROKEN)]) -> Any:
    """Reads JSON that is nearly right: quotes, commas or brackets are missing, prose around it."""
    import json_repair

    try:
        return json.loads(text)
    except (RecursionError, ValueError):
        _check_open(text)
    try:
        found = json_repair.loads(text, skip_json_loads=True)
    except (RecursionError, ValueError) as error:
        raise ToolError(f"The text cannot be repaired: {type(error).__name__}.") from None
    if found == "":
        raise ToolError("The text has no JSON value in it.")
    counted(found, most=MAX_VALUES)
    return found


def _check_open(text: str) -> None:
    depth = 0
    for sign in text:
        depth += (sign in "[{") - (sign in "]}")
        if depth > _MAX_OPEN:
            raise ToolError(f"More than {_MAX_OPEN} brackets are open. Give a part of the text.")


TOOLS = (query_json, validate_json, repair_json)
