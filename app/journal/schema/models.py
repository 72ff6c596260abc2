"""The journal's tables. Times are seconds since the epoch by the database's clock.

The database's clock, because the clocks of workers differ; a float, because SQLite has no time
type and all that is done with times is adding and comparing.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    false,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

ID = String(155)  # the longest task id that Celery's own result tables take


class Base(DeclarativeBase):
    """The base of the journal's tables: names of constraints, types of columns."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own form of declaring it
        dict[str, Any]: JSON(none_as_null=True),
        float: Float(53),
    }


#: PostgreSQL's pages keep room for a row's next version. That of a run then touches no index; that
#: of a step does (its state and ``settled`` say in which partial indexes it stands), but stays on
#: its page and is logged as a difference: 15 % less log for a step.
_ROOM = {"postgresql_with": {"fillfactor": 70}}


def table(model: type[Base]) -> Any:
    """A model's table, for statements that are built once and run often.

    Those on the class pass through the ORM, which builds them anew each time.
    """
    return model.__table__


def _tenant() -> Any:
    return mapped_column(String(64), default="", server_default="")


class Run(Base):
    """A client's request: the root of a tree of steps, under the same id."""

    __tablename__ = "runs"

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    task: Mapped[str] = mapped_column(String(200))
    state: Mapped[str] = mapped_column(String(12))
    created_at: Mapped[float]
    finished_at: Mapped[float | None]
    usage: Mapped[dict[str, Any] | None]
    # Some step of it succeeded that has a compensation (see compensations.py).
    compensable: Mapped[bool] = mapped_column(default=False)
    tenant: Mapped[str] = _tenant()

    __table_args__ = (
        Index("ix_runs_created_at", "created_at"),
        Index("ix_runs_tenant_created_at", "tenant", "created_at"),
        _ROOM,
    )


class Step(Base):
    """One agent's turn, or one pattern; its id is a Celery task id."""

    __tablename__ = "steps"

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    run_id: Mapped[str] = mapped_column(ID)
    parent_id: Mapped[str | None] = mapped_column(ID)
    member: Mapped[str | None] = mapped_column(String(200))  # the key its parent knows it by
    position: Mapped[int] = mapped_column(Integer, default=0)  # its place among the members
    round: Mapped[int] = mapped_column(Integer, default=0)  # of its parent's join; counts in it
    task: Mapped[str] = mapped_column(String(200))
    agent: Mapped[str | None] = mapped_column(String(200))
    queue: Mapped[str] = mapped_column(String(200))
    priority: Mapped[int] = mapped_column(Integer, default=5)
    state: Mapped[str] = mapped_column(String(12))
    payload: Mapped[dict[str, Any]]  # {"args": […], "kwargs": {…}}
    envelope: Mapped[dict[str, Any] | None]  # chain, links, chord of the first message
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    max_attempts: Mapped[int] = mapped_column(Integer)
    token: Mapped[int] = mapped_column(Integer, default=0)  # fencing: counts the claims
    worker_id: Mapped[str | None] = mapped_column(String(64))
    ready_at: Mapped[float]  # not to be claimed before
    wake_at: Mapped[float]  # recovery may publish a message for it from then on
    wakes: Mapped[int] = mapped_column(Integer, default=0)
    deadline_at: Mapped[float | None]
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    outcome: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]  # of the last failed attempt
    settled: Mapped[bool] = mapped_column(default=False)  # result stored, successors published
    created_at: Mapped[float]
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]
    tenant: Mapped[str] = _tenant()
    #: Of a root below which a step has remembered something: everybody's once it succeeds.
    remembers: Mapped[bool] = mapped_column(default=False, server_default=false())
    #: Of a root: a step of it has read what others wrote.
    untrusted: Mapped[bool] = mapped_column(default=False, server_default=false())

    # Partial indexes: they hold live rows only, so they stay small in a journal of any size.
    __table_args__ = (
        Index("ix_steps_run_id", "run_id"),
        Index(
            "ix_steps_parent_id",
            "parent_id",
            "position",
            sqlite_where=text("parent_id IS NOT NULL"),
            postgresql_where=text("parent_id IS NOT NULL"),
        ),
        Index(
            "ix_steps_ready",
            "wake_at",
            sqlite_where=text("state = 'ready'"),
            postgresql_where=text("state = 'ready'"),
        ),
        Index(
            "ix_steps_running",
            "worker_id",
            sqlite_where=text("state = 'running'"),
            postgresql_where=text("state = 'running'"),
        ),
        Index(
            "ix_steps_dead",
            "finished_at",
            sqlite_where=text("state = 'dead'"),
            postgresql_where=text("state = 'dead'"),
        ),
        Index(
            "ix_steps_asking",
            "created_at",
            sqlite_where=text("task = 'agents.approval' AND state = 'waiting'"),
            postgresql_where=text("task = 'agents.approval' AND state = 'waiting'"),
        ),
        Index(
            "ix_steps_unsettled",
            "wake_at",
            sqlite_where=text("settled = 0 AND finished_at IS NOT NULL"),
            postgresql_where=text("NOT settled AND finished_at IS NOT NULL"),
        ),
        _ROOM,
    )


