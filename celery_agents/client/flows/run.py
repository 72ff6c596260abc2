"""A flow's run: the handle that the client gives for one that it started."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from celery_agents import names
from celery_agents.client.control import Control
from celery_agents.client.run import Run
from celery_agents.contracts.base import JsonValue, id_of, name_of
from celery_agents.contracts.flows.history import HistoryLine, SignalReply


class FlowRun(Run[Any]):
    """A flow that was started, under the id of its Celery task."""

    #: Given by the verb that makes it; ``agents.start.handle`` for one that was started before.
    control: Control

    def signal(
        self,
        name: str,
        value: JsonValue = None,
        *,
        id: str | None = None,  # noqa: A002 - as of all verbs
        timeout: float = 10.0,
    ) -> SignalReply:
        """Tell the flow something that it waits for, ``await run.signal(name)``, or will.

        Returns ``taken`` when it stands in the journal, and is told the flow in its turn;
        ``known`` when one of this ``id`` was taken before; ``too_late`` when the flow has ended;
        ``unknown`` when there is no such flow, or no worker has begun with it: then say it again.
        """
        key = "" if id is None else id_of(id)
        about = (self.id, name_of(name, "signal"), value, key)
        reply: SignalReply = self.control.ask(names.SIGNAL, *about, recorded=True).get(timeout)
        return reply

    def history(self, *, timeout: float = 10.0) -> Iterator[HistoryLine]:
        """The lines of what it was told and its code asked for upon that, read page by page."""
        since = 0
        while True:
            asked = self.control.ask(names.HISTORY, self.id, since)
            page = [HistoryLine.model_validate(line) for line in asked.get(timeout=timeout)]
            asked.forget()
            yield from page
            if not page:
                return
            since = page[-1].seq + 1
