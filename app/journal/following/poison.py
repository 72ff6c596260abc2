"""Entries that cannot be served: tried again, later and later, then a dead letter and on."""

from __future__ import annotations

import base64
import json
from typing import Any, NamedTuple

from sqlalchemy import Connection

from app.journal.following.subscribed import SubscriptionKey
from app.journal.queries.entries import Position
from app.journal.schema.rows import entry_run_id
from app.journal.schema.sealed import sealed_by
from app.journal.steps.dead_letters import insert_letters
from celery_agents.contracts.flows.subscriptions import GAP, SubscriptionRule
from celery_agents.errors import redact
from celery_agents.wire.shown import HIDDEN

#: The cause of a letter that is an entry; that of entries which were trimmed too early is ``gap``.
ENTRY = "entry"
#: Seconds until an entry that has failed is tried again, at the most.
RETRY_MAX_S = 60.0
#: Characters of an entry that people are shown.
_SHOWN = 2_000


class PageEnd(NamedTuple):
    """How a page of entries was served: so many of them, up to the one that failed."""

    rows: list[Any]
    last: Position
    done: int
    why: str | None
    #: Trying it again makes it no better: it is passed over at once, and nothing stops for it.
    final: bool = False


def after_page(
    connection: Connection, row: Any, page: PageEnd, *, at: float, letters_max: int
) -> dict[str, Any]:
    """The columns of a cursor that is moved on; people are told of poison, and of a gap."""
    values: dict[str, Any] = {"failures": 0, "error": None, "look_at": at}
    last = page.last
    if page.why is not None:
        upto = page.rows[page.done - 1] if page.done else row
        if not page.done:
            about = (row, page.rows[0], redact(page.why))
            how: Any = {"at": at, "letters_max": letters_max, "final": page.final}
            values = _after_failure(connection, *about, **how)
            upto = page.rows[0] if "passed" in values else row
        last = Position(upto.xid, upto.pos)
    if row.missed:
        _tell_gap(connection, row, at, letters_max)
        values |= {"missed": 0, "lost": row.lost + row.missed}
    return values | {"xid": last.xid, "pos": last.pos, "served": row.served + page.done}


def _after_failure(
    connection: Connection,
    row: Any,
    entry: Any,
    told: str,
    *,
    at: float,
    letters_max: int,
    final: bool,
) -> dict[str, Any]:
    """The columns of a cursor whose next entry has failed; with ``passed`` it is passed over."""
    rule, failures = SubscriptionRule.read(row.rule), row.failures + 1
    if failures < rule.failures_max and not final:
        wait_s = min(0.5 * 2.0 ** min(failures, 10), RETRY_MAX_S)
        return {"failures": failures, "error": told, "look_at": at + wait_s}
    shown = HIDDEN if sealed_by(connection) else redact(json.dumps(entry.data), limit=_SHOWN)
    about = {"cause": ENTRY, "reason": told, "payload": shown}
    letter = _letter(row, entry.pos, entry.at) | about
    insert_letters(connection, [letter], letters_max)
    if rule.poison == "stop" and not final:
        return {"failures": failures, "error": told, "look_at": None}
    return {"failures": 0, "error": None, "look_at": at, "passed": row.passed + 1}


def _tell_gap(connection: Connection, row: Any, at: float, letters_max: int) -> None:
    """Tell people that entries were trimmed before they were served."""
    reason = (
        f"{row.missed:,} entries of {row.of} were trimmed before the subscription {row.name} came "
        "to them. Keep them for longer, or see why it is behind."
    )
    about = {"cause": GAP, "reason": reason, "payload": ""}
    insert_letters(connection, [_letter(row, -row.lost - row.missed, at) | about], letters_max)


def _letter(row: Any, pos: int, at: float) -> dict[str, Any]:
    key = SubscriptionKey(row.tenant, row.name)
    raw = json.dumps({"subscription": [*key], "pos": pos}).encode()
    target = row.target if row.serves == "runs" else {"task": f"projection {row.name}"}
    return {
        "id": entry_run_id(*key, pos, at),
        "queue": str(target.get("queue") or "")[:200],
        "task": str(target.get("task"))[:200],
        "step_id": None,
        "raw": base64.b64encode(raw).decode(),
        "size": len(raw),
        "at": at,
    }
