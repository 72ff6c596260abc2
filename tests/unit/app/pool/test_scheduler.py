from __future__ import annotations

import threading
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from app.pool.scheduler import Slots


@dataclass(eq=False)
class Job:
    on_loop: bool
    has_permits: bool = False


def begun(slots: Slots[Job]) -> list[Job]:
    found = []
    while (job := slots.next()) is not None:
        found.append(job)
    return found


def test_in_their_order_up_to_the_limit() -> None:
    slots: Slots[Job] = Slots(2, 1)
    jobs = [Job(on_loop=True) for _ in range(4)]
    for job in jobs:
        slots.add(job)
    assert begun(slots) == jobs[:2]
    assert slots.waiting == 2
    slots.free(jobs[1])
    assert begun(slots) == [jobs[2]]


def test_one_that_needs_a_thread_lets_others_pass_and_comes_first_then() -> None:
    slots: Slots[Job] = Slots(10, 1)
    first, second, on_loop = Job(on_loop=False), Job(on_loop=False), Job(on_loop=True)
    for job in (first, second, on_loop):
        slots.add(job)
    assert begun(slots) == [first, on_loop]
    assert (slots.in_threads, slots.waiting) == (1, 1)
    later = Job(on_loop=True)
    slots.add(later)
    slots.free(first)
    assert begun(slots) == [second, later]


def test_freeing_twice_frees_once() -> None:
    slots: Slots[Job] = Slots(1, 1)
    job = Job(on_loop=False)
    slots.free(job)
    slots.add(job)
    assert begun(slots) == [job]
    slots.free(job)
    slots.free(job)
    assert (slots.in_threads, slots.running) == (0, set())


def test_those_that_wait_are_forgotten() -> None:
    slots: Slots[Job] = Slots(3, 1)
    jobs = [Job(on_loop=False) for _ in range(3)]
    for job in jobs:
        slots.add(job)
    assert begun(slots) == jobs[:1]
    slots.clear()
    slots.free(jobs[0])
    assert begun(slots) == []


@given(
    st.lists(st.booleans(), max_size=30),
    st.integers(min_value=1, max_value=5),
    st.integers(min_value=1, max_value=3),
    st.randoms(use_true_random=False),
)
def test_all_run_once_and_never_too_many(
    kinds: list[bool], limit: int, threads: int, rng: object
) -> None:
    slots: Slots[Job] = Slots(limit, threads)
    jobs = [Job(on_loop=k) for k in kinds]
    ran: list[Job] = []
    for job in jobs:
        slots.add(job)
        ran += begun(slots)
    while slots.running:
        assert len(slots.running) <= limit
        assert sum(not j.on_loop for j in slots.running) == slots.in_threads <= threads
        slots.free(rng.choice(sorted(slots.running, key=id)))  # type: ignore[attr-defined]
        ran += begun(slots)
    assert sorted(map(id, ran)) == sorted(map(id, jobs))


def test_from_many_threads() -> None:
    slots: Slots[Job] = Slots(4, 2)
    jobs = [Job(on_loop=bool(n % 2)) for n in range(400)]
    for job in jobs:
        slots.add(job)
    ran: list[Job] = []

    def work() -> None:
        while slots.waiting:
            if (job := slots.next()) is not None:
                ran.append(job)
                slots.free(job)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(map(id, ran)) == sorted(map(id, jobs))
    assert slots.in_threads == 0


def test_some_that_have_permits_go_ahead() -> None:
    slots: Slots[Job] = Slots(2, threads=9, ahead=1)
    jobs = [Job(on_loop=True, has_permits=True) for _ in range(4)]
    for job in jobs:
        slots.add(job)
    assert begun(slots) == jobs[:3]
    slots.free(jobs[0])
    slots.add(Job(on_loop=True))  # one that has none waits for a slot
    assert begun(slots) == [jobs[3]]
    slots.free(jobs[1])
    assert begun(slots) == []
    slots.free(jobs[2])
    assert len(begun(slots)) == 1
