"""Runs as a list, for those who may see them: a page at a time, without what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from app.journal.schema.models import Run, Step, table
from app.journal.schema.sealed import sealed_by
from celery_agents.contracts.outcome import State
from celery_agents.sealing import opened_payload

_R = table(Run).c
_S = table(Step).c
#: States of which there is a small index: the others are not counted.
LIVE = {
    "ready": (_S.state == State.READY),
    "running": (_S.state == State.RUNNING),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsWanted:
    """The runs that are wanted; None where it does not matter."""

    tenant: str | None = None
    state: str | None = None
    agent: str | None = None
    since: float | None = None
    #: The creation and the id of the last run of the page before.
    before: tuple[float, str] | None = None
    limit: int = 50

    def conditions(self) -> list[ColumnElement[bool]]:
        """They in SQL."""
        found: list[ColumnElement[bool]] = []
        if self.tenant is not None:
            found.append(_R.tenant == self.tenant)
        if self.state is not None:
            found.append(_S.state == self.state)
        if self.agent is not None:
            found.append(_S.agent == self.agent)
        if self.since is not None:
            found.append(_R.created_at >= self.since)
        if self.before is not None:
            at, run_id = self.before
            found.append(or_(_R.created_at < at, and_(_R.created_at == at, _R.id < run_id)))
        return found


def listed(connection: Connection, wanted: RunsWanted) -> list[dict[str, Any]]:
    """Runs, the newest first."""
    rows = connection.execute(
        select(
            *(_R.id, _R.task, _S.agent, _S.state, _R.created_at, _R.finished_at, _R.usage),
            _R.tenant,
        )
        .select_from(table(Run).join(table(Step), _S.id == _R.id))
        .where(*wanted.conditions())
        .order_by(_R.created_at.desc(), _R.id.desc())
        .limit(wanted.limit)
    )
    return [dict(row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public name


def asked(connection: Connection, ids: Sequence[str]) -> dict[str, tuple[str, dict[str, Any]]]:
    """The task and the payload of those of these steps that have a row."""
    rows = connection.execute(select(_S.id, _S.task, _S.payload).where(_S.id.in_(ids)))
    seals = sealed_by(connection)
    return {row.id: (row.task, opened_payload(seals, row.payload, row.id)) for row in rows}


def owner(connection: Connection, step_id: str) -> str | None:
    """The tenant of a step; None when it has no row."""
    found: str | None = connection.execute(select(_S.tenant).where(_S.id == step_id)).scalar()
    return found


def live(connection: Connection, tenant: str | None) -> dict[str, int]:
    """How many steps are ready and running, of a tenant or of all."""
    whose = [] if tenant is None else [_S.tenant == tenant]
    counted = {
        state: select(func.count()).select_from(table(Step)).where(which, *whose)
        for state, which in LIVE.items()
    }
    return {state: connection.execute(query).scalar_one() for state, query in counted.items()}
