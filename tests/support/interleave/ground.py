"""One database with some processes' views of it: set up anew for each schedule in one round trip.

Triggers note each change of a step's state in the transaction that makes it, so that what happened
between the beginning and the end is known too.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg2
from sqlalchemy import Engine, Float, make_url
from tenacity import wait_none

from app.concurrency.future import Future
from app.journal import Journal
from app.journal.schema import transactions
from app.journal.schema.engine import connect
from app.journal.schema.models import Base
from app.journal.schema.rows import Claimed
from app.journal.tables.workers import Identity
from app.journal.writing.operation import Operation
from celery_agents.contracts.outcome import State
from tests.support.interleave.stage import Stage

#: Actors of one schedule at the most.
ACTORS = 3
GRACE_S = 10.0
#: Workers that there are when a world begins, and one for each actor that comes later.
OLD, NEW = "ABCDL", "EFG"
_FINAL = ", ".join(f"'{s}'" for s in State if s.final)
_CLOCK = "extract(epoch FROM clock_timestamp())"
_TABLES = [t for t in Base.metadata.sorted_tables if t.name != "alembic_version"]
_LOOK = " UNION ALL ".join(f"SELECT '{t.name}', to_jsonb(x) FROM {t.name} x" for t in (*_TABLES,))
_ALIVE = f"EXISTS (SELECT FROM workers w WHERE w.id = {{}} AND w.lease_until > {_CLOCK})"
_CREATED = (
    "CREATE TABLE seen (n bigserial, what text, step_id text, backend int, seen jsonb)",
    f"""
    CREATE FUNCTION see_step() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO seen (what, step_id, backend, seen) VALUES ('step', NEW.id, pg_backend_pid(),
            jsonb_build_object('old', to_jsonb(OLD), 'new', to_jsonb(NEW), 'at', {_CLOCK},
            'old_alive', {_ALIVE.format("OLD.worker_id")},
            'new_alive', {_ALIVE.format("NEW.worker_id")}));
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER see_step AFTER UPDATE ON steps FOR EACH ROW WHEN (
        OLD.state <> NEW.state OR OLD.token <> NEW.token
        OR OLD.outcome::text IS DISTINCT FROM NEW.outcome::text
    ) EXECUTE FUNCTION see_step()
    """,
    """
    CREATE FUNCTION see_cleaned() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO seen (what, step_id, backend, seen)
        VALUES ('cleaned', OLD.id, pg_backend_pid(), jsonb_build_object('old', to_jsonb(OLD),
            'open', (SELECT count(*) FROM steps s WHERE s.run_id = OLD.run_id
            AND s.state IN ('ready', 'running', 'waiting') AND NOT EXISTS (SELECT FROM runs r
            WHERE r.id = OLD.run_id AND r.created_at > OLD.created_at))));
        RETURN OLD;
    END $$
    """,
    """
    CREATE TRIGGER see_cleaned BEFORE DELETE ON steps FOR EACH ROW EXECUTE FUNCTION see_cleaned()
    """,
    """
    CREATE FUNCTION see_call() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO seen (what, step_id, backend, seen)
        SELECT 'call', NEW.step_id, pg_backend_pid(), jsonb_build_object('new', to_jsonb(NEW),
            'held', s.state = 'running' AND s.token = NEW.token,
            'known', EXISTS (SELECT FROM calls c WHERE c.step_id = NEW.step_id
                AND c.fingerprint = NEW.fingerprint AND c.token < NEW.token
                AND c.finished_at IS NOT NULL))
        FROM steps s WHERE s.id = NEW.step_id;
        RETURN NULL;
    END $$
    """,
    "CREATE TRIGGER see_call AFTER INSERT ON calls FOR EACH ROW EXECUTE FUNCTION see_call()",
)


@dataclass(slots=True)
class World:
    """The start of a schedule: rows, kept in a schema of their own, and who holds what."""

    name: str
    ids: dict[str, str] = field(default_factory=dict)  # of steps, by short names
    claims: dict[str, Claimed] = field(default_factory=dict)  # of running ones
    holders: dict[str, str] = field(default_factory=dict)  # the workers that have these
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    clock: float = 0.0  # as these rows were read

    def __contains__(self, name: str) -> bool:
        return name in self.ids


class InPlace:
    """A writer that writes in the thread that asks: by shots where it can, or never by them."""

    def __init__(self, writer: Any) -> None:
        self.writer = writer
        self.quick = True

    def submit(self, operation: Operation[Any]) -> Future[Any]:
        self.write([operation])
        return operation.future

    def write(self, batch: list[Operation[Any]]) -> None:
        """A group commit."""
        for held in (self.writer._final, self.writer._relaxed):
            held.shoots = self.quick
        self.writer._commit(batch)

    def close(self) -> None:
        self.writer.close()


class Ground:
    """A database with the schema, for schedules alone."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._control = psycopg2.connect(
            make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        )
        self._control.autocommit = True
        self._prepare()
        self.stage = Stage(self._waiting)
        self.who = {name: Identity(name, host=name, pid=1) for name in (*OLD, *NEW)}
        self.journals = [self._journal(f"actor-{n}") for n in range(ACTORS)]
        self.engine: Engine = self.journals[0].engine
        self._schemas: dict[str, str] = {}  # that have the rows of worlds
        self._pause = transactions._AGAIN.wait  # between tries: here it is said who goes on
        transactions._AGAIN.wait = wait_none()
        self._runs = 0
        for journal in self.journals:
            self.stage.attach(journal.engine)

    def close(self) -> None:
        transactions._AGAIN.wait = self._pause
        for journal in self.journals:
            journal.close()
        self._control.close()

    def _prepare(self) -> None:
        """Settings of the database, and what notes the changes."""
        name = make_url(self._url).database
        with suppress(psycopg2.errors.InsufficientPrivilege):  # then deadlocks only take longer
            self.execute(f"ALTER DATABASE \"{name}\" SET deadlock_timeout = '20ms'")
        self.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = off')
        for statement in (*_CREATED, f"PREPARE look AS {_LOOK}"):
            self.execute(statement)

    def _journal(self, name: str) -> Journal:
        journal = Journal(
            connect(self._url),
            Identity(name),
            decided=lambda _task, _payload, members: any(m.state == "failed" for m in members),
            lease_s=600,
            wake_grace_s=GRACE_S,
            group_commit_max=256,
        )
        journal._writer = InPlace(journal._writer)  # type: ignore[assignment]
        journal.sessions._writer = journal._writer
        return journal

    def execute(self, statement: str, values: Any = None) -> list[Any]:
        """Run statements on a connection of the control's own; the rows of the last one."""
        with self._control.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def _waiting(self, backends: list[int]) -> set[int]:
        found = self.execute(
            "SELECT pid FROM pg_locks WHERE NOT granted AND pid = ANY (%s)", (backends,)
        )
        return {pid for (pid,) in found}

    # -- worlds

    def make(self, name: str, build: Callable[[Ground, World], None]) -> World:
        """Build a world by the journal's own operations, and keep its rows to begin with."""
        self.empty()
        self.register()
        world = World(name)
        build(self, world)
        world.rows = self.look()
        schema = self._schemas[name] = f"w_{len(self._schemas)}"
        self.execute(f"CREATE SCHEMA {schema}")
        restore = [self._emptying()]
        for table in (t for t in _TABLES if world.rows[t.name]):
            self.execute(f"CREATE TABLE {schema}.{table.name} AS SELECT * FROM {table.name}")
            restore.append(_restoring(schema, table))
        self.execute(f"CREATE TABLE {schema}.clock AS SELECT {_CLOCK} AS at")
        # A function's statements are planned once; by themselves they take four times as long.
        self.execute(f"""
            CREATE FUNCTION {schema}.restore() RETURNS void LANGUAGE plpgsql AS
            $$ BEGIN {"; ".join(restore)}; DELETE FROM seen; END $$
        """)
        world.clock = self.clock()
        return world

    def restore(self, world: World) -> None:
        """Let the database be as this world begins."""
        self._runs += 1
        if self._runs % 500 == 0:
            self.execute("VACUUM")
        self.execute(f"SELECT {self._schemas[world.name]}.restore()")

    def empty(self) -> None:
        self.execute(self._emptying())

    def _emptying(self) -> str:
        return "; ".join(f"DELETE FROM {t.name}" for t in reversed(_TABLES))

    def register(self) -> None:
        """The workers of a world, all but those that come later."""
        for who in (self.who[name] for name in OLD):
            self.execute(
                "INSERT INTO workers (id, name, host, pid, started_at, lease_until) "
                f"VALUES (%s, %s, %s, 1, {_CLOCK}, {_CLOCK} + 600)",
                (who.id, who.name, who.host),
            )

    def look(self) -> dict[str, list[dict[str, Any]]]:
        """All rows, by table."""
        found: dict[str, list[dict[str, Any]]] = {t.name: [] for t in _TABLES}
        for name, row in self.execute("EXECUTE look"):
            found[name].append(row)
        return found

    def seen(self) -> list[Any]:
        """Return the triggers' notes, in the order in which they were written."""
        return self.execute("SELECT what, step_id, backend, seen FROM seen ORDER BY n")

    def clock(self) -> float:
        return float(self.execute(f"SELECT {_CLOCK}")[0][0])


def _restoring(schema: str, table: Any) -> str:
    """Insert a table's rows, with its times as far from now as they were from the clock then."""
    later = f"(SELECT {_CLOCK} - at FROM {schema}.clock)"
    names = ", ".join(c.name for c in table.columns)
    values = ", ".join(
        f"{c.name} + {later}" if isinstance(c.type, Float) else c.name for c in table.columns
    )
    return f"INSERT INTO {table.name} ({names}) SELECT {values} FROM {schema}.{table.name}"
