"""Two beats, of which the one at work is killed again and again, each time after a tick."""

from __future__ import annotations

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

from sqlalchemy import select

from app.journal.schema.models import Slot
from celery_agents import names
from tests.chaos.scenario import Numbers, scenario
from tests.chaos.stand import Stand, eventually
from tests.integration.harness import FAST
from tests.support.workers import WorkerProcess

#: Seconds of a turn; messages come twice as often. Above what docs/settings.md asks for.
EVERY_S = 4
SETTINGS = {
    **FAST,
    "AGENTS_HEALTH_INTERVAL_S": str(EVERY_S),
    "AGENTS_CLEAN_INTERVAL_S": str(EVERY_S),
    "AGENTS_STATS_INTERVAL_S": str(EVERY_S),
    "AGENTS_BEAT_LOCK_S": "1",
}
TICK = "Sending due task"
SCHEDULES = (names.PROBE, names.CLEAN, names.COUNT)


@scenario("beats", settings=SETTINGS)
def beats(stand: Stand) -> Numbers:
    """Turns of both schedules come as often as they should, and each is worked once."""
    worker = stand.worker()
    both = [stand.stack.beat("one"), stand.stack.beat("two")]
    kills, stop, turns_of = 0, threading.Event(), dict[str, list[float]]()
    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(_watch, stand, stop, turns_of)
        try:
            eventually(lambda: len(turns_of) == len(SCHEDULES), "the first turns")
            began = time.monotonic()
            every_s = stand.size(10, 5)
            for n in range(1, stand.size(60, 10) // every_s + 1):
                time.sleep(max(0.0, began + n * every_s - time.monotonic()))
                _kill_after_a_tick(both)
                kills += 1
            time.sleep(2 * EVERY_S)  # the last one is replaced, too
        finally:
            for process in both:
                process.kill()
            stop.set()
    lasted = time.monotonic() - began
    numbers: dict[str, float] = {"seconds": lasted, "beats_killed": kills}
    watching.result()
    for schedule, turns in turns_of.items():
        gaps = [after - before for before, after in pairwise(turns)]
        assert min(gaps) >= 0.7 * EVERY_S, f"{schedule} came twice in a turn: {gaps}"
        assert max(gaps) <= 2 * EVERY_S, f"{schedule} left a turn out: {gaps}"
        assert len(turns) >= lasted / (2 * EVERY_S) - 1, f"{schedule} stopped: {turns}"
        eventually(lambda s=schedule, t=turns: _ended(worker, s) >= len(t))  # type: ignore[misc]
        numbers[f"turns_of_{schedule}"] = len(turns)
    turns_of_all = sum(map(len, turns_of.values()))
    too_many = sum(_ended(worker, schedule) for schedule in SCHEDULES) - turns_of_all
    assert too_many, "no second message came: nothing was put to the test"
    return numbers | {"each_once": "yes", "messages_too_many": too_many}


def _kill_after_a_tick(both: list[WorkerProcess]) -> None:
    """SIGKILL whichever sends next, right after it; it is started again."""
    before = [b.logs().count(TICK) for b in both]

    def sender() -> list[WorkerProcess]:
        return [b for b, n in zip(both, before, strict=True) if b.logs().count(TICK) > n]

    (victim, *_) = eventually(sender, "a tick")
    victim.kill()
    victim.start()


def _ended(worker: WorkerProcess, schedule: str) -> int:
    """How many of its messages have ended, those that found their turn taken among them."""
    return len(re.findall(rf"Task {re.escape(schedule)}\[\S+\] succeeded", worker.logs()))


def _watch(stand: Stand, stop: threading.Event, turns: dict[str, list[float]]) -> None:
    """Note when the turns of each schedule are taken, by the database's clock."""
    query = select(Slot.schedule, Slot.taken_at)
    last = False
    while not last:
        last = stop.wait(EVERY_S / 20)
        for schedule, at in stand.stack.read(lambda c: [tuple(row) for row in c.execute(query)]):
            if at not in turns.setdefault(schedule, []):
                turns[schedule].append(at)
