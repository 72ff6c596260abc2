"""A journal to test on: several processes' views of one database, its rows, and its clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import pytest
from sqlalchemy import Engine, insert, select, text, update
from sqlalchemy.exc import OperationalError

from agents.plan import Expand, JoinPolicy, Member, MemberState
from app.journal import Journal
from app.journal.schema import transactions
from app.journal.schema.engine import connect, now, read_clock
from app.journal.schema.models import Call, Event, Join, Run, Step, Worker
from app.journal.schema.rows import Claimed, Finished, NewStep, Refusal, Refused, Wake, derived_id
from app.journal.schema.transactions import in_transaction
from app.journal.steps import joins
from app.journal.tables.workers import Identity
from app.journal.writing import appending
from app.journal.writing.operation import Operation
from app.journal.writing.writer import _apply
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State, Usage
from celery_agents.sealing import Seals

T = TypeVar("T")
#: Seconds within which a future of the journal resolves, on a busy machine too.
SOON = 20
DONE = Outcome(state=State.SUCCEEDED, value="yes", usage=Usage(calls=1, cost_usd=0.5))
FAILED = Outcome(state=State.FAILED, error=ErrorInfo(kind="agent_failed", message="no"))
TIRED = ErrorInfo(kind="unavailable", message="busy", retryable=True)


def step(step_id: str = "s", **more: Any) -> NewStep:
    given: dict[str, Any] = {
        "run_id": step_id,
        "task": "agents.ask",
        "queue": "agents",
        "payload": {"args": ["hello"], "kwargs": {"agent": "a"}},
        "max_attempts": 3,
        "agent": "a",
    }
    return NewStep(id=step_id, **{**given, **more})


def member(key: str, **more: Any) -> Member:
    given: dict[str, Any] = {"task": "agents.ask", "input": key, "options": {"agent": "a"}}
    return Member(key=key, **{**given, **more})


def plan(*keys: str, kind: Any = "all", timeout_s: float | None = None, **more: Any) -> Expand:
    keep = more.pop("keep", False)
    return Expand(
        members=tuple(member(k) for k in keys),
        join=JoinPolicy(kind=kind, timeout_s=timeout_s, keep=keep),
        **more,
    )


def never(_task: str, _payload: dict[str, Any], _members: list[MemberState]) -> bool:
    return False


class World:
    """One database, and the processes that share it.

    Args:
        url: where it is.
        seals: what encrypts its values.
        made: makes the engines, this world's own and one for each process.
    """

    def __init__(
        self, url: str, seals: Seals | None = None, made: Callable[[], Engine] | None = None
    ) -> None:
        self.url = url
        self.seals = seals
        self._made = made or partial(connect, url, seals=seals)
        self.engine = self._made()
        self.journals: list[Journal] = []

    def journal(
        self, name: str = "worker@here", *, decided: joins.Decider = never, **identity: Any
    ) -> Journal:
        """Another process on the same database."""
        made = Journal(
            self._made(),
            Identity(name, **identity),
            decided=decided,
            lease_s=600,
            wake_grace_s=10,
            group_commit_max=256,
        )
        self.journals.append(made)
        return made

    def close(self) -> None:
        for journal in self.journals:
            journal.close()
        self.engine.dispose()

    # -- looking in

    def one(self, model: Any, *where: Any) -> Any:
        with self.engine.connect() as c:
            return c.execute(select(model.__table__).where(*where)).one()

    def row(self, step_id: str) -> Any:
        return self.one(Step, Step.id == step_id)

    def join(self, step_id: str) -> Any:
        return self.one(Join, Join.step_id == step_id)

    def run(self, run_id: str) -> Any:
        return self.one(Run, Run.id == run_id)

    def calls(self, step_id: str) -> list[Any]:
        with self.engine.connect() as c:
            statement = select(Call.__table__).where(Call.step_id == step_id)
            return list(c.execute(statement.order_by(Call.seq, Call.token)))

    def events(self, step_id: str) -> list[tuple[str, Any]]:
        with self.engine.connect() as c:
            rows = c.execute(
                select(Event.kind, Event.data).where(Event.step_id == step_id).order_by(Event.id)
            )
            return [(r.kind, r.data) for r in rows]

    def states(self, parent_id: str, keys: Iterable[str]) -> list[str]:
        return [self.row(derived_id(parent_id, k)).state for k in keys]

    def clock(self) -> float:
        with self.engine.connect() as c:
            return read_clock(c)

    # -- moving time, by moving the rows

    def set(self, step_id: str, **columns: Any) -> None:
        """Write columns of a step; callables of the database's clock are allowed."""
        values = {k: v(now()) if callable(v) else v for k, v in columns.items()}
        with self.engine.begin() as c:
            c.execute(update(Step).where(Step.id == step_id).values(values))

    def set_join(self, step_id: str, **columns: Any) -> None:
        values = {k: v(now()) if callable(v) else v for k, v in columns.items()}
        with self.engine.begin() as c:
            c.execute(update(Join).where(Join.step_id == step_id).values(values))

    def add_join(self, step_id: str, **columns: Any) -> None:
        given = {"round": 1, "policy": "all", "expected": 1, "state": "open"}
        with self.engine.begin() as c:
            c.execute(insert(Join).values(step_id=step_id, **{**given, **columns}))

    def end_lease(self, journal: Journal, *, ago_s: float = 1) -> None:
        """What a process leaves behind that died so many seconds before its lease ended."""
        with self.engine.begin() as c:
            c.execute(
                update(Worker).where(Worker.id == journal.me.id).values(lease_until=now() - ago_s)
            )

    def add_worker(self, **columns: Any) -> None:
        given = {"id": "old", "name": "worker@here", "host": "here", "pid": 1, "started_at": 0.0}
        with self.engine.begin() as c:
            c.execute(insert(Worker).values(lease_until=now() + 600, **{**given, **columns}))


