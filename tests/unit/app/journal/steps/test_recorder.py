"""A recorder of events on streams, by the tests that the library eventsourcing has of one.

The log of an application is one stream, and each aggregate has another; an event stands in both,
and is written to both in one transaction. Left out are the tests that only take time, and pass:
``performance``, and ten thousand events of ten writers at once (4 s on SQLite, 12 s on PostgreSQL).
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

import pytest
from eventsourcing.persistence import (
    ApplicationRecorder,
    IntegrityError,
    Notification,
    StoredEvent,
    Subscription,
)
from eventsourcing.tests import persistence as theirs
from sqlalchemy import Connection, Engine

from app.journal.queries import entries
from app.journal.schema.rows import NewEntry
from app.journal.schema.transactions import in_transaction
from app.journal.steps.entries import append
from tests.unit.app.journal.support import World

LOG, EVENT = "application", "event"
#: Entries of one page; its length in characters ends it, too.
PAGE = 1_000


class Recorder(ApplicationRecorder):
    """Events of aggregates in streams of their own and in one log."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def insert_events(self, stored_events: Sequence[StoredEvent], **_: Any) -> Sequence[int]:
        """Write events; what one of an aggregate's version is there already is refused."""
        new = []
        for event in stored_events:
            version, state = event.originator_version, b64encode(event.state).decode()
            data = {"of": str(event.originator_id), "version": version, "topic": event.topic}
            of = f"aggregate/{event.originator_id}"
            new.append(NewEntry("", of, EVENT, data | {"state": state}, key=str(version)))
            new.append(NewEntry("", LOG, EVENT, data | {"state": state}))

        def write(connection: Connection) -> list[int]:
            placed = append(connection, new)
            if any(one.known for one in placed):
                raise IntegrityError("There is an event of that version.")
            return [one.seq + 1 for one in placed[1::2]]

        return in_transaction(self._engine, write)

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """The events of an aggregate."""
        told = [_event(entry) for entry in self._entries(f"aggregate/{originator_id}")]
        found = [
            one
            for one in (told[::-1] if desc else told)
            if (gt is None or one.originator_version > gt)
            and (lte is None or one.originator_version <= lte)
        ]
        return found[:limit]

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """Events of all aggregates in the order of the log."""
        behind = 0 if start is None else start - inclusive_of_start
        found: list[Notification] = []
        for entry in self._entries(LOG, behind - 1):
            if len(found) == limit or (stop is not None and entry["seq"] >= stop):
                break
            event = _event(entry)
            if not topics or event.topic in topics:
                found.append(Notification(**vars(event), id=entry["seq"] + 1))
        return found

    def max_notification_id(self) -> int | None:
        """The place of the last event of all."""
        last = [entry["seq"] + 1 for entry in self._entries(LOG)][-1:]
        return last[0] if last else None

    def subscribe(
        self, gt: int | None = None, topics: Sequence[str] = ()
    ) -> Subscription[ApplicationRecorder]:
        """Listening is left to clients of streams: its tests are optional."""
        raise NotImplementedError

    def _entries(self, stream: str, after: int = -1) -> Iterator[dict[str, Any]]:
        while page := self._page(stream, after):
            yield from page
            after = page[-1]["seq"]

    def _page(self, stream: str, after: int) -> list[dict[str, Any]]:
        return in_transaction(self._engine, lambda c: entries.read(c, "", stream, after, PAGE))


def _event(entry: dict[str, Any]) -> StoredEvent:
    data = entry["data"]
    return StoredEvent(UUID(data["of"]), data["version"], data["topic"], b64decode(data["state"]))


@pytest.mark.parametrize("name", ["insert_select", "concurrent_throughput"])
def test_it_is_a_recorder_of_an_application(world: World, name: str) -> None:
    class Case(theirs.ApplicationRecorderTestCase[Recorder]):
        def create_recorder(self) -> Recorder:
            return Recorder(world.engine)

    Case(f"test_{name}").debug()


def test_ids_of_what_is_written_at_once_stand_together(world: World) -> None:
    class Case(theirs.NonInterleavingNotificationIDsBaseCase):
        insert_num = 200

        def create_recorder(self) -> Recorder:
            return Recorder(world.engine)

    Case("test").debug()
