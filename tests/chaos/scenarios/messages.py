"""Harm to messages: copied, delivered again and again, deleted on their way."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

import psutil
from celery import Celery
from sqlalchemy import func, select

from app.journal.schema.models import DeadLetter, Step
from celery_agents import Run, names
from tests.chaos.audit import audit
from tests.chaos.scenario import Numbers, scenario
from tests.chaos.scenarios.brokers import ask, check
from tests.chaos.scenarios.load import PANEL
from tests.chaos.stand import PATIENT, STUCK_S, Stand, eventually, kept_running
from tests.integration.harness import FAST
from tests.support.killed_at_take import DIRECTORY, TIMES
from tests.support.malformed import KINDS, LIMIT_BYTES

REDELIVERIES = 100
STOLEN_FOR_S = 4.0
#: Malformed messages that are pushed at once, with one that is not.
BATCH = 200
#: What its workers import.
DYING = '["tests.chaos.agents", "tests.chaos.dying"]'


@scenario("gap", settings={**FAST, "AGENTS_VISIBILITY_TIMEOUT_S": "3"})
def gap(stand: Stand) -> Numbers:
    """Workers die when Redis has just given them a message. A plain producer's has no record."""
    deaths = stand.stack.directory / "deaths"
    deaths.mkdir()
    times = stand.size(20, 3)
    env = {"AGENTS_MODULES": DYING, DIRECTORY: str(deaths), TIMES: str(times)}
    workers = stand.workers(2, slots=4, env=env)
    with Celery(broker=stand.stack.redis_url) as plain, kept_running(workers):
        options = {"agent": "calls", "retry": PATIENT.model_dump(mode="json")}
        sent = [
            plain.send_task(names.ASK, [n], options, queue=names.QUEUE) for n in range(2 * times)
        ]
        runs = [stand.client.runs.handle(result.id) for result in sent]
        stand.wait_ended(runs, again=False, timeout_s=90)
        died = len(list(deaths.iterdir()))
        assert died == times, f"{died} deaths"
    return {"deaths": died} | check(stand, runs)


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
    runs: list[Run] = list(stand.client.vote.many(PANEL, range(stand.size(20, 10)), retry=PATIENT))
    stolen = Counter[str]()
    began, kinds = time.monotonic(), {"members", "bodies"}
    while (took_s := time.monotonic() - began) < STOLEN_FOR_S or (
        took_s < STUCK_S and kinds - {*stolen} and stand.open_steps()
    ):
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


@scenario("malformed", settings={**FAST, "AGENTS_MESSAGE_LIMIT_BYTES": str(LIMIT_BYTES)})
def malformed(stand: Stand) -> Numbers:
    """Twenty kinds of broken messages, no two alike, among the ordinary ones of one worker."""
    worker = stand.worker(slots=4)
    before = _processes(worker.pid)
    each = stand.size(500, 6)
    kinds = [kind for kind in KINDS for _ in range(each)]
    stand.rng.shuffle(kinds)
    wanted = Counter(KINDS[kind][1] for kind in kinds)
    runs: list[Run] = []
    began = time.monotonic()
    for start in range(0, len(kinds), BATCH):
        batch = [KINDS[kind][0](stand.rng) for kind in kinds[start : start + BATCH]]
        stand.stack.redis.lpush(names.QUEUE, *batch)
        runs.append(stand.client.ask("calls", len(runs), retry=PATIENT))
        eventually(lambda: stand.stack.depth() < 5 * BATCH, "room in the queue")
    eventually(lambda: _letters(stand).total() >= len(kinds), "the letters", timeout_s=120)
    took = time.monotonic() - began
    stand.wait_ended(runs, again=False)
    eventually(lambda: not stand.stack.depth() and not stand.stack.unacked(), "all to be taken")
    found = _letters(stand)
    assert found == wanted, f"{found} instead of {wanted}"
    reasons = [reason for (reason,) in stand.rows(DeadLetter.reason) if reason]
    assert len(reasons) == len(kinds), "a letter without a reason"
    assert _processes(worker.pid) == before, "a process of the worker was replaced"
    told = check(stand, runs)
    return {
        "messages": len(kinds),
        "kinds": len(KINDS),
        "dead_letters": found.total(),
        "with_reasons": len(reasons),
        "same_pid": worker.pid,
        "runs_between": told["runs"],
        "took_s": took,
    }


def _letters(stand: Stand) -> Counter[str]:
    """Dead letters in the journal, by cause."""
    query = select(DeadLetter.cause, func.count()).group_by(DeadLetter.cause)
    return Counter(dict(stand.stack.read(lambda c: c.execute(query).all())))


def _processes(pid: int) -> set[int]:
    """A worker's process and its children."""
    return {pid, *(child.pid for child in psutil.Process(pid).children())}