def batch(journal: Journal, *operations: Operation[Any]) -> list[Any]:
    """What the operations of one group commit give, in the order in which they were queued."""
    found = in_transaction(journal.engine, lambda c: _apply(c, list(operations)))
    results = {id(operation): result for operation, result in found}
    return [results[id(operation)] for operation in operations]


def claimed(journal: Journal, step_id: str, new: NewStep | None = None) -> Claimed:
    found = journal.claim(step_id, new).result(SOON)
    assert isinstance(found, Claimed), found
    return found


def refused(journal: Journal, step_id: str, new: NewStep | None = None) -> Refusal:
    found = journal.claim(step_id, new).result(SOON)
    assert isinstance(found, Refused), found
    return found.reason


def finished(journal: Journal, step_id: str, new: NewStep | None = None) -> Finished:
    found = journal.claim(step_id, new).result(SOON)
    assert isinstance(found, Finished), found
    return found


def ids(wakes: Iterable[Wake]) -> list[str]:
    return [w.id for w in wakes]


def expand(journal: Journal, parent_id: str, what: Expand) -> list[Claimed]:
    """Claim the parent (made when it is new), expand it, claim the members that are new."""
    parent = claimed(journal, parent_id, step(parent_id, task="agents.vote", agent=None))
    expanded = journal.expand(parent, what).result(SOON)
    assert expanded.applied
    return [claimed(journal, w.id) for w in expanded.members]


@pytest.mark.postgres
class OnPostgres:
    """Tests of what happens amid a transaction of another one: SQLite writes one after another."""

    @pytest.fixture
    def journal_url(self, emptied_postgres_url: str) -> str:
        return emptied_postgres_url


@contextmanager
def meanwhile(world: World, work: Callable[[], T]) -> Iterator[list[T]]:
    """Work in a thread that waits for a lock, which is let go in the block; what it gave, after."""
    found: list[T] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    end = time.monotonic() + SOON
    while not _is_waiting(world):
        assert thread.is_alive(), "it did not wait"
        assert time.monotonic() < end
        time.sleep(0.01)
    yield found
    thread.join(SOON)
    assert found


def _is_waiting(world: World) -> bool:
    waiting = "SELECT 1 FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted"
    with world.engine.connect() as c:
        own = c.execute(text(f"{waiting} AND datname = current_database() LIMIT 1"))
        return own.first() is not None


def before(
    monkeypatch: pytest.MonkeyPatch, where: Any, name: str, work: Callable[[], T]
) -> list[T]:
    """Work once before a function is called for the first time; what it gave, when it did."""
    real, found = getattr(where, name), list[T]()

    def pausing(*args: Any, **kwargs: Any) -> Any:
        if not found:
            found.append(work())
        return real(*args, **kwargs)

    monkeypatch.setattr(where, name, pausing)
    return found


def lose_an_answer(monkeypatch: pytest.MonkeyPatch, of: type = object) -> None:
    """The next transaction that answers with such is committed, and its answer is lost."""
    lost: list[bool] = []

    def losing(real: Callable[..., Any], *args: Any) -> Any:
        found = real(*args)
        if not lost and isinstance(found, of):
            lost.append(True)
            raise OperationalError("COMMIT", None, Exception("server closed the connection"))
        return found

    for module, name in ((transactions, "_transaction"), (appending, "_written")):
        monkeypatch.setattr(module, name, partial(losing, getattr(module, name)))
