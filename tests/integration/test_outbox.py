"""Runs that are started by the commit of somebody else's transaction, with real workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from celery_agents import Outbox
from tests.integration.harness import SOON_S, Stack, eventually, lines
from tests.integration.test_flows import lasting

__all__ = ["lasting"]

pytestmark = pytest.mark.databases("both")


def test_a_worker_starts_what_is_committed_and_nothing_else(lasting: Stack, tmp_path: Path) -> None:
    worker, path = lasting.worker(), tmp_path / "lines"
    theirs = create_engine(lasting.database_url)
    with theirs.begin() as connection:
        connection.execute(text("CREATE TABLE orders (id integer PRIMARY KEY)"))

    def order(number: int, *, commit: bool) -> Any:
        told: Any = {"path": str(path), "value": number}
        with theirs.connect() as connection:
            connection.execute(text("INSERT INTO orders VALUES (:id)"), {"id": number})
            run = Outbox(connection, lasting.client).ask("noted", told, id=f"order-{number}")
            if commit:
                connection.commit()
        return run

    order(1, commit=False)
    assert order(2, commit=True).get(timeout=SOON_S) == 2
    worker.kill()
    order(3, commit=False)
    last = order(4, commit=True)  # no worker is up, and nothing was sent
    lasting.worker()
    assert last.get(timeout=SOON_S) == 4
    eventually(lambda: sorted(lines(path)) == ["2", "4"])
    with theirs.connect() as connection:
        assert list(connection.execute(text("SELECT id FROM orders ORDER BY id")).scalars()) == [
            2,
            4,
        ]
    theirs.dispose()
