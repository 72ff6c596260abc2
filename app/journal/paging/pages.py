"""Pages of inputs: entries of a stream of their run's, each once, and gone with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from app.journal.paging.unclaimed import BEGUN
from app.journal.queries import entries
from app.journal.schema.models import Join, Step, table
from app.journal.schema.rows import NewEntry
from app.journal.stores.streams import StreamStore
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.flows.entries import INPUTS
from celery_agents.contracts.outcome import State
from celery_agents.errors import InvalidPayloadError

_PAGE, _NOTED = "page", "begun"
_S = table(Step).c
_J = table(Join).c


@dataclass(frozen=True, slots=True)
class ExpandedPages:
    """How far the pages of a step are expanded, and whether its join has fired."""

    start: int = 0
    stopped: bool = False


def stream_of_inputs(run_id: str) -> str:
    """The stream that has the inputs of a run."""
    return f"{INPUTS}{run_id}"


def new_page(
    tenant: str, run_id: str, number: int, inputs: list[JsonValue], digest: str
) -> NewEntry:
    """The entry of a page."""
    data: dict[str, Any] = {"inputs": inputs, "digest": digest}
    return NewEntry(tenant, stream_of_inputs(run_id), _PAGE, data, str(number), run_id)


def noted(run_id: str) -> NewEntry:
    """The note that pages of a run have begun."""
    return NewEntry("", BEGUN, _NOTED, {}, run_id)


def add(streams: StreamStore, page: NewEntry, number: int) -> str:
    """Add a page in its place, if it is not there; return the digest of the one that is there.

    Raises:
        StreamConflictError: pages before it are missing.
    """
    if number == 0:
        note = noted(page.run_id or "")
        streams.append(note.tenant, note.stream, [note])
    streams.append(page.tenant, page.stream, [page], number)
    (found,) = streams.read(page.tenant, page.stream, number - 1, 1)
    return str(found["data"]["digest"])


def inputs_of(connection: Connection, tenant: str, run_id: str, number: int) -> list[JsonValue]:
    """The inputs of a page.

    Raises:
        InvalidPayloadError: they are not there (any more).
        UnreadableValueError: they cannot be decrypted.
    """
    rows = entries.read(connection, tenant, stream_of_inputs(run_id), number - 1, 1)
    if not rows or rows[0]["seq"] != number:
        raise InvalidPayloadError(f"Inputs of {run_id} are not in the journal (any more).")
    found: list[JsonValue] = rows[0]["data"]["inputs"]
    return found


def placed(connection: Connection, step_id: str) -> ExpandedPages:
    """Read how far a step is."""
    last = select(func.max(_S.position) + 1).where(_S.parent_id == step_id).scalar_subquery()
    fired = select(_J.state).where(_J.step_id == step_id).scalar_subquery()
    start, state = connection.execute(select(last, fired)).one()
    return ExpandedPages(start or 0, state == "fired")


def answered_before(connection: Connection, step_id: str, place: int) -> int:
    """Count a step's members before a place that succeeded."""
    ok = (_S.parent_id == step_id) & (_S.state == State.SUCCEEDED) & (_S.position < place)
    return int(connection.execute(select(func.count()).where(ok)).scalar_one())