class Call(Base):
    """One paid or outside act of a step, under one claim; in flight without ``finished_at``."""

    __tablename__ = "calls"

    step_id: Mapped[str] = mapped_column(
        ID, ForeignKey("steps.id", ondelete="CASCADE"), primary_key=True
    )
    seq: Mapped[int] = mapped_column(Integer, primary_key=True)  # its place in that claim
    token: Mapped[int] = mapped_column(Integer, primary_key=True)  # of the claim that made it
    name: Mapped[str] = mapped_column(String(200))
    fingerprint: Mapped[str] = mapped_column(String(64))  # its identity
    idempotency_key: Mapped[str] = mapped_column(String(36))
    started_at: Mapped[float]
    finished_at: Mapped[float | None]
    answer: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    cost_usd: Mapped[float | None]  # None: nobody knows, or it is not over
    # Under a budget: what it may cost, until that is settled; then None. Only while it is reserved
    # does its row stand in the index, so the end of any other call touches none.
    reserved_nano_usd: Mapped[int | None] = mapped_column(BigInteger)
    counted_tokens: Mapped[int | None] = mapped_column(BigInteger)  # reserved, then used
    accounts: Mapped[str | None] = mapped_column(Text)  # JSON: names, and begins of windows

    __table_args__ = (
        Index(
            "ix_calls_reserved",
            "step_id",
            sqlite_where=text("reserved_nano_usd IS NOT NULL"),
            postgresql_where=text("reserved_nano_usd IS NOT NULL"),
        ),
    )


class Spend(Base):
    """A sum that one process has booked in an account of a budget; the account's is that of all.

    Each process writes rows of its own, so that none waits for another one.
    """

    __tablename__ = "spend"

    account: Mapped[str] = mapped_column(String(300), primary_key=True)
    starts_at: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    writer: Mapped[str] = mapped_column(String(64), primary_key=True)
    #: When its window ends; null: never, or it is of a worker of version 0006.
    ends_at: Mapped[int | None] = mapped_column(BigInteger)
    nano_usd: Mapped[int] = mapped_column(BigInteger)
    tokens: Mapped[int] = mapped_column(BigInteger)
    calls: Mapped[int] = mapped_column(BigInteger)


