"""Harm to messages: copied, delivered again and again, deleted on their way."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

from app.journal.models import Step
from celery_agents import Run, names
from tests.chaos.audit import audit
from tests.chaos.scenario import Numbers, scenario
from tests.chaos.scenarios.brokers import ask, check
from tests.chaos.scenarios.load import PANEL
from tests.chaos.stand import PATIENT, Stand, eventually
from tests.integration.harness import FAST

REDELIVERIES = 100
STOLEN_FOR_S = 4.0


@scenario("duplicated")
def duplicated(stand: Stand) -> Numbers:
    """Each message is there three times, and two workers take them."""
    stand.workers(2)
    runs = ask(stand)
    for _ in range(2):
        stand.client.publish(run.message for run in runs)
    stand.wait_ended(runs, again=False)
    eventually(lambda: not stand.stack.depth() and not stand.stack.unacked(), "the copies to go")
    told = check(stand, runs)
    assert told["paid_twice"] == 0
    assert {row.attempts for row in stand.rows(Step.attempts)} == {1}
    return told | {"messages": 3 * len(runs)}


@scenario("redelivered")
def redelivered(stand: Stand) -> Numbers:
    """One message comes a hundred times: half of them while it runs, half afterwards."""
    worker = stand.worker()
    stand.worker()
    run = stand.client.ask("holds", 3.0, retry=PATIENT)
    eventually(stand.counted)
    for half in range(2):
        stand.client.publish([run.message] * (REDELIVERIES // 2))
        if half == 0:
            stand.wait_ended([run], again=False)
    eventually(lambda: not stand.stack.depth() and not stand.stack.unacked(), "the copies to go")
    assert stand.values([run]) == ["held"]
    assert len(stand.counted()) == 1, "it ran more than once"
    assert stand.stack.row(run.id).attempts == 1
    stand.witness.check()
    received = sum(w.logs().count(f"[{run.id}] received") for w in stand.stack.workers)
    assert worker.running
    return {"received": received, "ran": 1}


@scenario("messages-deleted")
def deleted(stand: Stand) -> Numbers:
    """Votes whose members', bodies' and own messages are stolen from the queue."""
    stand.workers(2, slots=3)
    runs: list[Run] = list(stand.client.vote.many(PANEL, range(20), retry=PATIENT))
    stolen = Counter[str]()
    until = time.monotonic() + STOLEN_FOR_S
    while time.monotonic() < until:
        stolen.update(_steal(stand, {run.id for run in runs}))
        time.sleep(0.05)
    stand.wait_ended(runs, again=False, timeout_s=90)
    right = ["no" if n % 2 else "yes" for n in range(len(runs))]
    assert stand.values(runs) == right
    assert stolen["members"], "no member's message was stolen"
    assert stolen["bodies"], "no body's message was stolen"
    seen = stand.witness.check()
    assert audit(stand)["of_them_paid_twice"] == 0
    return {"votes": len(runs), **stolen, **seen}


def _steal(stand: Stand, run_ids: set[str]) -> Counter[str]:
    """Take every second message from the queue, newest first; what they were."""
    redis: Any = stand.stack.redis
    stolen = Counter[str]()
    for key in redis.keys(f"{names.QUEUE}*"):
        if redis.type(key) != "list" or key.startswith(names.CONTROL_QUEUE):
            continue
        for message in redis.lpop(key, (redis.llen(key) + 1) // 2) or ():
            headers = json.loads(message)["headers"]
            if headers["id"] not in run_ids:
                stolen["members"] += 1
            else:
                stolen["bodies" if headers.get(names.JOURNALED) else "runs"] += 1
    return stolen


@scenario("long-step", settings={**FAST, "AGENTS_VISIBILITY_TIMEOUT_S": "3"})
def long_step(stand: Stand) -> Numbers:
    """A step that outlives ``visibility_timeout``: Redis gives its message out again."""
    stand.workers(2)
    seconds = 14.0  # kombu looks for such messages every 10 s
    run = stand.client.ask("holds", seconds, retry=PATIENT)
    stand.wait_ended([run], again=False)
    received = sum(w.logs().count(f"[{run.id}] received") for w in stand.stack.workers)
    assert received > 1, "its message was not given out again"
    assert stand.values([run]) == ["held"]
    assert len(stand.counted()) == 1, "it ran more than once"
    assert stand.stack.row(run.id).attempts == 1
    stand.witness.check()
    return {"received": received, "ran": 1}
