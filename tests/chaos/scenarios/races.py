"""Four processes race on one PostgreSQL journal, without Celery: more hostile than any load."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import redis
from sqlalchemy import text

from app.journal.retention.cleanup import clean_journal
from app.journal.schema.models import Call, Step
from app.journal.schema.transactions import in_transaction
from celery_agents.contracts.compensation import compensation_id
from deploy.local.state import ROOT
from tests.chaos.agents import CALLS_FILE
from tests.chaos.audit import ended_twice, reckon
from tests.chaos.racer import ASKED, KEPT, OVER, SEED, TOLD_FILE
from tests.chaos.scenario import Numbers, scenario
from tests.chaos.stand import Stand, ToppledError, eventually
from tests.support.forks import Fork
from tests.support.service import CHECKOUT

RACERS = 4
#: Steps that a run has, nested ones and those that undo it counted.
STEPS_OF_A_RUN = 6
#: What is left after the last was asked for ends within these seconds.
END_S = 120.0
_FINAL = "('succeeded', 'failed', 'dead', 'cancelled', 'skipped')"
#: What is cleaned is kept for the audit, by triggers in the transaction that deletes it. A root
#: that this transaction has made is not beside it: it begins its run anew, and deletes what was
#: left of the one before (app/journal/steps/remains.py).
_KEPT = (
    "CREATE TABLE kept_steps AS SELECT *, 0 AS open_beside FROM steps WITH NO DATA",
    "CREATE TABLE kept_calls AS SELECT * FROM calls WITH NO DATA",
    """
    CREATE FUNCTION keep_step() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO kept_steps SELECT OLD.*, (SELECT count(*) FROM steps s
            WHERE s.run_id = OLD.run_id AND s.state IN ('ready', 'running', 'waiting')
                AND s.xmin <> CAST(pg_current_xact_id() AS xid));
        RETURN OLD;
    END $$
    """,
    """
    CREATE FUNCTION keep_call() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO kept_calls SELECT OLD.*;
        RETURN OLD;
    END $$
    """,
    "CREATE TRIGGER keep_step BEFORE DELETE ON steps FOR EACH ROW EXECUTE FUNCTION keep_step()",
    "CREATE TRIGGER keep_call BEFORE DELETE ON calls FOR EACH ROW EXECUTE FUNCTION keep_call()",
)


@scenario("races", journal="postgres")
def races(stand: Stand) -> Numbers:
    """Timers of milliseconds, leases that lapse, nested patterns, compensations, cancels, requeues
    and cleaning, all at once: every run ends, once, as was told."""
    in_transaction(stand.stack.engine, lambda c: [c.exec_driver_sql(s) for s in _KEPT])
    runs = max(RACERS, stand.options.steps // STEPS_OF_A_RUN)
    with _racing(stand, runs // RACERS) as broker:
        try:
            eventually(
                lambda: int(broker.get(ASKED) or 0) >= runs // RACERS * RACERS,
                "all to be asked for",
                timeout_s=120 + 2 * runs,  # generous: a busy machine
            )
            eventually(lambda: not stand.open_steps(), "all to end", timeout_s=END_S)
        except AssertionError as error:
            raise ToppledError(f"stuck: {error}; {stand.states()}", _figures(stand)) from error
    return _figures(stand) | _check(stand)


@contextmanager
def _racing(stand: Stand, runs_each: int) -> Iterator[Any]:
    """The racers, until this is left; then they end by themselves."""
    broker = redis.Redis.from_url(stand.stack.redis_url)
    children = [_racer(stand, n, runs_each) for n in range(RACERS)]
    try:
        yield broker
    finally:
        broker.set(OVER, 1)
        until = time.monotonic() + 30
        while any(c.returncode is None for c in children) and time.monotonic() < until:
            time.sleep(0.05)
        for child in children:
            with suppress(ProcessLookupError):
                child.kill()
        broker.close()


def _racer(stand: Stand, number: int, runs: int) -> Fork:
    directory = stand.stack.directory
    told = {
        CALLS_FILE: str(stand.calls_file),
        TOLD_FILE: str(directory / f"told-{number}"),
        SEED: str(stand.options.seed),
    }
    return Fork(
        [sys.executable, "-m", "tests.chaos.racer", str(number), str(runs)],
        pid_file=directory / f"racer-{number}.pid",
        output=directory / f"racer-{number}.log",
        env=CHECKOUT.environment({**stand.stack.env, **told}),
        cwd=ROOT,
    )


# -- the audit


def _told(stand: Stand) -> list[list[str]]:
    files = sorted(Path(stand.stack.directory).glob("told-*"))
    return [line.split() for file in files for line in file.read_text("utf-8").splitlines()]


def _figures(stand: Stand) -> dict[str, Any]:
    counted = Counter(words[0] for words in _told(stand))
    figures = {k: counted[k] for k in ("asked", "ended", "refused", "cancelled", "requeued")}
    return figures | {"cleaned": _count(stand, "SELECT count(*) FROM kept_steps")}


def _check(stand: Stand) -> dict[str, Any]:
    """All promises that were broken are told, not the first alone."""
    clean_journal(stand.stack.engine, KEPT, batch=100)  # a racer's may have ended half way
    told, rows = _told(stand), _both(stand, "steps", Step)
    deadlocks = _count(
        stand, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    )
    lost = _lost(stand, told)
    twice = ended_twice(_times(stand, "ended"), _times(stand, "reopened"), rows)
    undone = _undone(stand)
    promises: dict[str, Collection[Any]] = {
        "errors": [" ".join(words[1:]) for words in told if words[0] == "error"],
        "runs were lost": lost,
        "steps ended twice": twice,
        "steps were opened again, unasked": _opened(stand, told),
        "ends were told that no row had": _not_so(stand, told),
        "steps are dead with attempts left": [r.id for r in rows if _gave_up_early(r)],
        "steps were cleaned that were not over": _cleaned_alive(stand),
        "members are left without their parents": _orphans(stand),
        "failed runs are not undone": [i for i, done in undone.items() if not done],
        "deadlocks": _in_circles(stand) or range(deadlocks) if deadlocks else (),
    }
    broken = [f"{len(of)} {what}: {list(of)[:2]}" for what, of in promises.items() if of]
    if broken:
        raise ToppledError("; ".join(broken), _figures(stand))
    tokens = {r.id: r.token for r in rows}
    both = _both(stand, "calls", Call)
    calls = reckon(both, stand.counted(), tokens, stand.witness.remade())
    return {
        "steps": len(rows),
        "lost": len(lost),
        "ended_twice": len(twice),
        "stuck": 0,
        "deadlocks": deadlocks,
        "runs_undone": len(undone),
        **calls,
    }


def _in_circles(stand: Stand) -> list[str]:
    """Deadlocks as the server's log tells them: who waited for whom, with which statements."""
    lines = stand.postgres.logs().splitlines() if stand.postgres else []
    found = [n for n, line in enumerate(lines) if "deadlock detected" in line]
    return ["\n".join(lines[n : n + 200]) for n in found]


