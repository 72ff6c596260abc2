"""The commands of a line of a history, against which those of the code are held."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from agents.flows.history import PATCHED, FlowCommand


class Recorded:
    """Commands that code gave upon an event before, in their order.

    Marks of patches are no questions: code that does not ask for one any more differs in nothing.
    """

    def __init__(self, commands: Iterable[FlowCommand]) -> None:
        self._left = deque(commands)

    @property
    def next(self) -> FlowCommand | None:
        """The command that comes next; None: there was no more."""
        while self._left and self._left[0].kind == PATCHED:
            self._left.popleft()
        return self._left[0] if self._left else None

    def meets(self, one: FlowCommand) -> bool:
        """Return whether a command is the next one, which is taken then."""
        if self.next != one:
            return False
        self._left.popleft()
        return True

    def marked(self, one: FlowCommand) -> bool:
        """Return whether the mark of a patch stands here; it is taken, with those before it."""
        for place, other in enumerate(self._left):
            if other == one:
                for _ in range(place + 1):
                    self._left.popleft()
                return True
            if other.kind != PATCHED:
                break
        return False
