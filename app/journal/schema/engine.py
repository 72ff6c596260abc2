"""Connecting to the journal: Postgres, or SQLite made durable and safe for many processes."""

from __future__ import annotations

import json
import math
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

from sqlalchemy import URL, Engine, Float, create_engine, event, select
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import ConnectionPoolEntry, Pool
from sqlalchemy.sql.functions import FunctionElement

from app.database_url import POOLED, read_database_url
from celery_agents.errors import ConfigurationError
from celery_agents.sealing import Seals

if TYPE_CHECKING:
    from app.settings import Settings

#: Modes of the journal's file and folder, and the bits that a mode has.
PRIVATE_FILE, PRIVATE_FOLDER, MODE = 0o600, 0o700, 0o777

#: Pages that a connection to SQLite keeps at the most.
CACHE_KIB = 256

#: A database's clock that was read so long ago is read anew: clocks are set, servers change.
CLOCK_S = 1.0

#: Execution option of a connection that only reads: all that a transaction finds is of one moment,
#: and SQLite takes no write lock.
READ_ONLY = "journal_read_only"
#: Of one in which values are encrypted: by what (app/journal/schema/sealed.py).
SEALS = "journal_seals"
#: Of one whose commit need not survive a power cut (or, on PostgreSQL, a crash of the server) by
#: itself: it waits for no disk. The next commit that does takes it along.
RELAXED = "journal_relaxed"
#: Of an engine behind a pooler that gives each transaction another connection: nothing may be set
#: or prepared there for longer than a transaction, since others get it next.
SHARED = "journal_shared"
#: Seconds for which a connection that did something is taken to live.
FRESH_S = 1.0
#: Seconds after which PostgreSQL ends a transaction that is let wait, as by a process that is
#: frozen amid it: others wait for its locks. One that goes on afterwards tries again.
LET_WAIT_S = 20.0


CLOCK_POSTGRESQL = "CAST(EXTRACT(EPOCH FROM statement_timestamp()) AS double precision)"


class now(FunctionElement[float]):  # noqa: N801 - it stands in SQL like func.now()
    """Seconds since the epoch by the database's own clock."""

    type = Float(53)
    inherit_cache = True


@compiles(now, "postgresql")
def _now_postgresql(*_: Any, **__: Any) -> str:
    # Of the statement, not of the moment: only that can be looked up in an index.
    return CLOCK_POSTGRESQL


@compiles(now, "sqlite")
def _now_sqlite(*_: Any, **__: Any) -> str:
    # unixepoch('subsec') needs SQLite 3.42; 2440587.5 is the Julian day of the epoch.
    return "((julianday('now') - 2440587.5) * 86400.0)"


def read_clock(connection: Connection) -> float:
    """The database's clock, for statements that take many rows' values as parameters.

    It is asked once a second; between, our own monotonic one tells how far it went on.
    """
    known = _clocks.get(connection.engine.pool)
    here = time.monotonic()
    if known is None or not known[1] <= here < known[1] + CLOCK_S:
        # Noted after the answer: what that took may put the clock back, never ahead.
        known = connection.execute(select(now())).scalar_one(), time.monotonic()
        _clocks[connection.engine.pool] = known
        here = known[1]
    return known[0] + here - known[1]


_clocks: WeakKeyDictionary[Pool, tuple[float, float]] = WeakKeyDictionary()


def connect(
    url: str, *, timeout_s: float = 10.0, seals: Seals | None = None, idle_s: float | None = None
) -> Engine:
    """Make the engine for a journal URL; nothing is opened before its first use.

    With ``seals`` what steps are asked and answer is encrypted there. PostgreSQL undoes a
    transaction of it that stands still for ``idle_s`` seconds, :data:`LET_WAIT_S` by default: its
    locks hold up others.

    Raises:
        ConfigurationError: the URL is of neither database, or cannot be read.
    """
    read = read_database_url(url)
    if read.get_backend_name() == "sqlite":
        made = _sqlite(read, read.database, timeout_s)
    else:
        made = _postgres(read, timeout_s, idle_s)
    if seals is not None:
        made.update_execution_options(**{SEALS: seals})
    return made


def connect_as(
    settings: Settings, *, timeout_s: float | None = None, idle_s: float | None = None
) -> Engine:
    """Make the engine for the journal of these settings, with their keys. Raises as above."""
    return connect(
        settings.database_url.get_secret_value(),
        timeout_s=settings.database_timeout_s if timeout_s is None else timeout_s,
        seals=settings.seals,
        idle_s=idle_s,
    )


