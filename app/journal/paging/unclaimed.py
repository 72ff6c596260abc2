"""Pages of inputs whose run has never come: their client died before it had sent all.

That pages have begun is noted in one stream of the service's, where cleaning looks.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, exists, select

from app.journal.schema.engine import now
from app.journal.schema.models import Entry, Run
from celery_agents.contracts.flows.entries import INPUTS

#: What notes that pages have begun; no run has an id with a line's end.
BEGUN = f"{INPUTS}\n"
#: Seconds after which pages go that no run has come for.
UNCLAIMED_S = 7 * 86_400.0


def unclaimed() -> list[ColumnElement[bool]]:
    """Entries of pages whose run has never come, and the notes of old ones."""
    old = (Entry.tenant == "") & (Entry.stream == BEGUN) & (Entry.at < now() - UNCLAIMED_S)
    begun = select(Entry.key).where(old, ~exists().where(Run.id == Entry.key))
    lost = Entry.run_id.in_(begun) & Entry.stream.startswith(INPUTS)
    return [lost, old]
