"""Small shared memory: read, changed and written under a lock, so that no change is lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, or_, select, update

from app.journal.schema.engine import now, read_clock
from app.journal.schema.models import Memo
from app.journal.schema.upsert import insert_new

#: Memos of one list: some kilobytes each.
_MOST = 1_000


def read(connection: Connection, key: str) -> dict[str, Any]:
    """Read the value under ``key``; an empty object where there is none."""
    return connection.execute(select(Memo.data).where(Memo.key == key)).scalar() or {}


def found(
    connection: Connection, prefixes: Sequence[str]
) -> list[tuple[str, dict[str, Any], float]]:
    """Read those whose keys begin with one of these, with when they changed, the last first."""
    begins = or_(*(Memo.key.startswith(one, autoescape=True) for one in prefixes))
    query = select(Memo.key, Memo.data, Memo.changed_at).where(begins)
    newest = query.order_by(Memo.changed_at.desc(), Memo.key).limit(_MOST)
    return [(row.key, row.data, row.changed_at) for row in connection.execute(newest)]


def change(
    connection: Connection, key: str, revise: Callable[[dict[str, Any]], dict[str, Any]]
) -> dict[str, Any]:
    """Replace what stands under ``key`` (an empty object at first) and return the new value."""
    connection.execute(insert_new(connection, Memo).values(key=key, data={}, changed_at=now()))
    found = connection.execute(
        select(Memo.data).where(Memo.key == key).with_for_update()
    ).scalar_one()
    data = revise(found)
    connection.execute(update(Memo).where(Memo.key == key).values(data=data, changed_at=now()))
    return data


def hold(connection: Connection, key: str, by: str, lasts_s: float) -> bool:
    """Take a turn for so many seconds, unless another has it; return whether it was taken."""
    clock = read_clock(connection)

    def take(found: dict[str, Any]) -> dict[str, Any]:
        return found if found.get("until", 0.0) > clock else {"by": by, "until": clock + lasts_s}

    return bool(change(connection, key, take)["by"] == by)


def release(connection: Connection, key: str, by: str) -> None:
    """Give a turn away, if it is still one's own."""
    change(connection, key, lambda found: {} if found.get("by") == by else found)