def _postgres(url: URL, timeout_s: float, idle_s: float | None) -> Engine:
    shared = POOLED in url.query
    engine = create_engine(
        url.difference_update_query([POOLED]),
        pool_size=4,
        max_overflow=9,  # four are kept: the writer's two, heartbeat's, recovery's
        pool_pre_ping=True,  # a restarted server costs a ping, not a failed step (_ping_seldom)
        connect_args={"connect_timeout": url.query.get("connect_timeout", max(2, int(timeout_s)))},
        json_serializer=as_json,
        executemany_mode="values_plus_batch",  # many updates in one round trip …
        executemany_batch_page_size=500,  # … all of a group commit's
        hide_parameters=True,  # payloads do not belong in errors and logs
    )

    _ping_seldom(engine)
    if shared:
        engine.update_execution_options(**{SHARED: True})
    else:
        _interpret(engine)
    if idle_s is not None or not shared:  # there it costs each transaction a round trip
        _limit_idle(engine, LET_WAIT_S if idle_s is None else idle_s, shared=shared)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        relaxed = bool(connection.get_execution_options().get(RELAXED))
        if shared:
            if relaxed and not cast("Any", connection.connection.driver_connection).autocommit:
                connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
        elif connection.info.get(RELAXED, False) is not relaxed:  # once: the writer keeps it so
            level = "SET synchronous_commit = off" if relaxed else "RESET synchronous_commit"
            with unbracketed(connection):  # a rollback would take it back
                connection.exec_driver_sql(level)
            connection.info[RELAXED] = relaxed
        if connection.get_execution_options().get(READ_ONLY):
            _read_one_moment(connection, shared=shared)

    @event.listens_for(engine, "checkin")
    def checkin(driver: Any, record: ConnectionPoolEntry) -> None:
        if record.info.pop(READ_ONLY, False) and not (driver is None or driver.closed):
            driver.set_session(isolation_level="DEFAULT", readonly="DEFAULT")

    return engine


def _read_one_moment(connection: Connection, *, shared: bool) -> None:
    """Have a transaction read one moment: half of a run may be of before its end otherwise.

    The driver only notes it, for its BEGIN: no round trip. A pooler would lend what is set of a
    session to others, whose writes are refused then.
    """
    driver: Any = connection.connection.driver_connection
    if driver.autocommit:
        return
    if shared:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        return
    driver.set_session(isolation_level="REPEATABLE READ", readonly=True)
    connection.info[READ_ONLY] = True


def _interpret(engine: Engine) -> None:
    """Have the server compile no statement, and plan each that is prepared once for all values.

    It does both where a plan looks dear, as one does that has to go a way which is switched off for
    it (see writing/connection.py), or that locks rows. To compile takes a second, and each of ours
    milliseconds; to plan the claim of rows took as long again as to claim them.
    """

    @event.listens_for(engine, "connect")
    def connected(driver: Any, _: ConnectionPoolEntry) -> None:
        driver.autocommit = True  # a rollback would take it back
        with driver.cursor() as cursor:
            cursor.execute("SET jit = off; SET plan_cache_mode = force_generic_plan")
        driver.autocommit = False


def _limit_idle(engine: Engine, idle_s: float, *, shared: bool) -> None:
    """Have the server undo transactions in which nobody does anything; see :data:`LET_WAIT_S`."""
    limit = f"idle_in_transaction_session_timeout = {1_000 * idle_s:.0f}"

    @event.listens_for(engine, "connect")
    def connected(driver: Any, _: ConnectionPoolEntry) -> None:
        if not shared:
            driver.autocommit = True  # a rollback would take it back
            with driver.cursor() as cursor:
                cursor.execute(f"SET {limit}")
            driver.autocommit = False

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        reads = connection.get_execution_options().get(READ_ONLY)
        driver = cast("Any", connection.connection.driver_connection)
        if shared and not reads and not driver.autocommit:
            connection.exec_driver_sql(f"SET LOCAL {limit}")


def _ping_seldom(engine: Engine) -> None:
    """Ask no connection whether it lives that has just done something: each ask is a round trip.

    What fails on one that broke off since is tried again as what fails amid (transactions.py).
    """
    used: dict[int, float] = {}
    ping = engine.dialect.do_ping

    def do_ping(driver: Any) -> bool:
        return time.monotonic() - used.get(id(driver), -math.inf) < FRESH_S or ping(driver)

    @event.listens_for(engine, "checkin")
    def checkin(driver: Any, _: ConnectionPoolEntry) -> None:
        if driver is not None:
            used[id(driver)] = time.monotonic()

    @event.listens_for(engine, "close")
    def close(driver: Any, _: ConnectionPoolEntry) -> None:
        used.pop(id(driver), None)

    engine.dialect.do_ping = do_ping  # type: ignore[method-assign, assignment]


