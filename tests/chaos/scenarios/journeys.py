"""Flows whose workers are killed and whose broker is emptied, in their midst."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

from app.journal.schema.models import Entry, Step
from celery_agents import Run
from celery_agents.contracts.flows.entries import HISTORY
from tests.chaos.audit import audit
from tests.chaos.scenario import Numbers, scenario
from tests.chaos.scenarios.load import strike
from tests.chaos.stand import PATIENT, STUCK_S, Stand, eventually, kept_running

#: Seconds between two looks for runs that are to be sent again.
_LOOK_S = 2.0
#: Steps of a flow, as its code asks for them (``tests/chaos/agents.py``).
STEPS = 10


@scenario("flows")
def flows(stand: Stand) -> Numbers:
    """Faults come evenly over the work: each flow ends once, as if nothing had been."""
    workers = stand.workers(2)
    faults = ["kill"] * stand.size(20, 3) + ["wipe"] * stand.size(3, 1)
    stand.rng.shuffle(faults)
    done, given = Counter[str](), {"retry": PATIENT.model_dump(mode="json")}
    began, sent_again = time.monotonic(), 0
    with kept_running(workers):
        count = stand.size(300, 8)
        start = partial(stand.client.start, "journeys", retry=PATIENT)
        held: list[Any] = [{}] * (count - 1) + [stand.held]
        runs = [start(given | {"n": n, "last": last}) for n, last in enumerate(held)]
        for place, fault in enumerate(faults, 1):
            sent_again += _wait_acts(stand, runs, place * STEPS * count // (len(faults) + 1))
            done[strike(fault, stand, workers)] += 1
        stand.let_end()
        sent_again += stand.wait_ended(runs, timeout_s=stand.size(300, 90))
    assert stand.values(runs) == [_right(n) for n in range(count)]
    _check(stand, runs)
    return {
        "flows": count,
        **done,
        "sent_again_by_clients": sent_again,
        "took_s": time.monotonic() - began,
        **stand.witness.check(flows=True),
        **audit(stand),
    }


def _wait_acts(stand: Stand, runs: Sequence[Run[Any]], wanted: int) -> int:
    """Wait until so many acts have begun; how many runs had to be sent again meanwhile.

    Those that no worker had begun with when Redis was emptied are their clients' to send again.
    """
    sent_again, looked_at = 0, time.monotonic()

    def enough() -> bool:
        nonlocal sent_again, looked_at
        if time.monotonic() > looked_at + _LOOK_S:
            sent_again += stand.send_again(runs)
            looked_at = time.monotonic()
        return len(stand.counted()) >= wanted

    eventually(enough, f"{wanted} acts", timeout_s=STUCK_S)
    return sent_again


def _right(n: int) -> int:
    """The answer of the flow: four ones are added, three sides summed, three ones added."""
    found = n + 4
    return sum(found + side + 1 for side in range(3)) + 3


def _check(stand: Stand, runs: Sequence[Run[Any]]) -> None:
    """Hold steps and histories of the flows against their code."""
    below = Counter((row.parent_id, row.state) for row in stand.rows(Step.parent_id, Step.state))
    assert below == {(None, "succeeded"): len(runs)} | {(r.id, "succeeded"): STEPS for r in runs}
    lines = stand.rows(Entry.stream, Entry.kind, Entry.data)
    told = Counter((row.stream, row.kind, row.data["key"]) for row in lines)
    twice = [line for line, times in told.items() if times > 1]
    assert not twice, f"{len(twice)} lines stand twice: {twice[:3]}"
    kinds = Counter((stream, kind) for stream, kind, _ in told)
    for run in runs:
        assert kinds[HISTORY + run.id, "done"] == STEPS, f"{run.id} was told of other ends"
        assert kinds[HISTORY + run.id, "timer"] == 1, f"{run.id} has slept otherwise"
