"""Runs that fail are undone, whatever happens to the workers that do and undo."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Any

from app.journal.schema.models import Step
from celery_agents.contracts.compensation import compensation_id
from tests.chaos.audit import audit
from tests.chaos.scenario import Numbers, scenario
from tests.chaos.stand import PATIENT, Stand, kept_running


@scenario("undone")
def undone(stand: Stand) -> Numbers:
    """Workers are killed while runs fail and are undone: each step once, the last first."""
    workers = stand.workers(2, slots=4)
    kills = stand.size(10, 2)
    with kept_running(workers):
        runs = [
            stand.client.gather(["keeps", "keeps", "refuses"], n, at_least=3, retry=PATIENT)
            for n in range(stand.size(60, 8))
        ]
        for _ in range(kills):
            time.sleep(stand.rng.uniform(0.2, 0.8))
            stand.rng.choice(workers).kill()
        stand.wait_ended(runs, again=False)
    below: dict[str | None, list[Any]] = defaultdict(list)
    for row in stand.rows(*Step.__table__.columns):
        below[row.parent_id].append(row)
    states = {row.id: row.state for row in below[None]}
    for run in runs:
        undoing = compensation_id(run.id)
        assert states.get(undoing) == "succeeded", f"{undoing} is {states.get(undoing)}"
        kept = [row for row in below[run.id] if row.agent == "keeps"]
        assert {row.state for row in kept} == {"succeeded"}
        done = [row.id for row in sorted(kept, key=lambda r: (r.finished_at, r.position))]
        freed = sorted(below[undoing], key=lambda r: r.position)
        assert [row.member for row in freed] == done[::-1], "not in reverse order, or not all"
        assert {row.state for row in freed} == {"succeeded"}
    return {"runs": len(runs), "kills": kills, **audit(stand)}
