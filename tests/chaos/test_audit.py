"""The judges of the suite themselves: each broken promise is seen."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import text

from app.journal.schema.engine import connect
from app.journal.schema.transactions import in_transaction
from tests.chaos.audit import ended_twice, reckon
from tests.chaos.witness import Witness


def row(token: int, started: float, finished: float | None = None, **other: Any) -> Any:
    """A row of one call of one step."""
    known = {"step_id": "s", "seq": 0, "idempotency_key": "k", "error": None, **other}
    return SimpleNamespace(token=token, started_at=started, finished_at=finished, **known)


def line(token: int, key: str = "k", step_id: str = "s") -> list[str]:
    return [key, step_id, str(token), "act"]


class TestReckon:
    @pytest.mark.parametrize(
        ("rows", "lines", "in_flight", "paid_twice"),
        [
            ([row(1, 1.0, 2.0)], [line(1)], 0, 0),
            ([row(1, 1.0), row(2, 3.0, 4.0)], [line(1), line(2)], 1, 1),
            ([row(1, 1.0), row(2, 3.0, 4.0)], [line(2)], 1, 0),  # killed before it was made
            ([row(1, 1.0)], [line(1)], 1, 0),  # its step ended otherwise
            ([row(1, 1.0, 5.0), row(2, 3.0, 4.0)], [line(1), line(2)], 1, 1),  # thawed
            ([row(1, 1.0, 2.9), row(2, 3.0, 4.0)], [line(1), line(2)], 1, 1),  # not committed
            ([row(1, 1.0, 2.0, error={}), row(2, 3.0, 4.0)], [line(1), line(2)], 0, 0),
        ],
    )
    def test_counts(
        self, rows: list[Any], lines: list[list[str]], in_flight: int, paid_twice: int
    ) -> None:
        told = reckon(rows, lines, {"s": 2}, [])
        assert told["in_flight_at_a_loss"] == in_flight
        assert told["of_them_paid_twice"] == paid_twice

    @pytest.mark.parametrize(
        ("rows", "lines", "broken"),
        [
            ([row(1, 1.0)], [line(1), line(1)], "more than once"),
            ([row(1, 1.0)], [line(2)], "no row tells of"),
            ([row(1, 1.0), row(2, 2.0, idempotency_key="x")], [], "a key has changed"),
            ([row(1, 1.0), row(1, 1.0, seq=1)], [], "two calls have one key"),
        ],
    )
    def test_broken_promises(self, rows: list[Any], lines: list[list[str]], broken: str) -> None:
        with pytest.raises(AssertionError, match=broken):
            reckon(rows, lines, {"s": 2}, [])

    def test_what_was_made_again(self) -> None:
        with pytest.raises(AssertionError, match="made again"):
            reckon([row(1, 1.0, 2.0), row(2, 3.0)], [line(1), line(2)], {"s": 2}, ["s"])


@pytest.mark.parametrize(
    ("ended", "reopened", "rows", "twice"),
    [
        (1, 0, [("failed", 1)], False),
        (2, 0, [("failed", 1)], True),
        (2, 1, [("failed", 1)], False),
        (2, 0, [("failed", 1), ("cancelled", 0)], False),  # cancelled after it was cleaned
        (3, 0, [("failed", 1), ("cancelled", 0)], True),
        (2, 0, [("failed", 1), ("failed", 1)], True),  # worked on again
        (2, 0, [("failed", 1), ("cancelled", 1)], True),
        (2, 0, [("cancelled", 0)], True),
        (1, 0, [], True),  # of no row at all
    ],
)
def test_a_step_ends_once(
    ended: int, reopened: int, rows: list[tuple[str, int]], twice: bool
) -> None:
    known = [SimpleNamespace(id="s", state=state, attempts=n) for state, n in rows]
    found = ended_twice(Counter(s=ended), Counter(s=reopened), known)
    assert found == (["s"] if twice else [])


class TestWitness:
    @pytest.mark.parametrize(
        ("statements", "broken"),
        [
            (["UPDATE steps SET state = 'succeeded'"] * 2, "ended more than once"),
            (
                ["UPDATE steps SET state = 'failed'", "UPDATE steps SET state = 'ready'"],
                "opened again",
            ),
            (
                ["UPDATE joins SET state = 'fired'", "UPDATE joins SET state = 'open'"] * 2,
                "fired more than once",
            ),
        ],
    )
    def test_broken_promises(
        self, sqlite_journal_url: str, statements: list[str], broken: str
    ) -> None:
        engine = connect(sqlite_journal_url)
        witness = Witness(engine)

        def write(connection: Any) -> None:
            connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
            connection.execute(text(_STEP))
            connection.execute(text(_JOIN))
            for statement in statements:
                connection.execute(text(statement))

        in_transaction(engine, write)
        with pytest.raises(AssertionError, match=broken):
            witness.check()
        engine.dispose()


class TestRemade:
    @pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
    def journal_url(self, request: pytest.FixtureRequest) -> str:
        return str(request.getfixturevalue(f"{request.param}_journal_url"))

    @pytest.mark.parametrize(
        ("first", "remade"),
        [
            ({}, ["s"]),
            ({"token": 2}, []),  # the same claim's
            ({"fingerprint": "other"}, []),
            ({"finished_at": None}, []),  # in flight
            ({"error": "{}"}, []),
        ],
    )
    def test_a_call_that_is_known_and_begun(
        self, journal_url: str, first: dict[str, Any], remade: list[str]
    ) -> None:
        engine = connect(journal_url)
        witness = Witness(engine)
        known = {"token": 1, "seq": 1, "fingerprint": "f", "finished_at": 1, "error": None}

        def write(connection: Any) -> None:
            connection.execute(text(_STEP))
            connection.execute(text(_CALL), known | first)
            connection.execute(text(_CALL), known | {"token": 2, "seq": 0, "finished_at": None})

        in_transaction(engine, write)
        assert witness.remade() == remade
        engine.dispose()


_STEP = """
INSERT INTO steps (id, run_id, position, round, task, queue, priority, state, payload, attempts,
max_attempts, token, ready_at, wake_at, wakes, cancel_requested, settled, created_at)
VALUES ('s', 's', 0, 0, 't', 'q', 5, 'running', '{}', 0, 4, 0, 0, 0, 0, FALSE, FALSE, 0)
"""
_JOIN = """
INSERT INTO joins (step_id, round, policy, keep, expected, done, succeeded, state)
VALUES ('s', 1, 'all', FALSE, 2, 0, 0, 'open')
"""
_CALL = """
INSERT INTO calls (step_id, seq, token, name, fingerprint, idempotency_key, started_at, finished_at,
error) VALUES ('s', :seq, :token, 'act', :fingerprint, 'k', 0, :finished_at, :error)
"""
