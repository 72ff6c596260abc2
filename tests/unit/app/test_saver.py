"""LangGraph's checkpointer on the journal: by LangGraph's own conformance suite."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

pytest.importorskip("langgraph.checkpoint.conformance", reason="needs the extra langgraph")

from langgraph.checkpoint.conformance import checkpointer_test, validate

from app.journal.stores.graphs import GraphStore
from app.saver import JournalSaver

pytestmark = pytest.mark.databases("one")


@pytest.fixture
def saver(database_url: str, monkeypatch: pytest.MonkeyPatch) -> JournalSaver:
    monkeypatch.setenv("DATABASE_URL", database_url)
    return JournalSaver()


def test_conforms_to_langgraphs_suite(saver: JournalSaver) -> None:
    @checkpointer_test(name="JournalSaver")
    async def made() -> AsyncIterator[JournalSaver]:
        yield saver

    report = asyncio.run(validate(made))
    failures = [str(f) for result in report.results.values() for f in result.failures or ()]
    assert not failures, "\n".join(failures)
    assert all(result.detected for result in report.results.values()), "a capability is missing"
    passed = sum(result.tests_passed for result in report.results.values())
    assert passed == 81


def test_savers_of_a_process_share_its_journal(saver: JournalSaver) -> None:
    first, second = saver._lines(), JournalSaver("acme")._lines()
    assert isinstance(first, GraphStore)
    assert isinstance(second, GraphStore)
    assert first._engine is second._engine
    assert str(first._engine.url.database) in os.environ["DATABASE_URL"]
