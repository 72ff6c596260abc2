"""``agents.streams``: entries in their order, appended and followed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from celery_agents import names
from celery_agents.client.control import Control
from celery_agents.contracts.base import PLACES_MAX, name_of, tenant_of, whole_of
from celery_agents.contracts.flows.entries import (
    StreamEntry,
    StreamEvent,
    prefix_of,
    stream_of,
)


class EntryStreams:
    """Appends to streams, reads and follows them; a worker does it.

    Each stream belongs to a tenant; without one, to nobody in particular.
    """

    def __init__(self, control: Control) -> None:
        self._control = control

    def append(
        self,
        stream: str,
        events: Iterable[StreamEvent],
        *,
        expected: int | None = None,
        tenant: str = "",
        timeout: float = 10.0,
    ) -> list[int]:
        """Add entries to the end of a stream; returns their places.

        All of them or none. ``expected`` is the number of entries that the stream is to have, as
        whoever decided on them has read it. One whose kind and key the stream has already is not
        added again; its place is told.

        Raises:
            StreamConflictError: somebody was quicker; ``details["length"]`` tells the number.
            InvalidPayloadError: the name is none, or one of the service's own.
        """
        told = [event.compact() for event in events]
        StreamEvent.several(told)
        wanted = (
            None if expected is None else whole_of(expected, "expected", least=0, most=PLACES_MAX)
        )
        about: tuple[Any, ...] = (stream_of(stream), told, wanted, tenant_of(tenant))
        places: list[int] = self._control.ask(names.APPEND, *about, recorded=True).get(timeout)
        return places

    def read(
        self, stream: str, *, after: int = -1, tenant: str = "", timeout: float = 10.0
    ) -> Iterator[StreamEntry]:
        """Entries of a stream in their places, those after one, read page by page.

        ``timeout`` is for each page.
        """
        place = whole_of(after, "after", least=-1, most=PLACES_MAX)
        while True:
            about = (name_of(stream, "stream"), place, tenant_of(tenant))
            page = self._page(names.READ, about, timeout)["entries"]
            yield from page
            if not page:
                return
            place = page[-1].seq

    def follow(
        self, cursor: str, *, of: str = "", tenant: str = "", timeout: float = 10.0
    ) -> Iterator[StreamEntry]:
        """Entries that a cursor has not come past, of all streams whose names begin with ``of``.

        In the order in which they were written, over all streams; it ends where there is no more
        now. A page is done when the next one is asked for: who stops amid one gets it again, so
        each entry comes at least once, whatever dies. ``timeout`` is for each page.
        """
        done: str | None = None
        while True:
            found, done = self.page(cursor, of=of, done=done, tenant=tenant, timeout=timeout)
            yield from found
            if not found:
                return

    def page(
        self,
        cursor: str,
        *,
        of: str = "",
        done: str | None = None,
        tenant: str = "",
        timeout: float = 10.0,
    ) -> tuple[list[StreamEntry], str]:
        """One page behind a cursor, as :meth:`follow` gives them, and what says that it is done.

        ``done`` is that of the page before.
        """
        about = (name_of(cursor, "cursor"), prefix_of(of), done, tenant_of(tenant))
        told = self._page(names.FOLLOW, about, timeout)
        return told["entries"], told["position"]

    def delete(self, stream: str, *, tenant: str = "", timeout: float = 10.0) -> int:
        """Delete a stream with all its entries; returns how many there were."""
        about = (stream_of(stream), tenant_of(tenant))
        return int(self._control.ask(names.DELETE_STREAM, *about).get(timeout=timeout))

    def forget(self, cursor: str, *, tenant: str = "", timeout: float = 10.0) -> bool:
        """Delete a cursor, which begins anew then; False when there was none."""
        about = (name_of(cursor, "cursor"), tenant_of(tenant))
        return bool(self._control.ask(names.FORGET_CURSOR, *about).get(timeout=timeout))

    def _page(self, task: str, about: tuple[Any, ...], timeout: float) -> dict[str, Any]:
        asked = self._control.ask(task, *about)
        page: dict[str, Any] = asked.get(timeout=timeout)
        asked.forget()
        return page | {"entries": [StreamEntry.model_validate(e) for e in page["entries"]]}
