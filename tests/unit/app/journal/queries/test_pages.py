"""The pulse of a run: what changes it, and when it is over, on both databases."""

from __future__ import annotations

from typing import Any

import pytest

from app.journal import Journal
from app.journal.queries import pages
from app.journal.queries.pages import Pulse
from tests.unit.app.journal.support import DONE, SOON, World, claimed, expand, plan, step


def pulse(journal: Journal, run_id: str) -> Pulse:
    found: Pulse = journal.read(lambda c: pages.pulse(c, run_id))
    return found


def finish(journal: Journal, taken: Any) -> None:
    journal.finish(taken, DONE).result(SOON)


def test_each_thing_that_is_shown_changes_it(world: World, journal: Journal) -> None:
    dead = world.journal("worker@dead")
    taken = claimed(dead, "r", step("r"))
    seen = [pulse(journal, "r")]

    def changed() -> bool:
        seen.append(pulse(journal, "r"))
        return seen[-1].figures != seen[-2].figures and not seen[-1].ended

    dead.start_call(taken, 0, "pay", "f", "k").result(SOON)
    assert changed()
    dead.finish_call(taken, 0, {"value": 1}).result(SOON)
    assert changed()
    assert pulse(journal, "r") == seen[-1]
    world.end_lease(dead)
    assert changed()


@pytest.mark.parametrize("members", [3, 12])
def test_it_ends_with_its_last_step(
    world: World, journal: Journal, members: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the run is shown whole or not."""
    monkeypatch.setattr(pages, "WHOLE_MAX", 6)
    taken = expand(journal, "r", plan(*map(str, range(members))))
    for one in taken[:-1]:
        finish(journal, one)
    assert not pulse(journal, "r").ended
    finish(journal, taken[-1])
    assert not pulse(journal, "r").ended
    finish(journal, claimed(journal, "r"))
    assert pulse(journal, "r").ended


def test_a_root_that_ended_before_its_members_is_not_the_end(
    world: World, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "WHOLE_MAX", 2)
    expand(journal, "r", plan("a", "b", "c"))
    world.set("r", state="cancelled")
    assert not pulse(journal, "r").ended


def test_a_step_of_a_run_has_a_pulse_of_its_own(world: World, journal: Journal) -> None:
    (taken,) = expand(journal, "r", plan("a"))
    assert pulse(journal, taken.id).figures
    assert not pulse(journal, taken.id).ended
    finish(journal, taken)
    assert pulse(journal, taken.id).ended
    assert not pulse(journal, "r").ended
    assert pulse(journal, "none") == Pulse(ended=False, figures=())
