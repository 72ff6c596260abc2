"""How long a step stands still after its worker was killed, with the default settings."""

from __future__ import annotations

import time
from statistics import median

import psutil

from tests.chaos.agents import BEGAN
from tests.chaos.scenario import Numbers, scenario
from tests.chaos.stand import PATIENT, Stand, eventually, kept_running
from tests.support.workers import WorkerProcess

#: What the documentation promises, in seconds.
ELSEWHERE_P50_S, ELSEWHERE_MAX_S, RESTARTED_MAX_S = 8.0, 13.0, 5.0
VICTIMS = 4


def _begun(stand: Stand, step_id: str) -> list[float]:
    """When each attempt of a step began."""
    return [float(w[3]) for w in stand.counted() if w[0] == BEGAN and w[1] == step_id]


def _hold(stand: Stand, workers: list[WorkerProcess]) -> dict[WorkerProcess, str]:
    """Give each of these workers, which have one slot, one long step; who holds which."""
    runs = [stand.client.ask("stamps", 120, retry=PATIENT) for _ in workers]
    eventually(lambda: all(_begun(stand, r.id) for r in runs), "all to begin")
    return {_holder(stand, run.id, workers): run.id for run in runs}


def _holder(stand: Stand, step_id: str, workers: list[WorkerProcess]) -> WorkerProcess:
    """The worker whose process, or whose child, runs a step."""
    pid = next(int(w[2]) for w in stand.counted() if w[0] == BEGAN and w[1] == step_id)
    ours = {pid, psutil.Process(pid).ppid()}
    return next(w for w in workers if w.pid in ours)


def _until_again(stand: Stand, victims: dict[WorkerProcess, str]) -> list[float]:
    """Kill each at some moment of its heartbeat; seconds until its step begins again."""
    killed: dict[str, float] = {}
    for worker, step_id in victims.items():
        time.sleep(stand.rng.uniform(0.0, 2.0))
        killed[step_id] = time.monotonic()
        worker.kill()
    eventually(
        lambda: all(len(_begun(stand, i)) > 1 for i in killed), "all to run again", timeout_s=60
    )
    return [_begun(stand, i)[1] - at for i, at in killed.items()]


@scenario("takeover", settings={})
def takeover(stand: Stand) -> Numbers:
    """Killed workers stay dead; those that live take their steps."""
    took: list[float] = []
    for _ in range(stand.size(2, 1)):
        victims = _hold(stand, stand.workers(stand.size(VICTIMS, 2), slots=1))
        survivors = stand.workers(
            stand.size(2, 1)
        )  # processes are few, and cancelling takes a slot too
        took += _until_again(stand, victims)
        for step_id in victims.values():
            stand.client.runs.cancel(step_id)
        eventually(lambda: not stand.open_steps(), "the steps to be cancelled")
        for survivor in survivors:
            survivor.kill()
    if not stand.options.brief:  # the short form has few kills, and company on the machine
        assert median(took) < ELSEWHERE_P50_S, f"p50 {median(took):.1f} s"
    assert max(took) < ELSEWHERE_MAX_S, f"maximum {max(took):.1f} s"
    return {"kills": len(took), "p50_s": median(took), "max_s": max(took)}


@scenario("takeover-restarted", settings={})
def restarted(stand: Stand) -> Numbers:
    """A supervisor starts the killed worker again, under its own name."""
    worker = stand.worker()
    took: list[float] = []
    with kept_running([worker]):
        for _ in range(stand.size(8, 2)):
            worker.wait_ready()
            run = stand.client.ask("stamps", 120, retry=PATIENT)
            eventually(lambda r=run: _begun(stand, r.id))  # type: ignore[misc]
            took += _until_again(stand, {worker: run.id})
            run.cancel()
            eventually(lambda: not stand.open_steps(), "the step to be cancelled")
    limit = stand.size(1, 2) * RESTARTED_MAX_S
    assert max(took) < limit, f"maximum {max(took):.1f} s"
    return {"kills": len(took), "p50_s": median(took), "max_s": max(took)}