class Join(Base):
    """The fan-in of an expanded step: how many of its members ended, and when it fires."""

    __tablename__ = "joins"

    step_id: Mapped[str] = mapped_column(
        ID, ForeignKey("steps.id", ondelete="CASCADE"), primary_key=True
    )
    round: Mapped[int] = mapped_column(Integer)  # how often the step was expanded
    policy: Mapped[str] = mapped_column(String(12))  # all, first, decided
    keep: Mapped[bool] = mapped_column(default=False)  # members run on when it fires
    expected: Mapped[int] = mapped_column(Integer)
    done: Mapped[int] = mapped_column(Integer, default=0)
    succeeded: Mapped[int] = mapped_column(Integer, default=0)
    state: Mapped[str] = mapped_column(String(12))  # open, fired
    deadline_at: Mapped[float | None]
    #: So many members and done ones have had their turn (app/journal/schema/parking.py).
    max_concurrent: Mapped[int | None] = mapped_column(Integer)

    __table_args__ = (
        Index(
            "ix_joins_deadline_at",
            "deadline_at",
            sqlite_where=text("state = 'open' AND deadline_at IS NOT NULL"),
            postgresql_where=text("state = 'open' AND deadline_at IS NOT NULL"),
        ),
    )


class Event(Base):
    """Something worth telling about a step beside its state: a retry, a recovery, a decision."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    run_id: Mapped[str] = mapped_column(ID)
    step_id: Mapped[str] = mapped_column(ID)
    at: Mapped[float]
    kind: Mapped[str] = mapped_column(String(40))
    data: Mapped[dict[str, Any] | None]

    __table_args__ = (
        Index("ix_events_run_id", "run_id", "id"),
        Index(
            "ix_events_dropped",  # few: else the list of dead letters reads all events
            "step_id",
            sqlite_where=text("kind = 'dropped'"),
            postgresql_where=text("kind = 'dropped'"),
        ),
    )


class Entry(Base):
    """A line of a stream, in its place; the stream of a session has its exchanges."""

    __tablename__ = "entries"

    #: Its place among all; with ``xid`` before it, in an order that no reader can overtake (see
    #: positions.py). Never given twice, and not SQLite's own number of a row, which VACUUM changes.
    pos: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    tenant: Mapped[str] = mapped_column(String(64))
    stream: Mapped[str] = mapped_column(String(200))
    seq: Mapped[int] = mapped_column(Integer)  # its place in the stream, from 0, without gaps
    kind: Mapped[str] = mapped_column(String(40))
    data: Mapped[dict[str, Any]]
    tokens: Mapped[int] = mapped_column(Integer)  # that a model would read, as estimated
    at: Mapped[float]
    run_id: Mapped[str | None] = mapped_column(ID)  # which wrote it; the entry outlives it
    key: Mapped[str | None] = mapped_column(String(200))  # of its kind there is one in the stream
    xid: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    size: Mapped[int] = mapped_column(Integer, default=0, server_default="0")  # in bytes, of data

    __table_args__ = (
        Index("ix_entries_place", "tenant", "stream", "seq", unique=True),
        Index(
            "ix_entries_key",
            *("tenant", "stream", "kind", "key"),
            unique=True,
            sqlite_where=text("key IS NOT NULL"),
            postgresql_where=text("key IS NOT NULL"),
        ),
        Index("ix_entries_position", "xid", "pos"),
        Index(
            "ix_entries_run_id",
            "run_id",
            sqlite_where=text("run_id IS NOT NULL"),
            postgresql_where=text("run_id IS NOT NULL"),
        ),
        {"sqlite_autoincrement": True},
    )


def _count() -> Any:
    return mapped_column(BigInteger, default=0, server_default="0")


class StreamCursor(Base):
    """How far somebody has read the entries of all streams, in their one order.

    A client that follows moves it by himself. That of a subscription is served by workers.
    """

    __tablename__ = "cursors"

    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(180), primary_key=True)
    xid: Mapped[int] = mapped_column(BigInteger)
    pos: Mapped[int] = mapped_column(BigInteger)
    changed_at: Mapped[float]
    of: Mapped[str | None] = mapped_column(String(181))  # the streams that it reads
    kind: Mapped[str | None] = mapped_column(String(40))  # and of which kind; None: of all
    serves: Mapped[str | None] = mapped_column(String(12))  # None: a client; runs, projection
    target: Mapped[dict[str, Any] | None]  # the run that an entry starts, or the projection
    rule: Mapped[dict[str, Any] | None]  # what else was said of the subscription
    look_at: Mapped[float | None]  # it is served from then on; None: paused, or a client's
    failures: Mapped[int] = mapped_column(Integer, default=0, server_default="0")  # of the next one
    served: Mapped[int] = _count()
    passed: Mapped[int] = _count()  # over, after so many failures
    missed: Mapped[int] = _count()  # trimmed before they were read, and not told yet
    lost: Mapped[int] = _count()  # trimmed before they were read, and told
    error: Mapped[str | None] = mapped_column(Text)  # of the last failure of the next one

    __table_args__ = (
        Index(
            "ix_cursors_look_at",
            "look_at",
            sqlite_where=text("look_at IS NOT NULL"),
            postgresql_where=text("look_at IS NOT NULL"),
        ),
    )


class StreamRule(Base):
    """How long entries of streams are kept, and how many bytes of them."""

    __tablename__ = "stream_rules"

    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    of: Mapped[str] = mapped_column(String(181), primary_key=True)
    keep_s: Mapped[float | None]
    keep_bytes: Mapped[int | None] = mapped_column(BigInteger)
    xid: Mapped[int] = mapped_column(BigInteger)  # behind this position the first one kept is
    pos: Mapped[int] = mapped_column(BigInteger)
    trimmed: Mapped[int] = _count()
    changed_at: Mapped[float]


class StreamEnd(Base):
    """The length of a stream whose last entry was trimmed: no place is given twice."""

    __tablename__ = "stream_ends"

    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    stream: Mapped[str] = mapped_column(String(200), primary_key=True)
    length: Mapped[int] = mapped_column(Integer)


class Snapshot(Base):
    """The state that a reducer made of a stream up to a place."""

    __tablename__ = "snapshots"

    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    stream: Mapped[str] = mapped_column(String(200), primary_key=True)
    reducer: Mapped[str] = mapped_column(String(180), primary_key=True)
    version: Mapped[int] = mapped_column(Integer)
    seq: Mapped[int] = mapped_column(Integer)  # the last one that is in it
    state: Mapped[dict[str, Any]]  # {"state": …}
    at: Mapped[float]


class Session(Base):
    """A conversation that goes on over many runs, one after the other."""

    __tablename__ = "sessions"

    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(180), primary_key=True)
    exchanges: Mapped[int] = mapped_column(Integer, default=0)  # so many entries, from place 0
    created_at: Mapped[float]
    changed_at: Mapped[float]
    holder: Mapped[str | None] = mapped_column(ID)  # the run that may add the next one
    begins: Mapped[int | None] = mapped_column(Integer)  # the first exchange that it is told

    __table_args__ = (
        Index(
            "ix_sessions_holder",
            "holder",
            sqlite_where=text("holder IS NOT NULL"),
            postgresql_where=text("holder IS NOT NULL"),
        ),
        Index("ix_sessions_tenant_changed_at", "tenant", "changed_at"),
    )


class Wait(Base):
    """A step that waits for its turn at a stream: a run for the session that another one holds."""

    __tablename__ = "waits"

    step_id: Mapped[str] = mapped_column(
        ID, ForeignKey("steps.id", ondelete="CASCADE"), primary_key=True
    )
    tenant: Mapped[str] = mapped_column(String(64))
    stream: Mapped[str] = mapped_column(String(200))
    since: Mapped[float]

    __table_args__ = (Index("ix_waits_tenant_stream_since", "tenant", "stream", "since"),)


class MemorySpace(Base):
    """A space of memories, in numbers: of those that are everybody's, with terms of their own.

    Whoever changes what it has holds its row.
    """

    __tablename__ = "memory_spaces"

    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    tenant: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(180))
    language: Mapped[str] = mapped_column(String(20))
    secret: Mapped[dict[str, Any] | None]  # the key of its terms, where texts are encrypted
    capacity_tokens: Mapped[int] = mapped_column(BigInteger)  # as its last writer has it
    next_place: Mapped[int] = mapped_column(Integer, default=0)
    next_vector: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    memories: Mapped[int] = mapped_column(Integer, default=0)
    length: Mapped[int] = mapped_column(BigInteger, default=0)  # of all their terms
    tokens: Mapped[int] = mapped_column(BigInteger, default=0)
    changed_at: Mapped[float]

    __table_args__ = (
        Index("ix_memory_spaces_name", "tenant", "name", unique=True),
        {"sqlite_autoincrement": True},  # no number twice: one that is erased stays so
    )


class MemoryRow(Base):
    """A text that a space keeps: of its run alone, everybody's, or over."""

    __tablename__ = "memories"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    space_id: Mapped[int] = mapped_column(BigInteger)
    place: Mapped[int] = mapped_column(Integer)  # in its space, never given twice
    state: Mapped[str] = mapped_column(String(8))  # private, live, over
    data: Mapped[dict[str, Any]]  # {"text": …}
    tokens: Mapped[int] = mapped_column(Integer)
    length: Mapped[int] = mapped_column(Integer)  # in terms
    importance: Mapped[float]
    trust: Mapped[int] = mapped_column(Integer, default=2, server_default=text("2"))
    #: When it goes, before others with more: its time, less half-lives for what it lacks in
    #: importance. So their order stays the same however late it is.
    worth: Mapped[float]
    thread: Mapped[str] = mapped_column(String(200))
    turn: Mapped[int] = mapped_column(Integer)  # its place in the thread
    replaces: Mapped[str | None] = mapped_column(String(36))
    agent: Mapped[str | None] = mapped_column(String(200))
    run_id: Mapped[str | None] = mapped_column(ID)  # which learned it; what it learned outlives it
    at: Mapped[float]
    until: Mapped[float | None]
    experience: Mapped[dict[str, Any] | None]  # how the step went whose input it is

    __table_args__ = (
        Index("ix_memories_place", "space_id", "place", unique=True),
        Index(
            "ix_memories_experience",
            "run_id",
            sqlite_where=text("experience IS NOT NULL"),
            postgresql_where=text("experience IS NOT NULL"),
        ),
        Index("ix_memories_turn", "space_id", "thread", "turn"),
        Index(
            "ix_memories_worth",
            *("space_id", "worth", "place"),
            sqlite_where=text("state = 'live'"),
            postgresql_where=text("state = 'live'"),
        ),
        Index(
            "ix_memories_run_id",
            "run_id",
            sqlite_where=text("state = 'private'"),
            postgresql_where=text("state = 'private'"),
        ),
        Index(
            "ix_memories_until",
            "until",
            sqlite_where=text("state = 'over'"),
            postgresql_where=text("state = 'over'"),
        ),
    )


