"""JMESPath in a bounded number of steps: a short expression can make a list of billions."""

from __future__ import annotations

from functools import cache
from typing import Any

from agents.tools.calls import ToolError
from agents.toolsets.builtin.data.budget import Budget, counted

_MAX_STEPS = 400_000
_MAX_LENGTH = 2_000


def queried(value: Any, expression: str) -> Any:
    """The part of a value that an expression names.

    Raises:
        ToolError: it is no expression, does not fit the value, or makes too much of it.
    """
    import jmespath

    budget = counted(value, most=_MAX_STEPS)
    if len(expression) > _MAX_LENGTH:
        raise ToolError(f"An expression has up to {_MAX_LENGTH} characters.")
    try:
        parsed = jmespath.compile(expression).parsed
        found = _interpreter()(budget).visit(parsed, value)
        budget.count(found)
    except jmespath.exceptions.JMESPathError as error:
        raise ToolError(f"JMESPath: {str(error)[:500]}") from None
    except (RecursionError, ValueError, TypeError) as error:
        raise ToolError(f"The expression cannot be evaluated: {type(error).__name__}.") from None
    return found


@cache
def _interpreter() -> Any:
    import jmespath

    class Counting(jmespath.visitor.TreeInterpreter):
        """Counts each look at a part, and all that is made anew before more is made of it."""

        def __init__(self, budget: Budget) -> None:
            super().__init__()
            self._budget = budget

        def visit(self, node: Any, *args: Any, **kwargs: Any) -> Any:
            self._budget.take(1)
            return super().visit(node, *args, **kwargs)

        def visit_multi_select_list(self, node: Any, value: Any) -> Any:
            return self._made(super().visit_multi_select_list(node, value))

        def visit_multi_select_dict(self, node: Any, value: Any) -> Any:
            return self._made(super().visit_multi_select_dict(node, value))

        def visit_function_expression(self, node: Any, value: Any) -> Any:
            return self._made(super().visit_function_expression(node, value))

        def _made(self, found: Any) -> Any:
            self._budget.count(found)
            return found

    return Counting
