"""Triggers in the journal's own database: they see each end and each firing, whoever writes it."""

from __future__ import annotations

from collections import Counter

from sqlalchemy import Connection, Engine, text

from app.journal.schema.transactions import in_transaction
from celery_agents import State

_FINAL = ", ".join(f"'{s}'" for s in State if s.final)
_TABLE = "CREATE TABLE seen (kind VARCHAR(12), step_id VARCHAR(155), what VARCHAR(20))"
#: Kind of event → table, condition, what is noted.
_EVENTS = {
    "ended": ("steps", f"NEW.state IN ({_FINAL})", "NEW.id", "NEW.state"),
    "reopened": (
        "steps",
        f"OLD.state IN ({_FINAL}) AND NEW.state NOT IN ({_FINAL})",
        "NEW.id",
        "NEW.state",
    ),
    "fired": (
        "joins",
        "OLD.state = 'open' AND NEW.state = 'fired'",
        "NEW.step_id",
        "CAST(NEW.round AS VARCHAR(20))",
    ),
}


class Witness:
    """Counts, in the same transactions as the journal's own writes, what may happen only once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        dialect = engine.dialect.name
        statements = [_TABLE]
        for kind, (table, condition, step_id, what) in _EVENTS.items():
            note = f"INSERT INTO seen VALUES ('{kind}', {step_id}, {what});"
            head = f"AFTER UPDATE OF state ON {table} FOR EACH ROW WHEN ({condition})"
            if dialect == "postgresql":
                body = f"LANGUAGE plpgsql AS $$ BEGIN {note} RETURN NULL; END $$"
                statements.append(f"CREATE FUNCTION see_{kind}() RETURNS trigger {body}")
                statements.append(f"CREATE TRIGGER {kind} {head} EXECUTE FUNCTION see_{kind}()")
            else:
                statements.append(f"CREATE TRIGGER {kind} {head} BEGIN {note} END")

        def create(connection: Connection) -> None:
            for statement in statements:
                connection.exec_driver_sql(statement)

        in_transaction(engine, create)

    def times(self, kind: str) -> Counter[tuple[str, str]]:
        """How often each thing of this kind happened, by step (and by round, for joins)."""
        query = text("SELECT step_id, what FROM seen WHERE kind = :kind")
        rows = in_transaction(self._engine, lambda c: c.execute(query, {"kind": kind}).all())
        keep_what = kind == "fired"
        return Counter((row.step_id, row.what if keep_what else "") for row in rows)

    def check(self, *, flows: bool = False) -> dict[str, int]:
        """Each step ended once, none was opened again, each round of a join fired once.

        That of a flow is opened anew in its first round, and may fire for whatever comes.
        """
        ended, fired = self.times("ended"), self.times("fired")
        bound = {"ended": ended} if flows else {"ended": ended, "fired": fired}
        for kind, counts in bound.items():
            twice = [key for key, n in counts.items() if n > 1]
            assert not twice, f"{len(twice)} steps {kind} more than once: {twice[:3]}"
        reopened = self.times("reopened")
        assert not reopened, f"{len(reopened)} ended steps were opened again"
        return {"ended_once": len(ended)} | ({} if flows else {"joins_fired_once": len(fired)})
