"""Circles of actors that call each other at once: one gives way, and none waits for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

import tasks
from app.concurrency.fibers import Fiber, blocking
from app.concurrency.loop import BLOCKING_THREADS, process_loop
from app.execution.runtime import Runtime
from app.journal import Journal
from app.journal.actors import store as stores
from app.journal.actors.store import ActorStore
from celery_agents import names
from celery_agents.contracts.flows.actors import CALL_KEY
from celery_agents.errors import ActorCycleError, AgentsError, RetryableError
from tests.support.fibers import in_a_fiber
from tests.unit.app.journal.support import World, claimed, step

assert tasks  # they are tasks of each app
CIRCLE = {"one": "two", "two": "one"}


def calls(world: World, journal: Journal, caller: str, step_id: str) -> None:
    """An actor's row, and its step that calls the other one and has not looked yet."""
    flow = {"task": names.FLOW, "agent": "actor/Account"}
    told = {"args": [{"actor": "Account", "key": caller}], "kwargs": {}}
    claimed(journal, caller, step(caller, **flow, payload=told))
    claimed(journal, step_id, step(step_id, run_id=caller, task=names.CALL))
    world.set(step_id, parent_id=caller, member=f"{CALL_KEY}{CIRCLE[caller]}/1")


@pytest.fixture
def look(journal: Journal) -> Callable[[str, str], None]:
    return lambda step_id, who: ActorStore(journal).refuse_circle(step_id, who, CIRCLE[who])


def test_one_that_looked_before_there_was_a_circle_is_waited_for(
    world: World, journal: Journal, look: Callable[[str, str], None]
) -> None:
    """The first one, of the greater id, has looked, but does not wait yet when the other looks."""
    calls(world, journal, "one", "z")
    look("z", "one")
    calls(world, journal, "two", "a")
    timer = threading.Timer(0.2, lambda: world.set("z", state="waiting"))
    timer.start()
    with pytest.raises(ActorCycleError, match="two → Account/one → Account/two"):
        look("a", "two")
    timer.join()


def test_of_two_that_look_at_once_the_greater_id_gives_way_and_the_other_goes_on(
    world: World, journal: Journal, look: Callable[[str, str], None]
) -> None:
    calls(world, journal, "one", "z")
    calls(world, journal, "two", "a")

    def give_way() -> None:
        with pytest.raises(ActorCycleError):
            look("z", "one")
        world.set("z", state="failed")

    timer = threading.Timer(0.2, give_way)
    timer.start()
    look("a", "two")
    timer.join()
    assert world.row("z").state == "failed"


def test_one_that_does_not_get_on_is_asked_about_again(
    world: World,
    journal: Journal,
    look: Callable[[str, str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stores, "_LOOK_S", 0.0)
    calls(world, journal, "one", "z")
    calls(world, journal, "two", "a")
    with pytest.raises(AgentsError) as caught:
        look("a", "two")
    assert isinstance(caught.value, RetryableError)


def test_those_that_wait_for_another_hold_no_thread(
    world: World,
    journal: Journal,
    look: Callable[[str, str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As many as there are threads, and one more: others are read all the same."""
    monkeypatch.setattr(stores, "_LOOK_S", 3600.0)
    calls(world, journal, "one", "z")
    calls(world, journal, "two", "a")
    thread, waits = process_loop(), list[Fiber]()
    before = thread.fibers

    def begin() -> None:
        waits.append(fiber := Fiber(thread, lambda: look("a", "two")))
        fiber.begin()

    for _ in range(BLOCKING_THREADS + 1):
        thread.post(begin)
    try:
        assert in_a_fiber(lambda: blocking(journal.known, "z")) is True
        assert thread.fibers - before == BLOCKING_THREADS + 1
    finally:
        for fiber in waits:
            thread.post(fiber.kill)


def test_a_call_waits_in_its_fiber(runtime: Runtime) -> None:
    request: Any = None
    assert runtime.app.tasks[names.CALL].is_brief(request)
