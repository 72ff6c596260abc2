"""The lines of a flow's history, as people read them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from celery_agents.contracts.base import Contract, TrustedJson

#: ``started``: its first line. ``done`` and ``failed``: the end of what the command of that key
#: asked for. ``timer``: its time has come. ``signal``: somebody sent one of that name. ``cancel``:
#: somebody wants it to end. ``unread``, at its end: signals that nobody took.
EventKind = Literal["started", "done", "failed", "timer", "signal", "cancel", "unread"]
#: What became of a signal. ``taken``: it will be told. ``known``: one of this id was taken before.
#: ``too_late``: the flow has ended. ``unknown``: there is no such flow, or no worker has begun it.
SignalReply = Literal["taken", "known", "too_late", "unknown"]


class HistoryLine(Contract):
    """Something that a flow was told, and what its code asked for upon it.

    ``kind``: ``started``; ``done`` and ``failed``, the end of what the command of that ``key``
    asked for; ``timer``; ``signal``, whose name is the ``key``; ``cancel``; ``unread``, behind the
    end: names and values of signals that its code did not take.
    """

    seq: int
    kind: EventKind
    key: str
    #: Seconds since 1970.
    at: float
    value: TrustedJson = None
    #: Commands: key, kind, name, and a digest of what is asked.
    then: tuple[tuple[str, str, str, str], ...] = Field(default=())