class MemoryTerm(Base):
    """A term of a memory that is everybody's, and how often it occurs there."""

    __tablename__ = "memory_terms"

    space_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    term: Mapped[str] = mapped_column(String(40), primary_key=True)
    place: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    times: Mapped[int] = mapped_column(Integer)
    length: Mapped[int] = mapped_column(Integer)  # of its memory, to be read along

    __table_args__ = (
        # PostgreSQL's index of the key has the other columns, too: it is read instead of the table.
        # The space behind the place: no planner takes it for what is asked of a whole space.
        Index("ix_memory_terms_place", "place", "space_id"),
        {"sqlite_with_rowid": False},
    )


class MemoryVector(Base):
    """A vector of a memory that is everybody's, by the agent that made it."""

    __tablename__ = "memory_vectors"

    space_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    place: Mapped[int] = mapped_column(Integer)
    model: Mapped[str] = mapped_column(String(200))  # the agent
    #: {"vector": …} where it is encrypted, or was written before there were columns of bytes.
    data: Mapped[dict[str, Any]]
    vector: Mapped[bytes | None] = mapped_column(LargeBinary)  # its 32-bit floats

    __table_args__ = (Index("ix_memory_vectors_place", "space_id", "place"),)


class MemoryLink(Base):
    """A link from a memory that is everybody's to another one of its space."""

    __tablename__ = "memory_links"

    space_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    place: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    to_place: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(20), primary_key=True)  # about, caused

    __table_args__ = (
        Index("ix_memory_links_to", "space_id", "to_place"),
        {"sqlite_with_rowid": False},
    )


