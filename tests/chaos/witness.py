"""Triggers in the journal's own database: they see each end and each firing, whoever writes it."""

from __future__ import annotations

from collections import Counter

from sqlalchemy import Connection, Engine, text

from app.journal.schema.transactions import in_transaction
from celery_agents import State

_FINAL = ", ".join(f"'{s}'" for s in State if s.final)
_TABLE = "CREATE TABLE seen (kind VARCHAR(12), step_id VARCHAR(155), what VARCHAR(20))"
#: An earlier claim's call that is finished. On PostgreSQL as a function that is stable, so it sees
#: what the statement sees that begins a call, and not what is committed while that is written.
_KNOWN = """EXISTS (SELECT 1 FROM calls c WHERE c.step_id = {0}.step_id
    AND c.fingerprint = {0}.fingerprint AND c.token < {0}.token
    AND c.finished_at IS NOT NULL AND c.error IS NULL)"""
_KNOWS = (
    "CREATE FUNCTION is_known(begun calls) RETURNS boolean STABLE LANGUAGE plpgsql "
    f"AS $$ BEGIN RETURN {_KNOWN.format('begun')}; END $$"
)
_MOVES = "UPDATE OF state ON"
#: Kind of event → when, table, condition, what is noted.
_EVENTS = {
    "ended": (_MOVES, "steps", f"NEW.state IN ({_FINAL})", "NEW.id", "NEW.state"),
    "reopened": (
        _MOVES,
        "steps",
        f"OLD.state IN ({_FINAL}) AND NEW.state NOT IN ({_FINAL})",
        "NEW.id",
        "NEW.state",
    ),
    "fired": (
        _MOVES,
        "joins",
        "OLD.state = 'open' AND NEW.state = 'fired'",
        "NEW.step_id",
        "CAST(NEW.round AS VARCHAR(20))",
    ),
    "remade": (
        "INSERT ON",
        "calls",
        None,  # that it is known
        "NEW.step_id",
        "CAST(NEW.token AS VARCHAR(20))",
    ),
}


class Witness:
    """Counts, in the same transactions as the journal's own writes, what may happen only once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        dialect = engine.dialect.name
        statements = [_TABLE, _KNOWS] if dialect == "postgresql" else [_TABLE]
        known = "is_known(NEW)" if dialect == "postgresql" else _KNOWN.format("NEW")
        for kind, (when, table, condition, step_id, what) in _EVENTS.items():
            note = f"INSERT INTO seen VALUES ('{kind}', {step_id}, {what});"
            head = f"AFTER {when} {table} FOR EACH ROW WHEN ({condition or known})"
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

    def remade(self) -> list[str]:
        """The steps of calls that were begun though an earlier claim's was finished, and known."""
        return [step_id for step_id, _ in self.times("remade")]

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
