"""Workers that are out of memory, or whose clock is wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from app.journal.schema.models import Step
from celery_agents import RetryPolicy
from tests.chaos.agents import BEGAN
from tests.chaos.audit import audit
from tests.chaos.scenario import Numbers, scenario
from tests.chaos.scenarios.brokers import ask, check
from tests.chaos.stand import PATIENT, Stand, kept_running
from tests.support.beside import beside
from tests.support.workers import WorkerProcess

#: More than a worker takes by itself (some 120 MiB), less than the hog wants beside it.
MEMORY_MIB = 300
ATTEMPTS = 3
CLOCK_OFF_S = 30
_SHIFT = """
import time
_real = time.time
time.time = lambda: _real() + float({shift})
"""


@scenario("memory-hog")
def memory_hog(stand: Stand) -> Numbers:
    """A step that takes all memory each time ends dead; its neighbours do not."""
    worker = stand.worker(slots=4)
    with kept_running([worker]), _memory_killer(worker) as killed:
        neighbours = ask(stand, stand.size(20, 8))
        policy = RetryPolicy(max_attempts=ATTEMPTS, base_delay_s=0.1)
        hog = stand.client.ask("hogs", 400, retry=policy)
        stand.wait_ended([*neighbours, hog], again=False)
        row = stand.stack.row(hog.id)
    assert row.state == "dead", f"the hog is {row.state}"
    began = [w for w in stand.counted() if w[0] == BEGAN]
    assert len(began) == ATTEMPTS, f"it was tried {len(began)} times"
    assert len(killed) >= ATTEMPTS
    told = check(stand, neighbours)
    return {"attempts": len(began), "kills": len(killed), "neighbours": told["runs"]}


@contextmanager
def _memory_killer(worker: WorkerProcess) -> Iterator[list[int]]:
    """SIGKILL whichever process of the worker takes too much, as the kernel would."""
    killed: list[int] = []

    def watch(over: threading.Event) -> None:
        while not over.wait(0.02):
            with suppress(psutil.Error):
                parent = psutil.Process(worker.pid)
                for process in (parent, *parent.children()):
                    if process.memory_info().rss > MEMORY_MIB * 2**20:
                        process.kill()
                        killed.append(process.pid)

    with beside(watch):
        yield killed


@scenario("clock-off")
def clock_off(stand: Stand) -> Numbers:
    """One of two workers is 30 s ahead: no lease ends early, no retry comes early or late."""
    shifted = stand.patched("shifted", _SHIFT.format(shift=CLOCK_OFF_S))
    wrong = stand.worker(slots=4, env=shifted, ready=False)
    stand.worker(slots=4)
    wrong.wait_ready()
    began, count = time.monotonic(), stand.size(40, 8)
    runs = ask(stand, count)
    stumbling = stand.client.ask.many("stumbles", range(count), retry=PATIENT)
    long = stand.client.ask.many("holds", [5.0] * 4, retry=PATIENT)  # above the lease of 2 s
    stand.wait_ended([*runs, *stumbling, *long], again=False)
    took = time.monotonic() - began
    attempts = {row.id: row.attempts for row in stand.rows(Step.id, Step.attempts)}
    assert {attempts[r.id] for r in [*runs, *long]} == {1}, "a lease ended early"
    assert {attempts[r.id] for r in stumbling} == {3}
    assert took < CLOCK_OFF_S, f"it took {took:.0f} s"
    assert stand.values(stumbling) == [2 * (n + 1) for n in range(count)]
    stand.witness.check()
    shares = [w.logs().count("succeeded in") for w in (wrong, stand.stack.workers[1])]
    assert all(shares), "one of the workers did nothing"
    assert audit(stand)["in_flight_at_a_loss"] == 0
    told = check(stand, runs)
    return told | {"by_the_wrong_clock": shares[0], "ended_after_s": took}
