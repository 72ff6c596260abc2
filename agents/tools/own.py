"""The tools of an answer that are nobody's: reading on in long results, and searching for tools."""

from __future__ import annotations

from agents.invoke import invoke
from agents.tools.calls import ToolCall, ToolResult, ToolSpec
from agents.tools.offered import Offered
from agents.tools.results import LongResults


class OwnTools:
    """Serves them for one answer; neither is journaled, and both say the same each time."""

    def __init__(self, offered: Offered) -> None:
        self.long = LongResults()
        self._search = offered.search() if offered.searched else None
        self._taken = self.long.spec.name in offered.tools

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """The tools that are offered beside those of the beginning.

        Those that were found, and `read_result` once a result was too long.
        """
        found = () if self._search is None else self._search.found
        return (*found, self.long.spec) if self.long and not self._taken else tuple(found)

    async def answer(self, call: ToolCall) -> ToolResult:
        """Answer a call that is of no tool of the agent's."""
        if self.long and call.name == self.long.spec.name:
            return self.long.read(call)
        if self._search is not None and call.name == self._search.name:
            # In a thread: an index may have to be made first.
            found: ToolResult = await invoke(self._search.answer, call)
            return found
        return ToolResult(call=call, value=f"There is no tool {call.name!r}.", failed=True)
