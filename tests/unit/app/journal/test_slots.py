from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

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
    row = world.one(Slot)
    assert (row.schedule, row.worker_id) == ("s", "first")
    assert row.slot == int(row.taken_at // LONG_S)


def test_each_schedule_has_its_own(world: World) -> None:
    assert take(world, "a")
    assert take(world, "b")


def test_the_next_turn_is_another(world: World) -> None:
    assert all(take(world, every_s=0.000_001) for _ in range(3))


def test_one_of_many_at_once(world: World) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda n: take(world, worker=f"{n}"), range(8))) == 1
