"""The audit's chain on both databases: what is written, what is found when somebody changes it."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Iterator
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.journal.schema.engine import connect
from app.journal.stores import audit as audit_log
from app.journal.stores.audit import AuditLog
from app.journal.tables import audit
from app.journal.tables.audit import Act
from app.journal.tables.proving import verified
from celery_agents.errors import JournalUnavailableError
from tests.support.apart import apart
from tests.support.drawn import costly
from tests.unit.app.journal.support import World

ENTRIES = 40


@pytest.fixture
def log(world: World, tmp_path: Path) -> Iterator[AuditLog]:
    made = AuditLog(world.engine, tmp_path / "anchor")
    change(world, "DELETE FROM audit", "DELETE FROM audit_head")  # the upgrade is an act, too
    yield made
    made.close()


@pytest.fixture
def filled(log: AuditLog) -> AuditLog:
    for begin in range(0, ENTRIES, 4):
        log.write([Act("anna", "run.cancel", f"r{begin + n}", data={"n": n}) for n in range(4)])
    return log


def found(log: AuditLog) -> list[tuple[str, int, int]]:
    return [(one.kind, one.seq, one.last) for one in log.verify()]


def change(world: World, *statements: str) -> None:
    with world.engine.begin() as c:
        for statement in statements:
            c.execute(text(statement))


#: By what somebody does who can write to the database: statements, and what is found.
ANCHORED = "an end kept elsewhere"
COPY = "INSERT INTO audit SELECT {to}, at, actor, tenant, action, target, data, data_digest, hash"
CHANGES: dict[str, tuple[list[str], list[tuple[str, int, int]]]] = {
    "nothing": ([], []),
    "an actor": (["UPDATE audit SET actor = 'bob' WHERE seq = 5"], [("changed", 5, 5)]),
    "a time": (["UPDATE audit SET at = at + 1 WHERE seq = 1"], [("changed", 1, 1)]),
    "data": (["UPDATE audit SET data = '[]' WHERE seq = 6"], [("changed", 6, 6)]),
    "data and digest": (
        [f"UPDATE audit SET data = '[]', data_digest = '{audit.digest('[]')}' WHERE seq = 6"],
        [("changed", 6, 6)],
    ),
    "one deleted": (["DELETE FROM audit WHERE seq = 7"], [("deleted", 7, 7)]),
    "the first ones deleted": (["DELETE FROM audit WHERE seq < 4"], [("deleted", 1, 3)]),
    "two swapped": (
        [
            "UPDATE audit SET seq = 0 WHERE seq = 8",
            "UPDATE audit SET seq = 8 WHERE seq = 20",
            "UPDATE audit SET seq = 20 WHERE seq = 0",
        ],
        [("changed", 8, 8), ("changed", 9, 9), ("changed", 20, 20), ("changed", 21, 21)],
    ),
    "one inserted, the others moved": (
        [
            "UPDATE audit SET seq = -seq WHERE seq > 30",
            "UPDATE audit SET seq = 1 - seq WHERE seq < 0",
            COPY.format(to=31) + " FROM audit WHERE seq = 30",
        ],
        [("changed", at, at) for at in range(31, 42)] + [("inserted", 41, 41)],
    ),
    "one behind the end": (
        [COPY.format(to=41) + " FROM audit WHERE seq = 40"],
        [("changed", 41, 41), ("inserted", 41, 41)],
    ),
    "the tail cut": (["DELETE FROM audit WHERE seq > 37"], [("cut", 38, 40)]),
    f"the tail cut, the end set back, {ANCHORED}": (
        [
            "DELETE FROM audit WHERE seq > 36",
            "UPDATE audit_head SET seq = 36, hash = (SELECT hash FROM audit WHERE seq = 36)",
        ],
        [("cut", 37, 40)],
    ),
    f"all of it, {ANCHORED}": (["DELETE FROM audit", "DELETE FROM audit_head"], [("cut", 1, 40)]),
    "the end": (["UPDATE audit_head SET hash = 'x'"], [("changed", 40, 40)]),
    "data taken away": (["UPDATE audit SET data = NULL WHERE seq = 9"], [("emptied", 9, 9)]),
    "all data taken away": (["UPDATE audit SET data = NULL"], [("emptied", 1, 40)]),
    "one before the first": (
        [COPY.format(to=0) + " FROM audit WHERE seq = 1"],
        [("inserted", 0, 0)],
    ),
    "one far before the first": (
        [COPY.format(to=-7) + " FROM audit WHERE seq = 40"],
        [("inserted", -7, -7)],
    ),
    "one moved before the first": (
        ["UPDATE audit SET seq = -3 WHERE seq = 3"],
        [("deleted", 3, 3), ("inserted", -3, -3)],
    ),
    "the end under another number": (
        ["UPDATE audit_head SET one = 2"],
        [("doubled", 40, 40), ("inserted", 1, 40)],
    ),
    "another end": (["INSERT INTO audit_head VALUES (2, 1, 'x')"], [("doubled", 40, 40)]),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_somebody_changed_is_found(filled: AuditLog, world: World, what: str) -> None:
    statements, wanted = CHANGES[what]
    change(world, *statements)
    log = filled if ANCHORED in what else AuditLog(world.engine)
    assert sorted(set(found(log))) == sorted(wanted)


@pytest.mark.parametrize("seq", [7, 20])
@pytest.mark.databases("both")
def test_an_entry_that_stands_there_twice_is_found(
    log: AuditLog, world: World, seq: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may change the table may take its primary key away; at an end of a page, too."""
    monkeypatch.setattr(audit_log, "PAGE", 20)
    log.write([Act("anna", "a", str(n)) for n in range(ENTRIES)])
    if world.engine.dialect.name == "sqlite":
        change(world, "CREATE TABLE kept AS SELECT * FROM audit", "DROP TABLE audit")
        change(world, "ALTER TABLE kept RENAME TO audit")
    else:
        change(world, "ALTER TABLE audit DROP CONSTRAINT pk_audit")
    try:
        change(world, COPY.format(to=seq) + f" FROM audit WHERE seq = {seq}")
        assert found(AuditLog(world.engine))
    finally:
        key = "ADD CONSTRAINT pk_audit PRIMARY KEY (seq)"
        if world.engine.dialect.name != "sqlite":  # its tables serve other tests, too
            change(world, "DELETE FROM audit", f"ALTER TABLE audit {key}")