class ScheduleRow(Base):
    """When runs are to start, of what, and how far that is."""

    __tablename__ = "schedules"

    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(180), primary_key=True)
    rule: Mapped[dict[str, Any]]
    target: Mapped[dict[str, Any]]  # the run that it starts: task, payload, queue, priority
    begins_at: Mapped[float]  # since when there is its rule: intervals count from there
    next_at: Mapped[float | None]  # its next slot; none is left
    #: When it has something to do: at its next slot, or now, if slots wait. None: nothing.
    look_at: Mapped[float | None]
    paused: Mapped[bool] = mapped_column(default=False)
    waiting: Mapped[dict[str, Any]]  # slots that wait for the run under way
    runs: Mapped[dict[str, Any]]  # the last ones that it has started, the newest last
    skipped: Mapped[int] = mapped_column(BigInteger, default=0)  # slots that started none
    error: Mapped[str | None] = mapped_column(Text)  # why a slot that is due starts none
    changed_at: Mapped[float]

    __table_args__ = (
        Index(
            "ix_schedules_look_at",
            "look_at",
            sqlite_where=text("look_at IS NOT NULL"),
            postgresql_where=text("look_at IS NOT NULL"),
        ),
    )


class DeadLetter(Base):
    """A message that nobody could run. Dead steps are letters too; they stand in their own row."""

    __tablename__ = "dead_letters"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    cause: Mapped[str] = mapped_column(String(40))
    reason: Mapped[str] = mapped_column(Text)
    queue: Mapped[str] = mapped_column(String(200))
    task: Mapped[str | None] = mapped_column(String(200))
    step_id: Mapped[str | None] = mapped_column(ID)
    payload: Mapped[str] = mapped_column(Text)  # its start for people, redacted
    raw: Mapped[str] = mapped_column(Text)  # base64, to be requeued; never shown
    size: Mapped[int] = mapped_column(Integer)  # bytes that it had; ``raw`` may hold fewer
    at: Mapped[float]  # by the clock of the worker or of Redis

    __table_args__ = (Index("ix_dead_letters_at", "at"),)


