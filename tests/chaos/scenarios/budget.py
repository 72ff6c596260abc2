"""A budget under kills and an emptied Redis: never above it, nothing counted that was not spent."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from sqlalchemy import func, select

from app.journal.schema.models import Call, Spend, Step, Worker
from celery_agents import Run, names
from tests.chaos.agents import CENT
from tests.chaos.scenario import Numbers, scenario
from tests.chaos.stand import PATIENT, Stand, ToppledError, eventually, kept_running
from tests.support.workers import WorkerProcess

WORKERS = 3
#: Faults come within this share of the money, so that enough is left to be spent after them.
HARMED_WITHIN = 0.9
_CONFIG = """
[agents.unused]
kind = "scripted"

[budgets.company]
usd = {usd}
"""
#: A row of ``calls`` by its key.
Key = tuple[str, int, int]


@scenario("budget")
def budget(stand: Stand) -> Numbers:
    """Twice as many calls of a cent as there are cents, SIGKILLs among the workers, FLUSHALLs."""
    calls, kills, wipes = (stand.size(*n) for n in ((2000, 100), (20, 2), (3, 1)))
    cents = calls // 2
    config = stand.stack.directory / "agents.toml"
    config.write_text(_CONFIG.format(usd=cents / 100))
    stand.stack.env |= {"AGENTS_CONFIG": str(config)}
    workers = stand.workers(stand.size(WORKERS, 2))
    runs = stand.client.ask.many("pays", list(range(calls)), retry=PATIENT)
    in_flight: set[Key] = set()
    with kept_running(workers):
        for share, fault in _faults(kills, wipes):
            _wait_for(stand, runs, round(share * HARMED_WITHIN * cents))
            if fault == "wipe":
                stand.stack.redis.flushall()
            else:
                in_flight |= _killed(stand, stand.rng.choice(workers))
        again = stand.wait_ended(runs, timeout_s=300)
        figures = _reckon(stand, cents, in_flight)
        eventually(lambda: _copied(stand), "Redis has the journal's sums")
    return {"calls": calls, "kills": kills, "wipes": wipes, "sent_again": again} | figures


def _faults(kills: int, wipes: int) -> list[tuple[float, str]]:
    """Shares of the money at which something happens, and what."""
    killed = [((n + 0.5) / kills, "kill") for n in range(kills)]
    wiped = [((n + 1) / (wipes + 1), "wipe") for n in range(wipes)]
    return sorted([*killed, *wiped])


def _wait_for(stand: Stand, runs: Sequence[Run], paid: int) -> None:
    """Wait until the provider has counted so many calls; messages that were lost are sent again."""

    def reached() -> bool:
        stand.send_again(runs)
        return len(stand.counted()) >= paid

    eventually(reached, "the work goes on", timeout_s=120)


def _killed(stand: Stand, worker: WorkerProcess) -> set[Key]:
    """Kill a worker; the calls that it was making, also of steps that others have taken over."""
    named = select(Worker.id).where(Worker.name == worker.name)
    processes = stand.stack.read(lambda c: list(c.execute(named).scalars()))
    worker.kill()
    query = (
        select(Call.step_id, Call.seq, Call.token)
        .join(Step, Step.id == Call.step_id)
        .where(
            Call.reserved_nano_usd.is_not(None),
            (Call.token < Step.token) | Step.worker_id.in_(processes),
        )
    )
    found = set()
    for pause_s in (0.05, 0.3):  # a statement that was sent is carried out though its sender died
        time.sleep(pause_s)
        rows = stand.stack.read(lambda c: c.execute(query).all())
        found |= {(r.step_id, r.seq, r.token) for r in rows}
    return found


def _held(stand: Stand) -> dict[Key, int]:
    rows = stand.rows(Call.step_id, Call.seq, Call.token, Call.reserved_nano_usd)
    return {(r.step_id, r.seq, r.token): r[3] for r in rows if r[3] is not None}


def _spent(stand: Stand) -> tuple[int, int]:
    """Nano-dollars and calls that the journal has booked."""
    query = select(func.sum(Spend.nano_usd), func.sum(Spend.calls))
    nano, calls = stand.stack.read(lambda c: c.execute(query).one())
    return int(nano or 0), int(calls or 0)


def _copied(stand: Stand) -> bool:
    """True when Redis has what the journal has."""
    found = stand.stack.redis.hmget(f"{names.BUDGET_KEYS}company@0", "1", "h1", "d1")
    spent, held, doubt = (int(number or 0) for number in found)
    journal = sum(_held(stand).values())
    return (spent, held, doubt) == (_spent(stand)[0], journal, journal)


def _reckon(stand: Stand, cents: int, in_flight: set[Key]) -> dict[str, int | float]:
    paid = len(stand.counted())
    (spent, booked), doubt = _spent(stand), _held(stand)
    rows = stand.rows(Call.idempotency_key, Call.token, Call.finished_at, Call.error)
    made = {(key, int(token)) for key, _, token, _ in stand.counted()}
    finished = {(r.idempotency_key, r.token) for r in rows if r.finished_at and r.error is None}
    phantom = booked - len(finished & made)
    figures = {
        "dollars_by_the_provider": paid / 100,
        "dollars_booked": spent / 100 / CENT,
        "phantom": phantom,
        "in_doubt": len(doubt),
        "in_flight_at_kills": len(in_flight),
    }
    ends = Counter(r.state for r in stand.rows(Step.state))
    for holds, what in (
        (paid <= cents, f"{paid} cents were paid of {cents}"),
        (phantom == 0, f"{phantom} calls were booked and not made"),
        (spent == booked * CENT, "amounts do not add up"),
        (booked + len(doubt) >= paid, "more was paid than counted"),
        (booked + len(doubt) == cents, f"{booked + len(doubt)} of {cents} cents are used"),
        (doubt.keys() <= in_flight, f"{len(doubt.keys() - in_flight)} in doubt that none made"),
        (ends["succeeded"] == booked, f"{ends} and {booked} booked"),
    ):
        if not holds:
            raise ToppledError(what, figures)
    return figures