def rewrite(world: World) -> None:
    """Change an entry, and make the chain behind it anew, as who knows how it is made can."""
    with world.engine.begin() as c:
        rows = [dict(row._mapping) for row in audit.page(c, None, 1000)]
        before = ""
        for row in rows:
            if row["seq"] == 10:
                row["actor"] = "bob"
            before = row["hash"] = audit.link(before, row)
            c.execute(text("UPDATE audit SET actor = :actor, hash = :hash WHERE seq = :seq"), row)
        c.execute(text("UPDATE audit_head SET hash = :hash"), {"hash": before})


def test_a_chain_that_is_made_anew_is_seen_by_what_was_kept_elsewhere(
    filled: AuditLog, world: World, tmp_path: Path
) -> None:
    rewrite(world)
    assert found(AuditLog(world.engine)) == []  # as docs/security.md says
    told = found(filled)
    assert told[0] == ("rewritten", 12, 12)
    assert len(told) == 8
    other = list(AuditLog(world.engine).verify([tmp_path / "anchor"]))
    assert [one.seq for one in other] == [seq for _, seq, _ in told]


def test_data_may_be_erased(filled: AuditLog, world: World) -> None:
    with world.engine.begin() as c:
        assert audit.erase(c, days=1) == 0
        assert audit.erase(c, days=-1) == ENTRIES
        assert audit.erase(c, days=-1) == 0
    assert found(filled) == []
    told, last = filled.newest(2)
    assert (told["action"], told["target"], last["data"]) == ("audit.erase", "1-40", None)
    filled.write([Act("anna", "later")])
    assert found(filled) == []
    change(world, "UPDATE audit SET data = NULL WHERE seq > 40")
    assert found(filled) == [("changed", 41, 41), ("emptied", 42, 42)]
    change(world, "DELETE FROM audit WHERE seq = 41")
    assert ("emptied", 1, 40) in found(filled)


