"""Engines that the tests make one after another share what SQLAlchemy learns of a statement."""

from __future__ import annotations

import pytest
from sqlalchemy import create_engine, select

from app.journal.schema.engine import connect, reading, relaxed
from app.journal.schema.models import Step
from tests.support import engines

pytestmark = pytest.mark.databases("both")


def test_a_statement_is_put_together_once(journal_url: str, second_journal_url: str) -> None:
    statement = select(Step.id).where(Step.id == "s", Step.token == 1)
    connect(journal_url).connect().close()  # if it is the first that there is
    one, other = connect(journal_url), connect(second_journal_url)
    with one.connect() as c:
        c.execute(statement).all()
    with other.connect() as c:
        assert c.execute(statement).context.cache_hit is c.dialect.CACHE_HIT
        assert c.execute(select(Step.run_id)).all() == []
    assert other.pool._dialect is not other.dialect  # it tells its own connections apart
    for of in (other, reading(other), relaxed(other)):
        assert of.dialect is one.dialect
    one.dispose()
    other.dispose()


def test_one_that_has_met_no_server_is_no_example(journal_url: str) -> None:
    make = engines._sharing(create_engine)
    first, second = make(journal_url), make(journal_url)
    assert first.dialect is not second.dialect
    second.connect().close()
    assert make(journal_url).dialect is second.dialect
    for one in (first, second):
        one.dispose()
