"""Tools that change JSON documents by their differences."""

from __future__ import annotations

from copy import deepcopy
from typing import Annotated, Any

from pydantic import Field

from agents.tools.calls import ToolError
from agents.toolsets.builtin.data.budget import counted
from agents.toolsets.builtin.offer import offer
from celery_agents.contracts.base import TrustedJson

#: Values that are compared: lists take time with the square of their elements.
_MAX_COMPARED = 4_000
#: Values that all steps of a patch may look at.
_MAX_PATCHED = 400_000
Operations = Annotated[list[dict[str, TrustedJson]], Field(max_length=1_000)]


@offer(
    {
        "value": {"a": 1, "b": [1]},
        "operations": [
            {"op": "add", "path": "/b/-", "value": 2},
            {"op": "remove", "path": "/a"},
        ],
    },
    "jsonpatch",
)
def patch_json(
    value: TrustedJson, operations: Operations | None = None, merge: TrustedJson = None
) -> Any:
    """Changes a JSON value by operations of RFC 6902, or by a merge patch of RFC 7386."""
    if (operations is None) == (merge is None):
        raise ToolError("Give operations, or merge.")
    counted(value, merge)
    return _merged(value, merge) if operations is None else _patched(value, operations)


@offer({"before": {"a": 1, "b": 2}, "after": {"a": 1, "b": 3}}, "jsonpatch")
def diff_json(before: TrustedJson, after: TrustedJson) -> list[dict[str, Any]]:
    """Compares two JSON values: operations of RFC 6902 that make the first one the second."""
    import jsonpatch

    counted(before, after, most=_MAX_COMPARED)
    found: list[dict[str, Any]] = jsonpatch.make_patch(before, after).patch
    return found


def _patched(value: Any, operations: list[dict[str, Any]]) -> Any:
    """The value after all operations. What is copied counts each time: copies double."""
    import jsonpatch
    import jsonpointer

    budget = counted(value, operations, most=_MAX_PATCHED)
    found = deepcopy(value)
    for number, operation in enumerate(operations, 1):
        try:
            found = jsonpatch.JsonPatch([operation]).apply(found, in_place=True)
        except jsonpatch.JsonPatchTestFailed as error:
            told = f"The test of operation {number} fails; nothing is changed: {str(error)[:300]}"
            raise ToolError(told) from None
        except (
            jsonpatch.JsonPatchException,
            jsonpointer.JsonPointerException,
            TypeError,
            ValueError,
        ) as error:
            raise ToolError(f"Operation {number} does not fit: {str(error)[:300]}") from None
        if operation.get("op") == "copy":
            budget.count(found)
    counted(found)
    return found


def _merged(value: Any, merge: Any) -> Any:
    """RFC 7386, section 2."""
    if not isinstance(merge, dict):
        return merge
    found = dict(value) if isinstance(value, dict) else {}
    for name, part in merge.items():
        if part is None:
            found.pop(name, None)
        else:
            found[name] = _merged(found.get(name), part)
    return found


TOOLS = (patch_json, diff_json)