def test_an_erasure_names_the_entries_that_it_erased_and_no_others(
    filled: AuditLog, world: World
) -> None:
    """Of some that stand between, as of a clock that went back, the data stay, and are proven."""
    days = 86_400 * 10
    rows: list[dict[str, Any]] = []
    with world.engine.begin() as c:
        before = ""
        for row in map(dict, (r._mapping for r in audit.page(c, None, 100))):
            row["at"] -= 0 if row["seq"] in {5, 6, 30} else days
            before = row["hash"] = audit.link(before, row)
            rows.append(row)
        for row in rows:
            c.execute(text("UPDATE audit SET at = :at, hash = :hash WHERE seq = :seq"), row)
        c.execute(text("UPDATE audit_head SET hash = :hash"), {"hash": before})
        assert audit.erase(c, days=9) == 37
    log = AuditLog(world.engine)
    assert found(log) == []
    assert [entry["target"] for entry in log.newest(3)] == ["31-40", "7-29", "1-4"]
    change(world, "UPDATE audit SET data = NULL WHERE seq IN (6, 30)")
    assert found(log) == [("emptied", 6, 6), ("emptied", 30, 30)]


@pytest.mark.parametrize("target", ["1-43", "1-99", "-", "a-b", "40-1", "", "1"])
def test_no_other_entry_explains_that_data_are_gone(
    filled: AuditLog, world: World, target: str
) -> None:
    """One that names itself or later ones, or no entries."""
    filled.write([Act("anna", audit.ERASURE, target), Act("anna", "a"), Act("anna", "a")])
    change(world, "UPDATE audit SET data = NULL WHERE seq = 3")
    assert found(filled) == [("emptied", 3, 3)]


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=64)
NUMBERS = st.integers(-(2**63), 2**63 - 1)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "seq": st.integers(-5, 60) | NUMBERS,
    "at": st.floats() | st.floats(0, 2e9),
    "data": st.none() | TEXTS | st.just("{}"),
    **dict.fromkeys(("actor", "tenant", "action", "target", "data_digest", "hash"), TEXTS),
    "action": TEXTS | st.just(audit.ERASURE),
    "target": TEXTS | st.sampled_from(["1-20", "1-40", "21-41", "9-9"]),
}
HEAD = {"one": st.integers(-(2**31), 2**31 - 1), "seq": NUMBERS | st.integers(0, 50), "hash": TEXTS}
#: SQLite keeps any type in any column.
ODD = st.binary(max_size=8) | st.floats(allow_nan=False) | NUMBERS


