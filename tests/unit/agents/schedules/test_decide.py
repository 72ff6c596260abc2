"""Slots that are due: which start a run, wait, or are passed over."""

from __future__ import annotations

import itertools
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.schedules import decide
from agents.schedules.decide import MISSED_S, Dispatch, ScheduleState, dispatch
from celery_agents.contracts.flows.schedules import CatchUp, Overlap, ScheduleRule

#: Slots each 10 seconds from 10 on.
EACH = {"every_s": 10.0}
LATE = MISSED_S + 40.0


def look(now: float, *, next_at: float = 10.0, under_way: bool = False, **rule: Any) -> Dispatch:
    queued = rule.pop("queued", ())
    state = ScheduleState(next_at, 0.0, queued)
    return dispatch(ScheduleRule(**EACH, **rule), state, now, under_way=under_way)


@pytest.mark.parametrize("overlap", get_args(Overlap))
def test_nothing_before_its_time(overlap: Overlap) -> None:
    assert look(9.9, overlap=overlap) == Dispatch((), 10.0)


@pytest.mark.parametrize("overlap", get_args(Overlap))
def test_a_slot_that_is_due_starts_a_run(overlap: Overlap) -> None:
    found = look(11.0, overlap=overlap)
    assert (list(found.starts), found.next_at) == ([10.0], 20.0)
    assert (list(found.queued), found.skipped, found.cancels) == ([], 0, False)


@pytest.mark.parametrize(
    ("overlap", "starts", "queued", "skipped", "cancels"),
    [
        ("skip", [], [], 1, False),
        ("queue", [], [10.0], 0, False),
        ("replace", [], [10.0], 0, True),
        ("allow", [10.0], [], 0, False),
    ],
)
def test_while_a_run_is_under_way(
    overlap: Overlap, starts: list[float], queued: list[float], skipped: int, cancels: bool
) -> None:
    found = look(11.0, overlap=overlap, under_way=True)
    assert (list(found.starts), list(found.queued)) == (starts, queued)
    assert (found.skipped, found.cancels, found.next_at) == (skipped, cancels, 20.0)


@pytest.mark.parametrize(
    ("overlap", "starts", "queued", "skipped"),
    [
        ("skip", [10.0], [], 2),
        ("queue", [10.0], [20.0, 30.0], 0),
        ("replace", [30.0], [], 2),
        ("allow", [10.0, 20.0, 30.0], [], 0),
    ],
)
def test_several_at_once(
    overlap: Overlap, starts: list[float], queued: list[float], skipped: int
) -> None:
    found = look(31.0, overlap=overlap)
    assert (list(found.starts), list(found.queued), found.skipped) == (starts, queued, skipped)


def test_those_that_wait_go_one_after_the_other() -> None:
    found = look(15.0, next_at=20.0, overlap="queue", queued=(1.0, 2.0))
    assert (list(found.starts), list(found.queued)) == ([1.0], [2.0])
    found = look(15.0, next_at=20.0, overlap="queue", queued=(1.0, 2.0), under_way=True)
    assert (list(found.starts), list(found.queued)) == ([], [1.0, 2.0])


def test_of_too_many_that_wait_the_last_are_passed_over() -> None:
    waiting = tuple(float(n) for n in range(decide.QUEUED_MAX))
    found = look(11.0, overlap="queue", queued=waiting, under_way=True)
    assert (tuple(found.queued), found.skipped) == (waiting, 1)


@pytest.mark.parametrize(
    ("catchup", "starts"),
    [("none", []), ("latest", [30.0]), ("all", [10.0, 20.0, 30.0])],
)
def test_what_was_missed(catchup: CatchUp, starts: list[float]) -> None:
    """The slots at 10, 20 and 30 of a schedule that has no more, seen much later."""
    state = ScheduleState(10.0, 0.0)
    rule = ScheduleRule(**EACH, overlap="allow", catchup=catchup)
    now = 39.0
    found = [10.0, 20.0, 30.0]
    kept = decide._kept(found, now + MISSED_S, catchup, more=False)
    assert kept == starts
    assert list(dispatch(rule, state, now, under_way=False).starts) == found  # it is not missed yet


def test_one_in_time_makes_up_for_all_that_were_missed() -> None:
    found = look(10.0 + LATE, overlap="allow", catchup="latest")
    assert list(found.starts) == [*range(50, 111, 10)]
    assert found.skipped == 4
    assert look(10.0 + LATE, overlap="allow", catchup="all").skipped == 0


def test_a_portion_of_many_starts_none_that_was_missed_but_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decide, "SLOTS_MAX", 4)
    rule = ScheduleRule(cron="* * * * *", overlap="allow")
    now, state, portions = 3_600.0 * 5 + 50, ScheduleState(60.0, 0.0), 0
    starts: list[float] = []
    while state.next_at is not None and state.next_at <= now:
        found = dispatch(rule, state, now, under_way=False)
        starts += found.starts
        state = ScheduleState(found.next_at, 0.0)
        portions += 1
    assert starts == [3_600.0 * 5]
    assert portions == 75


@given(
    looks=st.lists(st.tuples(st.floats(0.1, 200), st.booleans()), max_size=12),
    overlap=st.sampled_from(get_args(Overlap)),
    catchup=st.sampled_from(get_args(CatchUp)),
)
def test_each_slot_becomes_one_thing(
    looks: list[tuple[float, bool]], overlap: Overlap, catchup: CatchUp
) -> None:
    """It starts one run, waits, or is passed over; in the order of time, and none is forgotten."""
    rule = ScheduleRule(**EACH, overlap=overlap, catchup=catchup)
    state, now, starts, skipped = ScheduleState(10.0, 0.0), 0.0, list[float](), 0
    for passes, under_way in looks:
        now += passes
        found = dispatch(rule, state, now, under_way=under_way)
        starts += found.starts
        skipped += found.skipped
        assert not (under_way and found.starts) or overlap == "allow"
        assert found.next_at is not None
        assert found.next_at > now
        state = ScheduleState(found.next_at, 0.0, found.queued)
    assert starts == sorted(set(starts))
    all_of_them = itertools.takewhile(lambda at: at <= now, itertools.count(10.0, 10.0))
    assert len(starts) + skipped + len(state.queued) == len([*all_of_them])
