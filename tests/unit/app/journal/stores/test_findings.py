from __future__ import annotations

from typing import get_args

import pytest

from app.journal import Journal
from app.journal.stores.findings import Wanting
from tests.unit.app.journal.support import DONE, SOON, World, claimed, ids, refused, step

ASKED = {"grace_s": 10.0, "backoff_max_s": 300.0}


def test_each_kind_of_row_that_wants_a_message_is_found_once(
    world: World, journal: Journal
) -> None:
    other = world.journal("other")
    claimed(other, "orphaned", step("orphaned"))
    world.end_lease(other)
    journal.postpone(claimed(journal, "unwoken", step("unwoken")), delay_s=0).result(SOON)
    journal.finish(claimed(journal, "unsettled", step("unsettled")), DONE).result(SOON)
    world.set("unwoken", wake_at=0.0)
    world.set("unsettled", wake_at=0.0)
    for kind in get_args(Wanting):
        assert ids(journal.findings.wanting(kind, 10, **ASKED)) == [kind]
        assert journal.findings.wanting(kind, 10, **ASKED) == []


def test_one_process_has_the_duty(world: World, journal: Journal) -> None:
    other = world.journal("other")
    assert journal.findings.take_duty(60)
    assert not other.findings.take_duty(60)
    assert 0 < other.findings.duty_left() <= 60
    assert journal.findings.take_duty(0)
    assert other.findings.duty_left() == 0
    assert other.findings.take_duty(60)


@pytest.mark.parametrize("names", [[], ["a"], ["c", "a", "b"]])
def test_what_has_no_row_gets_one(journal: Journal, names: list[str]) -> None:
    assert journal.findings.known(names) == set()
    journal.findings.take_in([step(name) for name in names])
    journal.findings.take_in([step(name) for name in names])  # twice is once
    assert journal.findings.known([*names, "nobody"]) == set(names)
    for name in names:
        assert claimed(journal, name).attempt == 1
    assert refused(journal, "nobody") == "missing"
