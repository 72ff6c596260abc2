"""Small facts that all workers share, such as what fallbacks and estimates have learned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Engine

from app.journal.queries import scores
from app.journal.schema.engine import reading
from app.journal.schema.transactions import in_transaction
from app.journal.tables import memos

Data = dict[str, Any]


class Memos:
    """The memos, each an object under a key."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def read(self, key: str) -> dict[str, Any]:
        """The memo under a key; an empty object where there is none."""
        return in_transaction(reading(self._engine), lambda c: memos.read(c, key))

    def change(
        self, key: str, revise: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> dict[str, Any]:
        """Replace the memo under a key; return the new one."""
        return in_transaction(self._engine, lambda c: memos.change(c, key, revise))

    def hold(self, key: str, by: str, lasts_s: float) -> bool:
        """Take a turn for so many seconds, unless another has it; return whether it was taken."""
        return in_transaction(self._engine, lambda c: memos.hold(c, key, by, lasts_s))

    def release(self, key: str, by: str) -> None:
        """Give a turn away, if it is still one's own."""
        in_transaction(self._engine, lambda c: memos.release(c, key, by))

    def beginning(self, prefixes: Sequence[str]) -> list[tuple[str, Data, float]]:
        """Memos whose keys begin with one of these, with when they changed, the last one first."""
        return in_transaction(reading(self._engine), lambda c: memos.found(c, prefixes))

    def solved(self, run_id: str) -> Data | None:
        """The payload of a run of ``agents.solve`` that has succeeded; else None."""
        return in_transaction(reading(self._engine), lambda c: scores.solved(c, run_id))

    def score(
        self,
        key: str,
        run_id: str,
        said: tuple[str, float],
        revise: Callable[[Data, float | None], Data],
    ) -> None:
        """Note what a run's answer was worth, and revise the memo, told what was said before.

        In one transaction under the memo's lock: the last one counts. ``said`` is the id of the
        message that said it, with the score: one that comes again, maybe behind another, is none.
        """

        def told(found: Data, was: Data | None) -> tuple[Data, Data]:
            return revise(found, None if was is None else was["score"]), {"score": said[1]}

        in_transaction(self._engine, _said(key, run_id, (scores.SCORED, said[0]), told))

    def voted(self, run_id: str) -> tuple[Data, Any, str] | None:
        """The payload, decision and tenant of a run of ``agents.vote`` that has decided."""
        return in_transaction(reading(self._engine), lambda c: scores.voted(c, run_id))

    def judge(
        self,
        key: str,
        run_id: str,
        said: str,
        revise: Callable[[Data, Data | None], tuple[Data, Data]],
    ) -> None:
        """Note a verdict on a run, and revise the memo, told the one before; as :meth:`score`."""
        in_transaction(self._engine, _said(key, run_id, (scores.JUDGED, said), revise))


def _said(
    key: str,
    run_id: str,
    of: tuple[str, str],
    revise: Callable[[Data, Data | None], tuple[Data, Data]],
) -> Callable[[Connection], None]:
    """Work that notes what a message says of a run, unless it was said, and revises the memo."""
    kind, message_id = of

    def act(connection: Connection) -> None:
        def told(found: Data) -> Data:
            before = scores.said(connection, run_id, kind)
            if any(one.get("message") == message_id for one in before):
                return found
            new, data = revise(found, before[-1] if before else None)
            scores.add(connection, run_id, kind, {**data, "message": message_id})
            return new

        memos.change(connection, key, told)

    return act
