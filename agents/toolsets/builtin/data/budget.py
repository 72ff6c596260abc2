"""Bounds of what tools of data look at: values and steps are counted, not seconds."""

from __future__ import annotations

from typing import Any

from agents.tools.calls import ToolError

#: Values of a document: more than a model writes or reads.
MAX_VALUES = 100_000
MAX_DEPTH = 100
#: Characters of a text that weigh as much as a value.
_CHARACTERS = 64


class Budget:
    """The steps that are left to one call, each less than a microsecond.

    Parts of a value may be shared, so that a few lists have billions of elements: each way to a
    part counts, as it does when the value is written.
    """

    def __init__(self, left: int = MAX_VALUES) -> None:
        self._most = self._left = left

    def take(self, steps: int) -> None:
        """Count steps.

        Raises:
            ToolError: none are left.
        """
        self._left -= steps
        if self._left < 0:
            raise ToolError(f"That is more than {self._most:,} values. Give or ask for less.")

    def count(self, value: Any) -> None:
        """Count the values within a value, long texts as several.

        Raises:
            ToolError: there are too many, or too many levels of them.
        """
        todo = [(value, 0)]
        self.take(1)
        while todo:
            one, depth = todo.pop()
            if depth > MAX_DEPTH:
                raise ToolError(f"There are more than {MAX_DEPTH} levels of lists and objects.")
            if isinstance(one, str):
                self.take(len(one) // _CHARACTERS)
            elif isinstance(one, dict):
                self.take(len(one))
                todo.extend((part, depth + 1) for part in one.values())
            elif isinstance(one, list | tuple):
                self.take(len(one))
                todo.extend((part, depth + 1) for part in one)


def counted(*values: Any, most: int = MAX_VALUES) -> Budget:
    """A budget from which these values are taken. Raises as :meth:`Budget.count`."""
    budget = Budget(most)
    for value in values:
        budget.count(value)
    return budget
