from __future__ import annotations

import pytest

from app.journal import Journal
from app.journal.schema import migrate
from app.journal.stores.archive import Archive
from tests.unit.app.journal.support import DONE, SOON, World, claimed, step


@pytest.fixture
def archive(world: World) -> Archive:
    return Archive(world.engine)


@pytest.mark.parametrize("ended", [False, True])
def test_runs(journal: Journal, archive: Archive, *, ended: bool) -> None:
    claim = claimed(journal, "s", step())
    if ended:
        journal.finish(claim, DONE).result(SOON)
    assert (archive.has_run("s"), archive.has_run("nobody")) == (True, False)
    assert archive.run_tree("s") == journal.run_tree("s")
    assert archive.run_tree("nobody") is None
    after = archive.cancel("s", journal.rules)
    assert after.applied is not ended
    assert after.cancels == ([] if ended else ["s"])


def test_events(journal: Journal, archive: Archive) -> None:
    claimed(journal, "s", step())
    journal.note("s", "s", "failover", [{"to": "b"}])
    assert [(e["kind"], e["data"]) for e in archive.events("s")] == [("failover", {"to": "b"})]
    assert archive.events("nobody") == []


def test_what_there_is(journal: Journal, archive: Archive) -> None:
    assert archive.revision() == migrate.head()
    assert archive.agents() == []
    journal.announce([{"name": "a", "kind": "function", "description": "", "effects": "pure"}])
    assert [row["name"] for row in archive.agents()] == ["a"]