def _asked(told: list[list[str]]) -> set[str]:
    return {words[1] for words in told if words[0] == "asked"}


def _times(stand: Stand, kind: str) -> Counter[str]:
    return Counter({step_id: n for (step_id, _), n in stand.witness.times(kind).items()})


def _lost(stand: Stand, told: list[list[str]]) -> set[str]:
    return _asked(told) - set(_times(stand, "ended"))


def _opened(stand: Stand, told: list[list[str]]) -> list[str]:
    """Steps that were opened again and that nobody had asked to; what undoes a run may be."""
    undo = {compensation_id(i) for i in _asked(told)}
    requeued = Counter(words[1] for words in told if words[0] == "requeued")
    return [i for i, n in _times(stand, "reopened").items() if i not in undo and n != requeued[i]]


def _not_so(stand: Stand, told: list[list[str]]) -> list[tuple[str, str]]:
    """Ends that somebody was told, or that somebody wrote, and that are no row's."""
    query = text("SELECT step_id, what FROM seen WHERE kind = 'ended'")
    ends = stand.stack.read(lambda c: [(r.step_id, r.what) for r in c.execute(query)])
    seen = Counter(ends)
    said = Counter((words[1], words[2]) for words in told if words[0] == "ended")
    found = {(words[1], words[2]) for words in told if words[0] == "found"}
    return [*(key for key, n in said.items() if n > seen[key]), *(f for f in found if not seen[f])]


def _gave_up_early(row: Any) -> bool:
    kind = ((row.outcome or {}).get("error") or {}).get("kind")
    return bool(row.state == "dead" and kind == "dead" and row.attempts < row.max_attempts)


def _cleaned_alive(stand: Stand) -> list[tuple[Any, ...]]:
    query = text(
        "SELECT id, state, settled, wakes, open_beside, parent_id FROM kept_steps "
        f"WHERE state NOT IN {_FINAL} OR open_beside > 0 "
        "OR (parent_id IS NULL AND NOT settled AND wakes > 0)"
    )
    return stand.stack.read(lambda c: [tuple(row) for row in c.execute(query)])


def _orphans(stand: Stand) -> list[str]:
    query = text(
        "SELECT id FROM steps m WHERE m.parent_id IS NOT NULL "
        "AND NOT EXISTS (SELECT FROM steps p WHERE p.id = m.parent_id)"
    )
    return stand.stack.read(lambda c: list(c.execute(query).scalars()))


def _undone(stand: Stand) -> dict[str, bool]:
    """Failed runs of which something was done: whether there is a step that undoes it."""
    query = text(
        "SELECT r.id FROM runs r JOIN steps s ON s.id = r.id "
        "WHERE r.compensable AND r.state NOT IN ('open', 'succeeded')"
    )
    failed = stand.stack.read(lambda c: list(c.execute(query).scalars()))
    steps = {row.id for row in stand.rows(Step.id)}
    return {i: compensation_id(i) in steps for i in failed}


def _both(stand: Stand, name: str, model: Any) -> list[Any]:
    """Rows of a table, those that were cleaned too."""
    columns = ", ".join(c.name for c in model.__table__.columns)
    query = text(f"SELECT {columns} FROM {name} UNION ALL SELECT {columns} FROM kept_{name}")
    return stand.stack.read(lambda c: list(c.execute(query).all()))


def _count(stand: Stand, query: str) -> int:
    return int(stand.stack.read(lambda c: c.execute(text(query)).scalar_one()))
