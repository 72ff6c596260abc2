"""Short tasks about streams, for clients that do not see the journal."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from app.execution.runtime import runtime_of
from app.journal.queries.entries import Position
from app.journal.schema.rows import NewEntry
from app.journal.stores.streams import StreamStore
from app.maintenance.acts import recorded
from celery_agents import names
from celery_agents.contracts.base import PLACES_MAX, name_of, tenant_of, whole_of
from celery_agents.contracts.flows.entries import (
    StreamEvent,
    prefix_of,
    stream_of,
)
from celery_agents.errors import InvalidPayloadError

#: Entries of a page at the most; a million characters end it sooner.
PAGE_ROWS = 500


@shared_task(name=names.APPEND, bind=True, acks_late=True)
def append(
    self: Any, stream: str, events: list[Any], expected: int | None = None, tenant: str = ""
) -> list[int]:
    """Add entries to a stream; return their places. Its message may come twice: it is done once."""
    where, read = (tenant_of(tenant), stream_of(stream)), StreamEvent.several(events)
    wanted = None if expected is None else whole_of(expected, "expected", least=0, most=PLACES_MAX)
    runtime = runtime_of(self.app, self.request.hostname)
    own = f"@{self.request.id}/"
    new = [NewEntry(*where, e.kind, e.data, e.key or f"{own}{n}") for n, e in enumerate(read)]
    placed = runtime.journal.streams.append(*where, new, wanted)
    runtime.intake.forget([self.request.id])
    return [one.seq for one in placed]


@shared_task(name=names.READ, bind=True)
def read(self: Any, stream: str, after: int = -1, tenant: str = "") -> dict[str, Any]:
    """A page of a stream, behind a place."""
    place = whole_of(after, "after", least=-1, most=PLACES_MAX)
    where = (tenant_of(tenant), name_of(stream, "stream"))
    return {"entries": _streams_of(self).read(*where, place, PAGE_ROWS)}


@shared_task(name=names.FOLLOW, bind=True)
def follow(
    self: Any, cursor: str, of: str = "", done: str | None = None, tenant: str = ""
) -> dict[str, Any]:
    """The page behind a cursor, which is moved on first to what is done; and its end's position."""
    upto, told = (None, 0) if done is None else _done(done)
    about = (tenant_of(tenant), name_of(cursor, "cursor"), prefix_of(of), PAGE_ROWS)
    found, last = _streams_of(self).follow(*about, upto, told=told)
    missed = found[0]["data"]["missed"] if found and found[0]["seq"] < 0 else 0
    return {"entries": found, "position": f"{last.text}.{missed}"}


def _done(told: Any) -> tuple[Position, int]:
    """The position of a page that is done, and how many trimmed entries it has told of."""
    try:
        position, _, missed = told.rpartition(".")
        return Position.of(position), int(missed)
    except (AttributeError, ValueError) as error:
        raise InvalidPayloadError("done: it is the position of a page.") from error


@shared_task(name=names.DELETE_STREAM, bind=True, acks_late=True)
def delete_stream(self: Any, stream: str, tenant: str = "") -> int:
    """Delete a stream; return how many entries it had."""
    whose, where = tenant_of(tenant), stream_of(stream)
    return recorded(self, "stream.delete", where, whose).journal.streams.delete(whose, where)


@shared_task(name=names.FORGET_CURSOR, bind=True, acks_late=True)
def forget_cursor(self: Any, cursor: str, tenant: str = "") -> bool:
    """Delete a cursor; return whether there was one."""
    whose, name = tenant_of(tenant), name_of(cursor, "cursor")
    return recorded(self, "cursor.delete", name, whose).journal.streams.forget(whose, name)


def _streams_of(task: Any) -> StreamStore:
    return runtime_of(task.app, task.request.hostname).journal.streams
