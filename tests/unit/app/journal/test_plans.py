"""What the journal does with one step costs the same however many rows it holds.

Everything a worker does is done once on a journal with many rows, and the database is asked how it
runs each statement that the code sends meanwhile: none may read a whole table, or a whole index
over one.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, make_url, text
from sqlalchemy.engine import Connection

from agents.governance.budgets import Amount
from agents.plan import AwaitedAny, Expand, JoinPolicy
from app.journal import Journal
from app.journal.actors.mailboxes import Mail, MailboxEntry
from app.journal.actors.store import ActorStore
from app.journal.queries import reads
from app.journal.retention import cleanup
from app.journal.schema.engine import connect
from app.journal.schema.models import Base
from app.journal.schema.rows import (
    Claimed,
    HeldSession,
    NewEntry,
    NewExchange,
    Unheld,
    derived_id,
)
from app.journal.steps import compensations, dead_letters, due
from app.journal.steps.cancels import cancel
from app.journal.steps.claims import ClaimStep
from app.journal.steps.expansions import ExpandStep
from app.journal.steps.finishes import FinishStep, Settle
from app.journal.steps.inserts import AcceptStep, InsertStep
from app.journal.steps.spending import Reserved, Settled
from app.journal.tables import workers
from app.journal.writing import prepared as shots
from app.journal.writing import sqlite, sqlite_members
from celery_agents import names
from celery_agents.contracts.compensation import Compensation, compensation_id
from celery_agents.contracts.flows.entries import ANSWERS, HISTORY
from celery_agents.contracts.outcome import Outcome, State
from tests.support.drawn import costly
from tests.support.postgres import Databases
from tests.unit.app.journal.support import (
    DONE,
    FAILED,
    SOON,
    TIRED,
    World,
    batch,
    claimed,
    expand,
    member,
    plan,
    step,
)

#: Finished steps, each tenth a root with nine members: far above what a scan could be right for.
ROWS = costly(100_000, part=2)
LARGE = {"steps", "runs", "calls", "joins", "events", "entries", "sessions", "waits"}

_SERIES = {
    "postgresql": f"(SELECT n FROM generate_series(0, {ROWS - 1}) AS s(n))",
    "sqlite": (
        "(WITH RECURSIVE s(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s "
        f"WHERE n < {ROWS - 1}) SELECT n FROM s)"
    ),
}
_FILL = (
    """
    INSERT INTO steps (id, run_id, parent_id, member, position, round, task, agent, queue, priority,
        state, payload, attempts, max_attempts, token, ready_at, wake_at, wakes, cancel_requested,
        outcome, settled, created_at, started_at, finished_at)
    SELECT 'old' || n, 'old' || (n - n % 10), CASE WHEN n % 10 > 0 THEN 'old' || (n - n % 10) END,
        'm' || (n % 10), n % 10, 1, 'agents.ask', 'a', 'agents', 5,
        CASE WHEN n % 1000 = 0 THEN 'dead' ELSE 'succeeded' END, '{}', 1, 3, 1, n, n, 0, false,
        '{}', true, n, n, n
    FROM {series} AS s
    """,
    """
    INSERT INTO runs (id, task, state, created_at, finished_at, compensable)
    SELECT 'old' || n, 'agents.vote', 'succeeded', n, n, false FROM {series} AS s
    """,
    """
    INSERT INTO calls (step_id, seq, token, name, fingerprint, idempotency_key, started_at,
        finished_at, answer)
    SELECT 'old' || n, 0, 1, 'model', 'f', 'k', n, n, '{}' FROM {series} AS s WHERE n % 2 = 0
    """,
    """
    INSERT INTO joins (step_id, round, policy, keep, expected, done, succeeded, state)
    SELECT 'old' || n, 1, 'all', false, 9, 9, 9, 'fired' FROM {series} AS s
    """,
    """
    INSERT INTO events (run_id, step_id, at, kind)
    SELECT 'old' || (n - n % 10), 'old' || n, n, 'retry' FROM {series} AS s
    """,
    """
    INSERT INTO sessions (tenant, name, exchanges, created_at, changed_at, holder)
    SELECT 't', 'old' || n, 100, n, n, CASE WHEN n % 1000 = 0 THEN 'old' || n END
    FROM {series} AS s
    """,
    """
    INSERT INTO entries (tenant, stream, seq, kind, data, tokens, at)
    SELECT 't', 'session/old' || (n / 100), n % 100, 'exchange', '{"messages": []}', 10, n
    FROM {series} AS s
    """,
    """
    INSERT INTO waits (step_id, tenant, stream, since)
    SELECT 'old' || n, 't', 'session/old' || (n / 10), n FROM {series} AS s
    """,
)


def _fill(url: str) -> None:
    engine = connect(url)
    with engine.begin() as connection:
        for statement in _FILL:
            series = _SERIES[engine.dialect.name]
            connection.execute(text(statement.replace("{series}", series)))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if engine.dialect.name == "postgresql":  # SQLite has no statistics in a real journal either
            connection.execute(text("VACUUM ANALYZE"))
    engine.dispose()


@pytest.fixture(scope="session")
def _large_sqlite(_migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("large") / "journal.db"
    shutil.copyfile(_migrated_sqlite, path)
    _fill(f"sqlite:///{path}")
    return f"sqlite:///{path}"


@pytest.fixture(scope="session")
def _large_postgres(postgres: Databases, _migrated_postgres: str) -> Iterator[str]:
    url = postgres.create(template=make_url(_migrated_postgres).database)
    _fill(url)
    yield url
    postgres.drop(url)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def large(request: pytest.FixtureRequest) -> Iterator[World]:
    """A journal with many finished steps."""
    world = World(request.getfixturevalue(f"_large_{request.param}"))
    yield world
    world.close()


class Plans:
    """Asks for the plan of each statement that an engine is about to run."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.scans: dict[str, list[str]] = {}

    def watch(self, world: World, journal: Journal) -> None:
        for engine in (world.engine, journal.engine):
            event.listen(engine, "before_cursor_execute", self._explain)

    def _explain(
        self,
        connection: Connection,
        cursor: Any,
        statement: str,
        parameters: Any,
        _context: Any,
        executemany: bool,
    ) -> None:
        prepared = re.fullmatch(r"(?:SET LOCAL [^;]*; )+(EXECUTE \w+ [^;]*)", statement)
        statement = prepared[1] if prepared else statement
        if statement in self.seen or not re.match(
            r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH|EXECUTE)", statement
        ):
            return
        self.seen.add(statement)
        # As a list when the statement is run for each; one of all rows has them all together.
        first = parameters[0] if executemany and isinstance(parameters, list) else parameters
        found = _ASK[connection.dialect.name](cursor.connection.cursor(), statement, first)
        if found:
            self.scans[statement] = found