@contextmanager
def unbracketed(connection: Connection) -> Iterator[None]:
    """On PostgreSQL without BEGIN and COMMIT: each string that is sent is a transaction by itself.

    Said to the driver, which only remembers it; by SQLAlchemy's own way the connection would keep
    a note of each time. To be entered and left while the server is in no transaction.
    """
    driver: Any = connection.connection.driver_connection
    before = driver.autocommit
    driver.autocommit = True
    try:
        yield
    finally:
        if not driver.closed:
            driver.autocommit = before


def _sqlite(url: URL, path: str | None, timeout_s: float) -> Engine:
    if not path or path == ":memory:":
        raise ConfigurationError(
            "The journal needs a SQLite file (sqlite:///path): memory is not seen by workers."
        )
    _make_private(Path(path))
    engine = create_engine(
        url,
        connect_args={"timeout": timeout_s, "check_same_thread": False},
        json_serializer=as_json,
        hide_parameters=True,  # payloads do not belong in errors and logs
    )

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # pysqlite's own BEGIN comes too late; we send ours
        for pragma in (
            "journal_mode=WAL",  # readers do not stop the writer
            "foreign_keys=ON",
            "wal_autocheckpoint=2000",  # 8 MiB of log between checkpoints
            # A connection forgets what it has read whenever another one has written: of 2 MiB each,
            # as is usual, a worker's many held most for nothing.
            f"cache_size=-{CACHE_KIB}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # IMMEDIATE: two writers that both read first would fail; so the second one waits.
        options = connection.get_execution_options()
        # FULL: a commit survives a power cut. NORMAL survives all that a process can do.
        level = "NORMAL" if options.get(RELAXED) else "FULL"
        command = f"BEGIN {'DEFERRED' if options.get(READ_ONLY) else 'IMMEDIATE'}"
        driver: Any = connection.connection.driver_connection
        execute = driver.execute  # a tenth of what SQLAlchemy's way costs
        try:
            if connection.info.get("synchronous") != level:
                execute(f"PRAGMA synchronous={level}")
                connection.info["synchronous"] = level
            execute(command)
        except sqlite3.Error as error:
            raise DBAPIError.instance(command, None, error, sqlite3.Error) from error

    return engine


def _make_private(path: Path) -> None:
    """Make the file, and its folder where there is none, for this user alone: inputs are in it.

    SQLite gives its log and its index the file's own mode. A folder that was there stays as it is.
    """
    try:
        path.parent.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"The journal's folder {path.parent} cannot be made: {error.strerror}."
        ) from error
    with suppress(OSError):  # of another user, or read alone: whoever opens it says so
        _make_file(path)
        for file in (path, *(path.with_name(f"{path.name}{end}") for end in ("-wal", "-shm"))):
            if file.exists() and file.stat().st_mode & ~PRIVATE_FILE & MODE:
                file.chmod(PRIVATE_FILE)


def _make_file(path: Path) -> None:
    """Make the file where there is none, and never open one that is there.

    Closing a file takes away all locks that this process has on it: another process would then take
    itself for the last one, and delete the log in which an engine of this one goes on to write.
    """
    with _MAKING:
        if not path.exists():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, PRIVATE_FILE))


#: Held while the file is made: no thread opens it before it is closed.
_MAKING = threading.Lock()


def reading(engine: Engine) -> Engine:
    """The same engine for transactions that only read; made once, as it has no state."""
    known: Engine | None = vars(engine).get(READ_ONLY)
    if known is None:
        known = engine.execution_options(**{READ_ONLY: True})
        setattr(engine, READ_ONLY, known)
    return known


def relaxed(engine: Engine) -> Engine:
    """Return the same engine for commits that a power cut, or a crash of the server, may undo."""
    return engine.execution_options(**{RELAXED: True})


#: ``json.dumps`` with options would make an encoder each time.
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def as_json(value: object) -> str:
    """Write JSON that both databases take, whatever an agent answered: a paid answer is kept."""
    try:
        text = _encode(value)
        text.encode()
    except ValueError:  # half of a surrogate pair, or a number that JSON does not have
        return json.dumps(_without_nan(value), separators=(",", ":"))
    return text


def _without_nan(value: Any) -> Any:
    match value:
        case dict():
            return {k: _without_nan(v) for k, v in value.items()}
        case list() | tuple():
            return [_without_nan(v) for v in value]
        case float() if not math.isfinite(value):
            return None
        case _:
            return value
