"""Histories of flows as a process follows them, so that none is read again from its begin.

Whoever waits for a task asks again and again, and a history may have many thousands of lines. Of
each there stays which signals it waits for, and how far it was read.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from agents.flows.history import Line, SignalWaits
from app.journal.stores.flows import ToldLine

#: Flows that a process follows, those that were asked for last; and what is kept of one.
FOLLOWED_MAX, SIZE_MAX = 512, 1_000


class FollowedFlow:
    """The signals that a flow waits for, by its history up to a line."""

    def __init__(self) -> None:
        self.waits = SignalWaits()
        #: The first line that was not read, and the last signal that the flow was told.
        self.next, self.heard = 0, -1

    def add(self, lines: Sequence[ToldLine]) -> None:
        """Go on with lines; those that somebody has added meanwhile are passed over."""
        new = [Line.of(one.kind, one.data) for one in lines if one.seq >= self.next]
        self.waits.add(new)
        places = (line.place for line in new if line.place is not None)
        self.heard = max(places, default=self.heard)
        self.next = max([self.next, *(one.seq + 1 for one in lines)])

    def open(self, sent: Sequence[Mapping[str, Any]]) -> dict[str, str]:
        """The names of signals that are waited for, by their keys, once it is told those sent."""
        return self.waits.open(one["name"] for one in sent if not one["told"])


class FollowedFlows:
    """The flows that a process follows. It is used on one loop alone."""

    def __init__(self) -> None:
        self._flows: OrderedDict[str, FollowedFlow] = OrderedDict()

    def of(self, run_id: str) -> FollowedFlow:
        """That of a run; a new one where it is not followed."""
        return self._flows.get(run_id) or FollowedFlow()

    def keep(self, run_id: str, flow: FollowedFlow) -> None:
        """Follow a flow from now on, unless it waits for very much."""
        if flow.waits.size > SIZE_MAX:
            self._flows.pop(run_id, None)
            return
        self._flows[run_id] = flow
        self._flows.move_to_end(run_id)
        if len(self._flows) > FOLLOWED_MAX:
            self._flows.popitem(last=False)