@settings(
    max_examples=costly(100, part=4), suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(drawn=st.data())
@pytest.mark.databases("both")
def test_any_edit_of_any_column_is_found(filled: AuditLog, world: World, drawn: Any) -> None:
    """Of entries whose data were erased, of the erasure, of others, and of the end."""
    lite = world.engine.dialect.name == "sqlite"
    with world.engine.begin() as c:
        if audit.end(c) == audit.End(ENTRIES, filled.newest(1)[0]["hash"]):
            audit.erase(c, days=-1)
            audit.add(c, [Act("anna", "a", str(n), data={"n": n}) for n in range(5)])
    where = drawn.draw(st.integers(0, 46))
    name = drawn.draw(st.sampled_from(sorted(VALUES if where else HEAD)))
    value = drawn.draw(VALUES[name] if where else HEAD[name])
    if lite and (name == "one" or drawn.draw(st.booleans())):
        value = drawn.draw(ODD) if name != "one" else value
    table, row = ("audit", f"seq = {where}") if where else ("audit_head", "one = 1")
    with world.engine.connect() as c:
        try:
            before = c.execute(text(f"SELECT {name} FROM {table} WHERE {row}")).scalar_one()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                c.execute(text(f"UPDATE {table} SET {name} = :value WHERE {row}"), {"value": value})
        except (DBAPIError, OverflowError):  # the database keeps its own rules
            reject()
        after = c.execute(
            text(
                f"SELECT count(*) FROM {table} WHERE {name} IS NOT DISTINCT FROM :value AND {row}"
            ),
            {"value": before},
        ).scalar_one()
        told = list(
            verified(
                audit.page(c, None, 1000),
                audit.end(c),
                lambda: audit.end(c),
                [],
                partial(audit.counted, c),
            )
        )
        c.rollback()
    assert bool(told) != bool(after)


def test_no_secret_and_no_long_text_is_written_down(log: AuditLog) -> None:
    key = "sk-proj-0123456789abcdefghijklmnopqrstuvwx"
    log.record(Act(f"anna {key}", "run.approve", "r" * 900, data={"choice": [key, "y" * 9_000]}))
    (entry,) = log.newest(5)
    assert key not in str(entry)
    assert len(entry["target"]) == 200
    assert len(entry["data"]) < 1_000
    assert found(log) == []


@pytest.mark.parametrize("odd", ["\x00", "\ud800", "é" * 300, "\n"])
def test_odd_texts_are_taken(log: AuditLog, odd: str) -> None:
    log.record(Act(odd, "a", odd, data={odd: odd, "f": 0.1 + 0.2, "n": 2**70}))
    assert found(log) == []


def test_an_anchor_that_cannot_be_written_stops_nothing(world: World, tmp_path: Path) -> None:
    log = AuditLog(world.engine, tmp_path / "nowhere" / "anchor")
    log.write([Act("anna", "a")])
    assert log.end() is not None


def test_nothing_is_begun_before_somebody_acts(log: AuditLog) -> None:
    assert log._batches is None
    assert log.end() is None
    assert found(log) == []


def test_a_file_of_ends_that_is_gone_is_told(filled: AuditLog, tmp_path: Path) -> None:
    (tmp_path / "anchor").unlink()
    assert found(filled) == [("unanchored", 1, ENTRIES)]


#: Of each thread, each of fifty entries.
WRITES = costly(25)


def writes(url: str, anchor: Path, name: str, begin: Barrier, times: int) -> None:
    """Write as one of several processes that begin at once."""
    log = AuditLog(connect(url), anchor)
    log.end()
    begin.wait()

    def work(n: int) -> None:
        for k in range(times):
            log.write([Act(name, "run.create", f"r{n}-{k}-{i}") for i in range(50)])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()


def test_four_processes_make_one_chain(log: AuditLog, journal_url: str, tmp_path: Path) -> None:
    begin = apart.Barrier(5)
    about = [(journal_url, tmp_path / "anchor", f"p{n}", begin, WRITES) for n in range(4)]
    processes = [apart.Process(target=writes, args=args) for args in about]
    for process in processes:
        process.start()
    begin.wait(60)
    began = time.monotonic()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 4
    took_s = time.monotonic() - began
    end = log.end()
    assert end is not None
    assert end.seq == 4 * 2 * WRITES * 50
    assert found(log) == []
    assert len((tmp_path / "anchor").read_text().splitlines()) == 4 * 2 * WRITES
    assert took_s < 60  # 5 s are wanted, of a machine that does nothing else


def test_what_many_threads_write_goes_together(log: AuditLog, world: World) -> None:
    threads = [
        threading.Thread(target=lambda n=n: log.record(Act("anna", "a", str(n)))) for n in range(50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {entry["target"] for entry in log.newest(100)} == {str(n) for n in range(50)}
    assert found(log) == []


def test_what_comes_while_another_process_holds_the_chain_goes_together(
    log: AuditLog, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in a transaction of its own: each of them waits for the disk, and for all others."""
    log.write([Act("anna", "a", "first")])
    written: list[int] = []
    add = audit.append

    def counted(*args: Any) -> Any:
        end = add(*args)
        written.append(len(args[1]))
        return end

    monkeypatch.setattr(audit, "append", counted)
    other = connect(world.url)
    with other.begin() as holder:
        audit._hold(holder)
        threads = [
            threading.Thread(target=log.record, args=(Act("anna", "a", str(n)),)) for n in range(50)
        ]
        threads[0].start()
        while not log._writing()._performing.locked():
            time.sleep(0.001)
        for thread in threads[1:]:
            thread.start()
        while log._writing()._queue.qsize() < 49:
            time.sleep(0.001)
    for thread in threads:
        thread.join()
    other.dispose()
    assert written == [50]
    assert found(log) == []


def test_all_hear_of_it_when_a_batch_cannot_be_written(
    log: AuditLog, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also who came last; and the next one is written."""

    def fails(connection: Any, entries: list[Any], more: Any) -> Any:
        entries.extend(more())
        raise JournalUnavailableError("The disk is full.")

    with monkeypatch.context() as patched:
        patched.setattr(audit, "append", fails)
        with pytest.raises(JournalUnavailableError):
            log.record(Act("anna", "a"))
    log.record(Act("anna", "a", "next"))
    assert [one["target"] for one in log.newest(5)] == ["next"]
    assert found(log) == []