class Agent(Base):
    """An agent that some worker offers, as it announced it at its start."""

    __tablename__ = "agents"

    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    kind: Mapped[str] = mapped_column(String(40))
    description: Mapped[str] = mapped_column(Text)
    effects: Mapped[str] = mapped_column(String(12))
    seen_at: Mapped[float]


class AgentEntry(Base):
    """An agent that was made over the API."""

    __tablename__ = "agent_entries"

    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    # Drawn anew with each change: workers see by their number and sum whether there was one.
    version: Mapped[int] = mapped_column(BigInteger)
    entry: Mapped[dict[str, Any]]
    changed_by: Mapped[str] = mapped_column(String(200))
    changed_at: Mapped[float]


class ApiKey(Base):
    """A key of the API: whoever has its secret may do what stands here. The secret does not."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    hash: Mapped[str] = mapped_column(String(64))  # SHA-256 of the secret, which is long
    name: Mapped[str] = mapped_column(String(180))
    tenant: Mapped[str | None] = mapped_column(String(64))  # None: of all tenants
    role: Mapped[str] = mapped_column(String(16))
    grants: Mapped[dict[str, Any] | None]  # agents, more permissions, limits
    created_at: Mapped[float]
    created_by: Mapped[str] = mapped_column(String(180))
    expires_at: Mapped[float | None]
    revoked_at: Mapped[float | None]
    used_at: Mapped[float | None]  # about then, for the last time


class Memo(Base):
    """A lesson shared by all workers: small JSON under a key (see agents/patterns/fallback)."""

    __tablename__ = "memos"

    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    data: Mapped[dict[str, Any]]
    changed_at: Mapped[float]


class Health(Base):
    """Findings of probes about a target: ``broker``, ``journal``, ``agent:…``, ``provider:…``."""

    __tablename__ = "health"

    target: Mapped[str] = mapped_column(String(300), primary_key=True)
    state: Mapped[str] = mapped_column(String(12))  # unknown, healthy, unhealthy
    since: Mapped[float]
    checked_at: Mapped[float]
    last_ok_at: Mapped[float | None]
    latency_ms: Mapped[float | None]  # of the last good probe
    failures: Mapped[int] = mapped_column(Integer, default=0)  # in a row
    successes: Mapped[int] = mapped_column(Integer, default=0)  # in a row
    message: Mapped[str | None] = mapped_column(Text)  # of the last failure, redacted


class AuditEntry(Base):
    """Something that somebody did or was denied, in a chain: each hash covers all before it.

    ``data`` may be erased: the hash covers its digest.
    """

    __tablename__ = "audit"

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[float]
    actor: Mapped[str] = mapped_column(String(200))
    tenant: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(60))
    target: Mapped[str] = mapped_column(String(200))
    data: Mapped[str | None] = mapped_column(Text)  # JSON, redacted
    data_digest: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))


class AuditHead(Base):
    """The end of that chain, in one row: who adds to it holds the row."""

    __tablename__ = "audit_head"

    one: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    seq: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[str] = mapped_column(String(64))


class Stat(Base):
    """Steps that ended within a minute or an hour, in numbers; see app/journal/tables/stats.py."""

    __tablename__ = "stats"

    grain_s: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    starts_at: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    agent: Mapped[str] = mapped_column(String(200), primary_key=True)  # or a pattern's task
    state: Mapped[str] = mapped_column(String(12), primary_key=True)
    steps: Mapped[int] = mapped_column(BigInteger)
    timed: Mapped[int] = mapped_column(BigInteger)  # those that began, and so have a duration
    sum_s: Mapped[float]
    sum_squares_s2: Mapped[float]
    min_s: Mapped[float | None]
    max_s: Mapped[float | None]
    buckets: Mapped[dict[str, Any]]  # of agents/policies/sketch.py
    errors: Mapped[dict[str, Any]]  # how many of which kind
    usage: Mapped[dict[str, Any]]


class Uncounted(Base):
    """A run that was open when statistics came past it, to be counted once it has ended."""

    __tablename__ = "uncounted"

    run_id: Mapped[str] = mapped_column(ID, primary_key=True)


class Untold(Base):
    """A run that was open when traces came past it, to be told once it has ended."""

    __tablename__ = "untold"

    run_id: Mapped[str] = mapped_column(ID, primary_key=True)


class Slot(Base):
    """The newest turn of a schedule: whichever beat sent it, it runs once."""

    __tablename__ = "slots"

    schedule: Mapped[str] = mapped_column(String(100), primary_key=True)
    slot: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    taken_at: Mapped[float]
    worker_id: Mapped[str] = mapped_column(String(64))


class Worker(Base):
    """One process that claims steps. Its lease covers every step that it has claimed."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))  # Celery's nodename
    host: Mapped[str] = mapped_column(String(200))
    pid: Mapped[int] = mapped_column(Integer)
    lease_until: Mapped[float]
    started_at: Mapped[float]
    # Names of agents that it offers, and of queues that it takes from; its slots.
    offers: Mapped[dict[str, Any] | None]
    # What its process used at its last heartbeat.
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    cores: Mapped[float | None]


class Duty(Base):
    """A job that one process does at a time for all (recovery), held under a lease."""

    __tablename__ = "duties"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    holder: Mapped[str | None] = mapped_column(String(64))
    until: Mapped[float]
