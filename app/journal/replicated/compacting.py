"""Compaction of replicated values: what many changes have made becomes one entry, their merge.

It has the place of the last one in its stream, so those that follow stand as they did. In the order
of all it is new, so a journal that reads on misses nothing, wherever it stands; one that has seen
the changes finds that it changes nothing, and does not keep it. The other way round, changes may
come back that are no entries here any more: the value knows them by its version.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from functools import partial
from itertools import takewhile
from typing import NamedTuple

from sqlalchemy import Connection, Engine, func, select

from agents.replicated.values import Replicated, merge_all
from app.journal.schema.engine import now, read_clock, reading
from app.journal.schema.models import Entry, table
from app.journal.schema.rows import NewEntry
from app.journal.schema.sealed import opened_entry, sealed_by
from app.journal.schema.transactions import in_transaction
from app.journal.steps.entries import forget, hold, put
from celery_agents.contracts.flows.entries import REPLICATED

_E = table(Entry).c
#: The kind of an entry that stands for all changes before it; in its key, behind the journal.
WHOLE, MARK = "whole", "~"
#: Entries that one transaction puts together.
AT_ONCE = 1_000


class Compacted(NamedTuple):
    """Values that were compacted, and entries that went."""

    values: int
    entries: int


def compact(engine: Engine, tenant: str, replica: str, keep_s: float) -> Compacted:
    """Put together the changes of a tenant's values that are older."""
    old = partial(_with_old, tenant=tenant, keep_s=keep_s)
    values = entries = 0
    for stream in in_transaction(reading(engine), old):
        put_together = partial(_put_together, where=(tenant, stream), by=(replica, keep_s))
        gone = [*iter(partial(in_transaction, engine, put_together), 0)]
        values, entries = values + bool(gone), entries + sum(gone)
    return Compacted(values, entries)


def compacted(connection: Connection, tenant: str, streams: Collection[str]) -> set[str]:
    """Return those of some values that have changes without their entries."""
    query = select(_E.stream).where(
        _E.tenant == tenant, _E.stream.in_(streams), _E.kind == WHOLE, _E.key.is_not(None)
    )
    return {*connection.execute(query).scalars()}


def _with_old(connection: Connection, tenant: str, keep_s: float) -> Sequence[str]:
    own = func.substr(_E.stream, 1, len(REPLICATED)) == REPLICATED
    query = (
        select(_E.stream)
        .where(_E.tenant == tenant, own, _E.at < now() - keep_s)
        .group_by(_E.stream)
        .having(func.count() > 1)
        .order_by(_E.stream)
    )
    return connection.execute(query).scalars().all()


def _put_together(connection: Connection, where: tuple[str, str], by: tuple[str, float]) -> int:
    """Put the first entries of a value together; how many there are fewer."""
    (tenant, stream), (replica, keep_s) = where, by
    hold(connection, {where})
    before = read_clock(connection) - keep_s
    query = select(_E.seq, _E.data, _E.at).where(_E.tenant == tenant, _E.stream == stream)
    rows = connection.execute(query.order_by(_E.seq).limit(AT_ONCE)).all()
    old = [*takewhile(lambda row: row.at < before, rows)]
    if len(old) < 2:  # noqa: PLR2004 - one is as few as there can be
        return 0
    seals, data_type = sealed_by(connection), stream.split("/")[1]
    told = [opened_entry(seals, where, row.seq, row.data) for row in old]
    whole = merge_all([Replicated.from_delta(data_type, one) for one in told])
    forget(connection, tenant, stream, old[-1].seq + 1)
    key = f"{replica}/{MARK}{uuid.uuid4()}"
    put(connection, NewEntry(tenant, stream, WHOLE, whole.as_whole(), key), old[-1].seq, old[-1].at)
    return len(old) - 1
