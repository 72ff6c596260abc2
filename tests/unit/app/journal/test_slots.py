from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from app.journal import slots
from app.journal.models import Slot
from app.journal.slots import take_slot
from app.journal.writer import in_transaction
from tests.unit.app.journal.support import World

LONG_S = 10_000_000.0  # no turn of it ends during a test, but for one moment in four months


def take(world: World, schedule: str = "s", every_s: float = LONG_S, worker: str = "w") -> bool:
    return in_transaction(world.engine, lambda c: take_slot(c, schedule, every_s, worker))


def test_the_first_one_has_the_turn(world: World) -> None:
    assert take(world, worker="first")
    assert not take(world, worker="second")
    row = world.one(Slot, Slot.slot % 2 == 0)
    assert (row.schedule, row.worker_id) == ("s", "first")
    assert row.slot == 2 * int(row.taken_at // LONG_S)


@pytest.mark.parametrize(
    ("first", "second", "taken"),
    [
        (59.99, 60.01, False),  # two clocks, or two beats, at a border
        (60.01, 59.99, False),
        (60.0, 119.99, False),  # the same turn
        (60.0, 120.0, True),
        (60.5, 120.1, True),
        (30.0, 60.0, True),  # no border is near the first
        (59.0, 90.0, True),
        (15.0, 44.0, False),
    ],
)
def test_turns_and_their_borders(
    world: World, monkeypatch: pytest.MonkeyPatch, first: float, second: float, taken: bool
) -> None:
    clock = iter([first, second])
    monkeypatch.setattr(slots, "read_clock", lambda _: 6_000_000.0 + next(clock))
    assert take(world, every_s=60.0)
    assert take(world, every_s=60.0) is taken


def test_each_schedule_has_its_own(world: World) -> None:
    assert take(world, "a")
    assert take(world, "b")


def test_the_next_turn_is_another(world: World) -> None:
    assert all(take(world, every_s=0.000_001) for _ in range(3))


def test_one_of_many_at_once(world: World) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda n: take(world, worker=f"{n}"), range(8))) == 1
