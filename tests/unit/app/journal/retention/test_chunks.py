from __future__ import annotations

import random
import time
from collections.abc import Callable
from itertools import count
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Table, func, insert, select

from app.journal.retention.chunks import Pace, delete_portion
from app.journal.schema.engine import now
from app.journal.schema.models import Event
from tests.unit.app.journal.support import World

LOCK_S = 0.1
EVENTS = cast("Table", Event.__table__)


@given(st.lists(st.tuples(st.floats(0.0001, 10), st.integers(1, 5000))), st.integers(1, 5000))
def test_the_pace_stays_within_bounds(portions: list[tuple[float, int]], size: int) -> None:
    pace = Pace(size, LOCK_S)
    for took, rows in portions:
        before = pace.size
        pace.took(took, min(rows, before))
        assert 1 <= pace.size <= 5000
        assert pace.size <= 2 * before
        if took > 0.05:
            assert pace.size < before or before == 1
        elif rows < before and took < 0.025:
            assert pace.size == before


@pytest.mark.parametrize("start", [1, 500])
def test_the_pace_finds_the_size(start: int) -> None:
    """When a row takes a millisecond, 25 of them take a quarter of what is allowed."""
    pace = Pace(start, LOCK_S)
    for _ in range(12):
        pace.took(pace.size * 0.001, pace.size)
    assert pace.size == 25


def rows_that_grow(_: random.Random) -> Callable[[int], float]:
    return lambda portion: 20e-6 * 1.02 ** min(portion, 150)


def a_disk_that_has_company(rng: random.Random) -> Callable[[int], float]:
    return lambda _: rng.uniform(20e-6, 60e-6)


def a_cold_cache(_: random.Random) -> Callable[[int], float]:
    """Ten times as slow from one portion to the next, every now and then."""
    return lambda portion: 200e-6 if portion // 15 % 2 else 20e-6


@pytest.mark.parametrize("world", [rows_that_grow, a_disk_that_has_company, a_cold_cache])
def test_by_the_clock_no_lock_is_held_too_long(
    world: Callable[[random.Random], Callable[[int], float]],
) -> None:
    """By a clock that advances by the rows' cost, beside a fixed one; a cut off at 0.6."""
    cost = world(random.Random(7))
    pace, clock, left, held = Pace(100, LOCK_S), 0.0, 100_000, list[float]()
    for portion in count():
        rows = min(pace.size, left)
        seconds = 0.002 + rows * cost(portion)
        cut = seconds > 0.6 * LOCK_S
        held.append(min(seconds, 0.6 * LOCK_S))
        clock += held[-1]
        pace.took(held[-1], rows, cut_off=cut)
        left -= 0 if cut else rows
        if not left:
            break
    assert max(held) <= 0.6 * LOCK_S
    assert sum(h >= 0.6 * LOCK_S for h in held) <= len(held) / 15  # cutting off is for surprises
    assert clock < 60  # it does go on


def fill(world: World, rows: int) -> list[int]:
    with world.engine.begin() as c:
        row = {"run_id": "r", "step_id": "s", "at": now(), "kind": "k"}
        c.execute(insert(Event).values(row))
        for _ in range(rows.bit_length() - 1):  # doubled
            c.execute(
                insert(Event).from_select(
                    ["run_id", "step_id", "at", "kind"],
                    select(Event.run_id, Event.step_id, Event.at, Event.kind),
                )
            )
        return list(c.execute(select(Event.id)).scalars())


def left(world: World) -> int:
    with world.engine.connect() as c:
        return c.execute(select(func.count()).select_from(Event)).scalar_one()


class TestDeleting:
    def test_a_portion(self, world: World) -> None:
        ids = fill(world, 64)
        portion = delete_portion(world.engine, EVENTS, ids[:40], 10.0)
        assert portion.deleted == 40
        assert 0 < portion.held_s < 10
        assert left(world) == 24

    def test_too_slow_nothing_is_gone_and_the_lock_is_free(self, world: World) -> None:
        ids = fill(world, 16_384)
        began = time.monotonic()
        portion = delete_portion(world.engine, EVENTS, ids, 0.003)
        assert portion.deleted == 0
        assert portion.held_s <= time.monotonic() - began
        assert left(world) == len(ids)
        assert delete_portion(world.engine, EVENTS, ids[:2], 10.0).deleted == 2

    def test_a_single_row_has_its_time(self, world: World) -> None:
        ids = fill(world, 2)
        assert delete_portion(world.engine, EVENTS, ids[:1], 1e-9).deleted == 1
        assert left(world) == 1

    @pytest.mark.databases("postgres")
    def test_limits_do_not_outlive_it(self, world: World) -> None:
        """The connection goes back to the others."""
        delete_portion(world.engine, EVENTS, fill(world, 16_384), 0.003)
        with world.engine.begin() as c:
            assert c.execute(EVENTS.delete()).rowcount == 16_384
            if world.engine.dialect.name == "postgresql":
                assert c.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
