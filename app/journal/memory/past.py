"""Recalling what held at a moment, weighed among what held then.

Terms, vectors and links are kept of what holds now alone, so the texts themselves are read: of as
many memories as a space may have had then. What was erased is not among them, and what is over goes
some time after its end (``MEMORIES_S`` of app/journal/retention/cleanup.py).
"""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, or_, select

from agents.memory.ranking import SpaceNumbers, cut, ranked, score
from agents.memory.terms import terms_of
from app.journal.memory import spaces
from app.journal.memory.keeping import LIVE, OVER
from app.journal.memory.records import RANKED_MAX, record_of
from app.journal.memory.weighing import TERMS_MAX, MemoryQuestion
from app.journal.schema.models import MemoryRow, table
from app.journal.schema.sealed import opened_memory, sealed_by
from celery_agents.contracts.memory import MemoryRecord
from celery_agents.errors import InvalidPayloadError

_M = table(MemoryRow).c
#: Memories that a space may have had then: all of their texts are read.
PAST_MAX = 10_000


def recall_past(connection: Connection, asked: MemoryQuestion, at: float) -> list[MemoryRecord]:
    """Recall what fitted best at a moment, in seconds since 1970, within a budget of tokens.

    Raises:
        InvalidPayloadError: the space had too many memories then.
        UnreadableValueError: a text is encrypted with a key that is missing.
    """
    space = spaces.found(connection, asked.tenant, asked.space)
    if space is None:
        return []
    about = {"b_space": space.id, "b_at": at, "b_trust": asked.trust}
    rows = connection.execute(_HELD, about).all()
    if len(rows) > PAST_MAX:
        raise InvalidPayloadError(
            f"at: the space had more than {PAST_MAX:,} memories then, which is too many to read "
            "for one question. An export has the times of each."
        )
    seals = sealed_by(connection)
    held = {row.place: record_of(row, opened_memory(seals, row.data, row.id)) for row in rows}
    terms = {place: terms_of(memory.text, space.language) for place, memory in held.items()}
    numbers = SpaceNumbers(len(held), sum(sum(of.values()) for of in terms.values()))
    weights = {
        term: numbers.weight(sum(term in of for of in terms.values()))
        for term in [*terms_of(asked.question, space.language)][:TERMS_MAX]
    }
    scores = {p: points for p, of in terms.items() if (points := score(of, weights, numbers))}
    turns = {place: (m.thread, m.turn) for place, m in held.items() if m.thread}
    best = (
        held[spot.place].model_copy(update={"score": spot.points})
        for spot in ranked(scores, turns, RANKED_MAX)
        if spot.place is not None
    )
    return cut(best, lambda memory: memory.tokens, asked.budget_tokens)


_HELD = (
    select(table(MemoryRow))
    .where(
        _M.space_id == bindparam("b_space"),
        _M.state.in_([LIVE, OVER]),
        _M.at <= bindparam("b_at"),
        or_(_M.until.is_(None), _M.until > bindparam("b_at")),
        _M.trust >= bindparam("b_trust"),
    )
    .order_by(_M.place)
    .limit(PAST_MAX + 1)
)
