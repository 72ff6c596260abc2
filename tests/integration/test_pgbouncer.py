"""The journal behind PgBouncer, which gives each transaction whichever connection is free."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.integration.harness import FAST, SOON_S, Stack, eventually, lines
from tests.support.pgbouncer import needs_pgbouncer, pooled
from tests.support.postgres import engine

pytestmark = [pytest.mark.databases("postgres"), pytest.mark.postgres, needs_pgbouncer]
#: Fewer than a worker has of its own: each is lent to several.
CONNECTIONS = 3
LEFT = text(
    "SELECT current_setting('synchronous_commit'),"
    " current_setting('default_transaction_read_only'),"
    " current_setting('default_transaction_isolation'), count(*) FROM pg_prepared_statements"
)


@pytest.fixture
def behind(postgres_journal_url: str, redis_url: str, tmp_path: Path) -> Iterator[Stack]:
    with pooled(postgres_journal_url, CONNECTIONS) as url:
        made = Stack(redis_url, f"{url}?pgbouncer=true", tmp_path, FAST)
        yield made
        made.close()


def test_all_goes_on_as_without_it(behind: Stack, counted: Path) -> None:
    """Two workers on fewer connections; one is killed amid its steps."""
    client, first = behind.client, behind.worker()
    behind.worker()
    runs = client.ask.many("noop", [*range(60)])
    vote = client.vote(["yes", "yes", "no"], "is it?")
    mapped = client.map("noop", [*range(40)])
    assert [run.get(timeout=SOON_S) for run in runs] == [*range(60)]
    assert vote.get(timeout=SOON_S).option == "yes"
    assert mapped.get(timeout=SOON_S).succeeded == 40
    slow = client.ask.many("slow", [{"seconds": 1, "path": str(counted), "value": 1}] * 8)
    eventually(lambda: lines(counted).count("begin") >= 6)
    first.kill()
    assert [run.get(timeout=2 * SOON_S) for run in slow] == [1] * 8
    assert behind.calls_made_twice() == 0
    eventually(lambda: not behind.unsettled())


def test_nothing_is_left_on_a_connection(behind: Stack) -> None:
    """Else a commit that has to survive a crash would be on one that was told not to wait."""
    behind.worker()
    runs = behind.client.ask.many("noop", [*range(50)])
    assert [run.get(timeout=SOON_S) for run in runs] == [*range(50)]
    url = behind.database_url.partition("?")[0]
    with engine(url).connect() as connection:
        for _ in range(30):
            assert tuple(connection.execute(LEFT).one()) == ("on", "off", "read committed", 0)
