"""Runs that hear their own events: they end, and others are served."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from app.journal.following.depths import DEPTH_MAX
from app.journal.following.poison import ENTRY
from app.journal.following.store import SubscriptionStore
from app.journal.following.subscribed import SubscriptionKey
from celery_agents.sealing import Seals
from tests.support.drawn import in_turn
from tests.support.fernet import fernet_key
from tests.unit.app.journal.following.test_runs import (
    KEY,
    STARTING,
    letter_pos,
    letters,
    put,
    started,
    stood,
    write,
)
from tests.unit.app.journal.support import World

BACK = SubscriptionKey("", "back")


@pytest.fixture
def sealed(request: pytest.FixtureRequest, world: World) -> World:
    return World(world.url, Seals([fernet_key("key")])) if request.param else world


@pytest.mark.parametrize(
    ("sealed", "poison"),
    in_turn([*product((False, True), ("skip", "stop"))], 0, part=3),
    indirect=["sealed"],
)
def test_a_loop_ends_and_others_are_served(sealed: World, poison: Any) -> None:
    store = SubscriptionStore(sealed.engine)
    put(store, poison=poison)
    put(store, BACK, of="back/*")
    write(sealed, "begin")
    for length in range(1, DEPTH_MAX + 1):
        key, stream = (KEY, "back/7") if length % 2 else (BACK, "order/7")
        (wake,) = store.serve(key, STARTING).wakes
        write_of(sealed, wake.id, stream)
    write(sealed, "another")
    assert store.serve(KEY, STARTING).wakes == []
    (letter,) = letters(sealed)
    assert letter.cause == ENTRY
    assert f"{DEPTH_MAX} runs in a row" in letter.reason
    assert wake.id in letter.reason
    assert len(store.serve(KEY, STARTING).wakes) == 1  # that of the other one
    assert (stood(store).passed, stood(store).paused) == (1, False)
    (again,) = store.start_again(KEY, letter_pos(letter), STARTING, letter.id)
    write_of(sealed, again.id, "back/7")
    assert len(store.serve(BACK, STARTING).wakes) == 1


def write_of(world: World, run_id: str, stream: str) -> None:
    """Add an event as a step of a run does."""
    write(world, run_id, stream=stream, run_id=run_id)


def test_events_of_other_runs_begin_at_none(world: World, store: SubscriptionStore) -> None:
    put(store)
    for number in range(DEPTH_MAX + 2):
        write(world, number, run_id="of somebody")
    assert len(started(store.serve(KEY, STARTING))) == DEPTH_MAX + 2


@pytest.fixture
def store(world: World) -> SubscriptionStore:
    return SubscriptionStore(world.engine)
