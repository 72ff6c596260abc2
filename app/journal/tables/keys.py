"""Keys of the API, by their ids; of the secret there is a hash."""

from __future__ import annotations

from math import inf
from typing import Any

from sqlalchemy import Connection, case, insert, select, update

from app.journal.schema.engine import now, read_clock
from app.journal.schema.models import ApiKey, table

_K = table(ApiKey).c
#: What is listed of a key.
_SHOWN = (
    *(_K.id, _K.name, _K.tenant, _K.role, _K.grants, _K.created_at, _K.created_by),
    *(_K.expires_at, _K.revoked_at, _K.used_at),
)


def add(
    connection: Connection,
    row: dict[str, Any],
    lasts_s: float | None,
    ends_by: float | None = None,
) -> None:
    """Write down a new key, which ends after so many seconds, at a time at the latest.

    That is no span: keys that make keys would each win the time that it takes.
    """
    at = read_clock(connection)
    ends = min(inf if lasts_s is None else at + lasts_s, inf if ends_by is None else ends_by)
    times = {"created_at": at, "expires_at": None if ends == inf else ends}
    connection.execute(insert(table(ApiKey)), {**row, **times})


def find(connection: Connection, key_id: str) -> dict[str, Any] | None:
    """The key of that id with its hash, where it holds; ``left_s``: for how long."""
    left = (_K.expires_at - now()).label("left_s")
    query = select(*_SHOWN, _K.hash, left).where(_K.id == key_id, _K.revoked_at.is_(None))
    row = connection.execute(query).first()
    if row is None or (row.left_s is not None and row.left_s <= 0):
        return None
    return dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name


def kept(connection: Connection, key_id: str) -> dict[str, Any] | None:
    """The key of that id, also where it holds no longer."""
    row = connection.execute(select(*_SHOWN).where(_K.id == key_id)).first()
    return None if row is None else dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name


def listed(connection: Connection, tenant: str | None) -> list[dict[str, Any]]:
    """Keys of a tenant, or of all, the newest first."""
    query = select(*_SHOWN) if tenant is None else select(*_SHOWN).where(_K.tenant == tenant)
    rows = connection.execute(query.order_by(_K.created_at.desc(), _K.id))
    return [dict(row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public name


def revoke(
    connection: Connection, key_id: str, tenant: str | None, after_s: float = 0.0
) -> dict[str, Any] | None:
    """End a key, now or after so many seconds; None when there is none of that id that holds.

    One that ends before that stays as it is.
    """
    whose = [] if tenant is None else [_K.tenant == tenant]
    after = now() + after_s
    ends = case((_K.expires_at < after, _K.expires_at), else_=after)
    ended = {"expires_at": ends} if after_s else {"revoked_at": now()}
    row = connection.execute(
        update(table(ApiKey))
        .where(_K.id == key_id, _K.revoked_at.is_(None), *whose)
        .values(**ended)
        .returning(*_SHOWN)
    ).first()
    return None if row is None else dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name


def used(connection: Connection, key_ids: list[str]) -> None:
    """Note that keys were just used."""
    query = update(table(ApiKey)).where(_K.id.in_(sorted(key_ids))).values(used_at=now())
    connection.execute(query)
