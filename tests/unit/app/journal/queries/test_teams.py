from __future__ import annotations

from app.journal import Journal
from app.journal.queries import teams
from app.journal.schema.engine import reading
from app.journal.schema.transactions import in_transaction
from tests.unit.app.journal.support import SOON, World, expand, plan


def test_none_is_told_before_whoever_asked_for_it(world: World, journal: Journal) -> None:
    """Two ways to write a row tell its time a moment apart."""
    first, _ = expand(journal, "p", plan("a", "b"))
    below = journal.expand(first, plan("c", "d")).result(SOON).members
    for member, at in zip(below, (3.0, 1.0), strict=True):
        world.set(member.id, created_at=at)
    found = in_transaction(reading(journal.engine), lambda c: teams.below(c, "p"))
    assert [one.depth for one in found] == [0, 0, 1, 1]
    assert found[0].id == first.id
    assert [one.id for one in found[2:]] == [member.id for member in below]
