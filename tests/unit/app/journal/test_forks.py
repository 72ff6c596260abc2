"""A fork waits for the transaction that is under way: SQLite's locks do not survive it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from sqlalchemy import text

from app.journal.schema.engine import connect, reading
from app.journal.schema.transactions import in_transaction


def test_no_fork_amid_a_transaction(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'journal.db'}"
    engine = connect(url)
    in_transaction(engine, lambda c: c.execute(text("CREATE TABLE t (a)")))
    begun, end = threading.Event(), threading.Event()

    def slow(connection: object) -> None:
        connection.execute(text("INSERT INTO t VALUES (1)"))  # type: ignore[attr-defined]  # a connection
        begun.set()
        end.wait(10)

    writer = threading.Thread(target=in_transaction, args=(engine, slow))
    writer.start()
    assert begun.wait(10)
    threading.Timer(0.3, end.set).start()
    child = os.fork()  # waits for the writer
    if child == 0:
        code = 1
        try:  # another connection, as a child makes its own
            in_transaction(
                connect(url, timeout_s=2), lambda c: c.execute(text("INSERT INTO t VALUES (2)"))
            )
            code = 0
        finally:
            os._exit(code)
    assert end.is_set()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    writer.join(10)
    rows = in_transaction(engine, lambda c: c.execute(text("SELECT a FROM t ORDER BY a")).all())
    assert [row.a for row in rows] == [1, 2]
    engine.dispose()


def test_no_fork_amid_a_reading_which_waits_for_no_writer(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path / 'journal.db'}")
    in_transaction(engine, lambda c: c.execute(text("CREATE TABLE t (a)")))
    begun, end = threading.Event(), threading.Event()

    def slow(connection: object) -> None:
        connection.execute(text("SELECT * FROM t"))  # type: ignore[attr-defined]  # a connection
        begun.set()
        end.wait(10)

    def amid_a_writing(connection: object) -> None:
        connection.execute(text("INSERT INTO t VALUES (1)"))  # type: ignore[attr-defined]
        reader = threading.Thread(target=in_transaction, args=(reading(engine), slow))
        reader.start()
        assert begun.wait(10)

    in_transaction(engine, amid_a_writing)
    threading.Timer(0.3, end.set).start()
    child = os.fork()  # waits for the reader
    if child == 0:
        os._exit(0 if end.is_set() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    engine.dispose()
