"""Topics of one process: for tests, and for programs that need no more."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator

from celery_agents.client.bus.listening import Messages
from celery_agents.contracts.flows.entries import StreamEntry, StreamEvent

#: Entries of a page, as workers give them.
_PAGE = 500


class LocalTopics(Messages):
    """Topics in the memory of this process: as those of a client, and gone with it."""

    def __init__(self) -> None:
        self._streams: dict[tuple[str, str], list[StreamEntry]] = defaultdict(list)
        self._cursors: dict[tuple[str, str], int] = {}
        self._changed = threading.Condition()

    def _append(self, stream: str, told: list[StreamEvent], tenant: str) -> list[int]:
        with self._changed:
            kept, places = self._streams[tenant, stream], list[int]()
            known: dict[tuple[str, str | None], int]
            known = {(entry.kind, entry.key): entry.seq for entry in kept if entry.key}
            for event in told:
                place = known.get((event.kind, event.key), len(kept))
                places.append(place)
                if place == len(kept):
                    about = {"stream": stream, "seq": place, "at": time.time()}
                    kept.append(StreamEntry(**about, **event.model_dump()))
            self._changed.notify_all()
        return places

    def _read(self, stream: str, after: int, tenant: str) -> Iterator[StreamEntry]:
        yield from self._streams[tenant, stream][after + 1 :]

    def _page(
        self, cursor: str, stream: str, done: str | None, tenant: str
    ) -> tuple[list[StreamEntry], str | None]:
        with self._changed:
            if done is not None:
                self._cursors[tenant, cursor] = int(done)
            begin = self._cursors.get((tenant, cursor), 0)
            found = self._streams[tenant, stream][begin : begin + _PAGE]
        return found, str(begin + len(found))

    def _wait(self, stream: str, seconds: float, tenant: str) -> None:  # noqa: ARG002 - the base's
        with self._changed:
            self._changed.wait(seconds)