def _ask_postgres(cursor: Any, statement: str, parameters: Any) -> list[str]:
    *_, asked = statement.split("; ")  # an advisory lock stands before what is read under it
    cursor.execute(f"EXPLAIN (FORMAT JSON) {asked}", parameters)
    (answer,) = cursor.fetchone()
    explained = json.loads(answer) if isinstance(answer, str) else answer
    return [told for node in _nodes(explained[0]["Plan"]) if (told := _scan(node))]


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def _scan(node: dict[str, Any]) -> str | None:
    kind, name = node["Node Type"], node.get("Relation Name")
    if kind == "Seq Scan" and name in LARGE:
        return f"Seq Scan on {name}"
    index = node.get("Index Name")
    if index in WHOLE and "Index Cond" not in node:
        return f"{kind} on all of {index}"
    return None


def _ask_sqlite(cursor: Any, statement: str, parameters: Any) -> list[str]:
    cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
    found = []
    for *_, told in cursor.fetchall():
        scan = re.match(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?", told)
        if scan and scan[1] in LARGE and (scan[2] is None or scan[2] in WHOLE):
            found.append(told)
    return found


_ASK: dict[str, Callable[[Any, str, Any], list[str]]] = {
    "postgresql": _ask_postgres,
    "sqlite": _ask_sqlite,
}
#: Indexes over all rows of a large table; partial ones hold live rows only, or few others.
WHOLE = {
    name
    for table in Base.metadata.tables.values()
    if table.name in LARGE
    for name in (
        *(str(i.name) for i in table.indexes if i.dialect_options["sqlite"]["where"] is None),
        f"pk_{table.name}",
        *(f"sqlite_autoindex_{table.name}_{n}" for n in (1, 2)),
    )
} | {"ix_steps_parent_id"}


def work_through(world: World, journal: Journal) -> None:
    """All that workers, their recovery and people's single questions do with the journal."""
    ids = [f"new{n}" for n in range(30)]
    claims = batch(journal, *[ClaimStep(i, journal.me.id, journal.rules, step(i)) for i in ids])
    batch(journal, *[ClaimStep(i, journal.me.id, journal.rules, step(i)) for i in ids])
    journal.start_call(claims[0], 0, "model", "f", "k").result(SOON)
    journal.finish_call(claims[0], 0, {"a": 1}).result(SOON)
    journal.finished_calls("new0")
    journal.beat()
    journal.postpone(claims[0], delay_s=0, error=TIRED).result(SOON)
    journal.postpone(claims[1], delay_s=0).result(SOON)
    journal.give_back(["new2"])
    again = batch(journal, *[ClaimStep(i, journal.me.id, journal.rules) for i in ids[:3]])
    ends = [DONE, FAILED] * (len(ids) // 2)
    held = zip([*again, *claims[3:]], ends, strict=True)
    batch(journal, *[FinishStep(claim, end, journal.rules) for claim, end in held])
    batch(journal, *[Settle(i, 1) for i in ids])
    journal.finish(claimed(journal, "alone", step("alone")), DONE).result(SOON)
    journal.settle("alone", 1).result(SOON)
    journal.insert(step("following")).result(SOON)
    several = [InsertStep(step(f"later{n}"), 10.0) for n in range(2)]
    accepted = [AcceptStep(step(f"accepted{n}"), 10.0) for n in range(3)]
    for together in (accepted[:1], accepted[1:]):
        journal._writer._commit([*together])
    made = [ClaimStep(i, journal.me.id, journal.rules, step(i)) for i in ("more", "many")]
    journal._writer._commit([*several])
    journal._writer._commit([*made])
    two = [claimed(journal, i, step(i)) for i in ("one", "two")]
    journal._writer._commit([FinishStep(claim, DONE, journal.rules) for claim in two])
    _budgets(world, journal)
    _sessions(journal)
    _patterns(world, journal)
    _recovery(world, journal)
    _people(world, journal)


def _budgets(world: World, journal: Journal) -> None:
    """Calls under a budget, their sums, and what is in doubt."""
    place, booked = ("company", 0), (("company", 0, None),)
    reserved = Reserved(Amount(9, 1, 1), booked)
    claims = [claimed(journal, f"spends{n}", step(f"spends{n}")) for n in range(2)]
    for claim in claims:
        about = (0, "model", "f", f"k{claim.id}")
        journal.start_call(claim, *about, reserved=reserved).result(SOON)
    settled = Settled(Amount(5, 1, 1), booked, journal.me.id)
    journal.finish_call(claims[0], 0, {"a": 1}, cost_usd=5e-9, settled=settled).result(SOON)
    journal.ledger.standing(place, None)
    journal.ledger.standing((":spends0", 0), "spends0")
    journal.ledger.fates([(f"spends{n}", 0, 1) for n in range(2)])
    journal.finish(claims[1], DONE).result(SOON)
    assert len(journal.ledger.release("company", None)) == 1


def _sessions(journal: Journal) -> None:
    """Runs that talk, wait for each other, and what people do with sessions."""
    said = NewExchange({"messages": []}, tokens=10)
    for name in ("old1", "chat"):
        ids = [f"{name}-{n}" for n in range(2)]
        first, second = (claimed(journal, i, step(i, tenant="t")) for i in ids)
        for claim, found in ((first, HeldSession), (second, Unheld)):
            assert isinstance(journal.sessions.hold(claim, name, 100).result(SOON), found)
        assert journal.finish(first, DONE, said).result(SOON).wakes
        again = claimed(journal, second.id)
        held = journal.sessions.hold(again, name, 100).result(SOON)
        assert isinstance(held, HeldSession)
        journal.sessions.told(held)
        journal.finish(again, FAILED).result(SOON)
        journal.sessions.page("t", name, -1)
        journal.sessions.fork("t", name, f"copy of {name}", 1)
        journal.sessions.delete("t", name)
    journal.sessions.list("t", 10)


def _patterns(world: World, journal: Journal) -> None:
    """Members of all kinds of joins, finished, cancelled, late, undone."""
    undoable = Outcome(
        state=State.SUCCEEDED, value=1, agent="a", compensation=Compensation(agent="undo")
    )
    for kind in ("all", "first", "decided"):
        members = expand(journal, kind, plan(*"abcd", kind=kind, timeout_s=600))
        batch(journal, *[FinishStep(c, undoable, journal.rules) for c in members[:3]])
        journal.finish(members[3], FAILED).result(SOON)
        journal.members(kind)
        journal.tally(kind, values_within=1000)
        journal.results(kind, -1)
        root = claimed(journal, kind)
        wider = plan(*"abcde", kind=kind)
        assert journal.expand(root, wider).result(SOON).applied
        new = journal.claim(derived_id(kind, "e")).result(SOON)
        if isinstance(new, Claimed):  # the first success lets the others go
            journal.finish(new, DONE).result(SOON)
        journal.finish(claimed(journal, kind), FAILED).result(SOON)
        undoing = claimed(journal, compensation_id(kind))
        with world.engine.begin() as c:
            compensations.let_go(c, kind)
            compensations.finished(c, kind)
            compensations.uncertain(c, kind)
            compensations.turns(c, kind)
        journal.finish(undoing, DONE).result(SOON)
    expand(journal, "tree", plan("a", "b"))
    _flows(journal)
    journal.cancel("tree")
    journal.cancel("unknown")
    waiting = member("person", task="agents.approval", waits=True, input={})
    journal.expand(
        claimed(journal, "approved", step("approved", task="agents.vote", agent=None)),
        plan().model_copy(update={"members": (waiting,)}),
    ).result(SOON)
    journal.approve("approved", "yes")


def _flows(journal: Journal) -> None:
    """Flows and actors that are told something, take it up, and wait on: many at once."""
    post = ActorStore(journal).post
    for told in range(2):
        mails = []
        for number in range(30):
            new = step(f"actor{number}", task=names.FLOW, agent="actor/A", tenant="t")
            mails.append(Mail(new, [MailboxEntry(f"m{told}", {"name": "add", "value": told})]))
        wakes = post(mails).wakes
        claims = batch(journal, *[ClaimStep(w.id, journal.me.id, journal.rules) for w in wakes])
        assert len(claims) == len(mails)
        awaited = AwaitedAny(open=("a",), heard=told, begins=told, keeps_s=0.0)
        what = Expand(join=JoinPolicy(kind="any"), awaited=awaited)
        rests = []
        for claim in claims:
            lines = [NewEntry("t", f"{at}{claim.id}", "line", {}) for at in (HISTORY, ANSWERS)]
            rests.append(ExpandStep(claim, what, journal.rules, entries=lines))
        assert all(found.applied for found in batch(journal, *rests))


def _recovery(world: World, journal: Journal) -> None:
    flow = claimed(journal, "flow", step("flow", task=names.FLOW, agent=None))
    line = NewEntry("", "flow/flow", "done", {}, run_id="flow")
    assert journal.finish(flow, DONE, entries=[line]).result(SOON).applied
    expand(journal, "late", plan("a", timeout_s=0.001))
    other = world.journal("other@here", host="gone")
    held = claimed(other, "orphan", step("orphan"))
    world.end_lease(other, ago_s=100)
    with world.engine.begin() as c:
        c.execute(text("UPDATE steps SET wake_at = 0 WHERE id IN ('late', 'orphan', 'new3')"))
    with world.engine.begin() as c:
        due.orphaned(c, 500, 10, 300)
        due.unsettled(c, 500, 10, 300)
        due.unwoken(c, 500, 10, 300)
        due.take_flows(c, 500, ["agents", "agents.control"], journal.me.id)
        due.late_joins(c, 500, journal.rules)
        due.known(c, [f"old{n}" for n in range(500)])
        workers.take_duty(c, "recovery", journal.me.id, 10)
        workers.register(c, workers.Identity("other@here"), 10)
        cancel(c, held.id, journal.rules)


def _people(world: World, journal: Journal) -> None:
    assert journal.run_tree("all") is not None
    with world.engine.begin() as c:
        reads.events(c, "all")
        letter = {"id": "d", "cause": "c", "reason": "r", "queue": "q", "task": None}
        rest = {"step_id": None, "payload": "", "raw": "", "size": 1, "at": 1.0}
        dead_letters.insert_letters(c, [{**letter, **rest}], 50)
        assert len(dead_letters.listed(c, 20)) == 20
        dead_letters.find(c, "old1000")
        dead_letters.drop_step(c, "old2000")
        dead_letters.requeue_step(c, "old3000", 10)
    keep = cleanup.Retention(1.0, 1.0, 1.0)
    cleanup.clean_journal(world.engine, keep, batch=100, limit_s=0.5, sleep=lambda _: None)


def test_no_statement_reads_a_whole_table(large: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of thousands it may read them all.
    monkeypatch.setattr("app.journal.retention.chunks._LARGEST", 100)
    plans = Plans()
    journal = large.journal()
    plans.watch(large, journal)
    work_through(large, journal)
    assert sorted((told, statement[:500]) for statement, told in plans.scans.items()) == []
    assert len(plans.seen) > 60
    if large.engine.dialect.name == "postgresql":
        prepared = {p.call for p in vars(shots).values() if isinstance(p, shots.Prepared)}
        assert prepared <= plans.seen
    else:
        short = {t for statements in sqlite.OF.values() for t in statements.texts}
        assert short | {*sqlite_members.TEXTS} <= plans.seen


def test_a_scan_would_be_seen(large: World) -> None:
    plans = Plans()
    journal = large.journal()
    plans.watch(large, journal)
    with large.engine.begin() as c:
        c.execute(text("SELECT count(*) FROM steps WHERE task = 'x'")).all()
        c.execute(text("SELECT id FROM runs WHERE state = 'x'")).all()
    assert len(plans.scans) == 2


#: More than are compared, of which a server that knows nothing of its tables takes one to be due.
_SLEEPERS = """
INSERT INTO steps (id, run_id, position, round, task, queue, priority, state, payload, attempts,
    max_attempts, token, ready_at, wake_at, wakes, cancel_requested, settled, created_at, tenant)
SELECT md5(n::text), md5(n::text), 0, 0, 'agents.flow', 'agents', 5, 'waiting', '{}', 0,
    4, 1, 0, 0, 0, FALSE, FALSE, 0, 't' FROM generate_series(1, 10000) AS n;
INSERT INTO joins (step_id, round, policy, keep, expected, done, succeeded, state, deadline_at)
SELECT md5(n::text), 1, 'any', FALSE, 1, 0, 0, 'open', n FROM generate_series(1, 10000) AS n;
"""


@pytest.mark.postgres
def test_of_flows_that_are_due_few_are_looked_up_by_a_server_without_statistics(
    postgres_journal_url: str,
) -> None:
    world, looks = World(postgres_journal_url), list[int]()
    journal = world.journal()
    with world.engine.begin() as c:
        c.execute(text("ALTER TABLE steps SET (autovacuum_enabled = false)"))
        c.execute(text("ALTER TABLE joins SET (autovacuum_enabled = false)"))
        c.execute(text(_SLEEPERS))

    def explain(_: Any, cursor: Any, statement: str, parameters: Any, *__: Any) -> None:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
        (answer,) = cursor.fetchone()
        nodes = _nodes(answer[0]["Plan"])
        looks.extend(n["Actual Loops"] for n in nodes if n.get("Relation Name") == "steps")

    event.listen(world.engine, "before_cursor_execute", explain)
    with world.engine.begin() as c:
        assert len(due.take_flows(c, 8, ["agents"], journal.me.id)) == 8
    assert max(looks) == due._AMONG
    world.close()
