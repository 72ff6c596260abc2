from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import update

from app.journal.schema.models import Slot
from app.journal.schema.transactions import in_transaction
from app.journal.tables import ticks
from app.journal.tables.ticks import take_slot
from tests.unit.app.journal.support import World

LONG_S = 10_000_000.0  # no turn of it ends during a test


def take(world: World, schedule: str = "s", every_s: float = LONG_S, worker: str = "w") -> bool:
    return in_transaction(world.engine, lambda c: take_slot(c, schedule, every_s, worker))


def test_the_first_one_has_the_turn(world: World) -> None:
    assert take(world, worker="first")
    assert not take(world, worker="second")
    row = world.one(Slot)
    assert (row.schedule, row.worker_id) == ("s", "first")


@pytest.mark.parametrize(
    ("seconds", "taken"),
    [
        ((59.99, 60.01), "-"),  # two beats, wherever a minute begins
        ((60.0, 90.0, 120.0), "-+"),  # each beat sends twice a turn
        ((60.0, 89.0, 90.0, 119.0, 120.0, 149.0), "--+--"),  # two beats do
        ((60.0, 100.0, 130.0), "-+"),  # another beat takes over
        ((60.0, 59.9, 104.9, 105.1), "--+"),
        ((60.0, 10.0, 40.0), "+-"),  # the database's clock was set back
        ((60.0, 6_000.0), "+"),
    ],
)
def test_turns_are_told_by_the_time_since_the_last(
    world: World, monkeypatch: pytest.MonkeyPatch, seconds: tuple[float, ...], taken: str
) -> None:
    clock = iter(seconds)
    monkeypatch.setattr(ticks, "read_clock", lambda _: 6_000_000.0 + next(clock))
    assert take(world, every_s=60.0)
    assert [take(world, every_s=60.0) for _ in taken] == [t == "+" for t in taken]


def test_each_schedule_has_its_own(world: World) -> None:
    assert take(world, "a")
    assert take(world, "b")


@pytest.mark.parametrize("first", [True, False])
def test_one_of_many_at_once(world: World, first: bool) -> None:
    if not first:
        assert take(world)
        in_transaction(world.engine, lambda c: c.execute(update(Slot).values(taken_at=1.0)))
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda n: take(world, worker=f"{n}"), range(8))) == 1
