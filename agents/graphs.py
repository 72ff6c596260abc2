"""The lines in which graphs of other libraries keep their threads, as a journal has them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, Protocol


class GraphLine(NamedTuple):
    """A line of a thread; of one kind and key there is one."""

    kind: str
    key: str
    data: dict[str, Any]
    #: The run that it belongs to, by which it is found.
    run_id: str | None = None


class GraphLines(Protocol):
    """The lines of threads. Each method is a transaction, and blocks."""

    def put(self, thread: str, lines: Sequence[GraphLine], *, anew: Collection[str] = ()) -> None:
        """Add lines; one that is there stays, unless its key is among those put ``anew``.

        Raises:
            StepCancelledError: another worker goes on with the step that writes.
        """
        ...

    def get(self, thread: str, kind: str, keys: Collection[str] | None = None) -> list[GraphLine]:
        """The lines of a kind, those of ``keys`` or all, in the order in which they were added."""
        ...

    def newest(self, thread: str, kind: str) -> GraphLine | None:
        """The line of a kind whose key is the greatest."""
        ...

    def every(self, thread: str | None, kind: str) -> list[GraphLine]:
        """The lines whose kind begins so, greatest key first; None: of all threads."""
        ...

    def of_runs(self, run_ids: Collection[str], kind: str) -> list[GraphLine]:
        """The lines whose kind begins so that belong to these runs, of all threads."""
        ...

    def drop(
        self, thread: str, kind: str | None = None, keys: Collection[str] | None = None
    ) -> None:
        """Delete lines of a kind, those of ``keys`` or all; without a kind the whole thread."""
        ...
