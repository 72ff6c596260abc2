"""Harm to the journal: Postgres restarted and cut off, SQLite locked."""

from __future__ import annotations

import subprocess
import sys
import time

from sqlalchemy import make_url, text

from tests.chaos.scenario import Numbers, scenario
from tests.chaos.scenarios.brokers import ask, check, under_way
from tests.chaos.stand import Stand
from tests.integration.harness import FAST
from tests.support.postgres import engine

LOCKED_S = 5
_LOCK = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
connection.execute("ROLLBACK")
"""


@scenario("postgres-restarted", journal="postgres")
def postgres_restarted(stand: Stand) -> Numbers:
    """Restarted in order, then killed with all its backends, each time with work under way."""
    assert stand.postgres is not None
    stand.workers(2, slots=4)
    runs = ask(stand, stand.size(150, 30))
    under_way(stand)
    stand.postgres.restart()
    time.sleep(1)
    stand.postgres.kill()
    time.sleep(1)
    stand.postgres.start()
    began = time.monotonic()
    again = stand.wait_ended(runs)
    return check(stand, runs) | {"sent_again": again, "ended_after_s": time.monotonic() - began}


@scenario("postgres-cut", journal="postgres")
def postgres_cut(stand: Stand) -> Numbers:
    """Every connection to the journal is ended, again and again."""
    assert stand.postgres is not None
    stand.workers(2, slots=4)
    runs = ask(stand, stand.size(150, 30))
    under_way(stand)
    name = make_url(stand.stack.database_url).database
    cut = 0
    with engine(stand.postgres.admin).connect() as admin:
        for _ in range(8):
            query = text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
            )
            cut += len(admin.execute(query, {"name": name}).all())
            time.sleep(0.4)
    assert cut >= 8, "nothing was cut"
    stand.stack.engine.dispose()
    again = stand.wait_ended(runs)
    return check(stand, runs) | {"connections_cut": cut, "sent_again": again}


@scenario("sqlite-locked", journal="sqlite", settings={**FAST, "AGENTS_DATABASE_TIMEOUT_S": "1"})
def sqlite_locked(stand: Stand) -> Numbers:
    """Another process holds the write lock for longer than writes and leases wait."""
    workers = stand.workers(2, slots=4)
    runs = ask(stand)
    under_way(stand)
    path = str(make_url(stand.stack.database_url).database)
    locker = subprocess.Popen(
        [sys.executable, "-c", _LOCK, path, str(LOCKED_S)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert locker.stdout is not None
        assert locker.stdout.readline() == "locked\n"
        locker.wait()
    finally:
        locker.kill()
    again = stand.wait_ended(runs)
    missed = sum(w.logs().count("Heartbeat missed") for w in workers)
    return check(stand, runs) | {"heartbeats_missed": missed, "sent_again": again}
