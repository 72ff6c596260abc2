"""A swarm that shares work, while workers are killed and the broker is emptied."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from app.journal.schema.models import Step
from celery_agents import names
from tests.chaos.audit import audit
from tests.chaos.scenario import Numbers, scenario
from tests.chaos.scenarios.load import strike
from tests.chaos.stand import Stand, eventually, kept_running

MEMBERS = 50


@scenario("swarm")
def swarm(stand: Stand) -> Numbers:
    """Fifty members share a thousand units: each has one step, which ends once."""
    count, done = stand.size(1_000, 60), Counter[str]()
    faults = ["kill"] * stand.size(10, 2) + ["wipe"]
    stand.rng.shuffle(faults)
    workers, began = stand.workers(2, slots=stand.size(64, 16)), time.monotonic()
    members = {f"m{n}": "hears" for n in range(MEMBERS)}
    with kept_running(workers):
        made = stand.client.swarm("many", members)
        units: list[Any] = [{"data": {"n": n}} for n in range(count)]
        units[-1]["data"] |= stand.held
        run = made.distribute_work(units, strategy="least_busy", id="work")
        for place, fault in enumerate(faults):
            most = count * (place + 1) // (len(faults) + 2)
            eventually(lambda m=most: _ended(stand) >= m, "a part has ended", timeout_s=180)  # type: ignore[misc]
            done[strike(fault, stand, workers)] += 1
        stand.let_end()
        timeout_s = stand.size(300, 120)
        eventually(
            lambda: stand.stack.row(run.id).finished_at is not None, "the end", timeout_s=timeout_s
        )
        eventually(lambda: not stand.stack.unsettled(), "all are settled", timeout_s=timeout_s)
    found = run.read(stand.stack.row(run.id).outcome["value"])
    assert [*found.results] == [*range(count)], "a unit has another answer"
    asked = Counter(
        row.payload["args"][0]["data"]["n"]
        for row in stand.rows(Step.payload, Step.task)
        if row.task == names.ASK
    )
    assert asked == Counter(range(count)), "a unit has another number of steps than one"
    busy = Counter(found.by)
    shares = {"members": len(busy), "most_of_one": max(busy.values())}
    took_s = time.monotonic() - began
    return {"units": count, **shares, **done, "took_s": took_s, **audit(stand)}


def _ended(stand: Stand) -> int:
    return sum(row.finished_at is not None for row in stand.rows(Step.finished_at))
