"""The main scenario: steps of all kinds, while workers die at random and Redis is emptied."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import psutil

from app.journal.schema import models
from app.journal.schema.models import Join, Step
from app.settings import Settings
from celery_agents import Run
from celery_agents.errors import AgentsError
from tests.chaos.audit import audit
from tests.chaos.scenario import Numbers, scenario
from tests.chaos.stand import PATIENT, Stand, ToppledError, kept_running
from tests.support.workers import WorkerProcess

WORKERS = 3
PANEL = ["honest", "honest", "honest", "contrary", "contrary"]
#: Seconds between two faults, drawn evenly.
PAUSE_S = (0.4, 2.2)
#: Longer than a lease: who is frozen for that long has lost its steps.
FROZEN_S = Settings.model_fields["lease_s"].default + 3.0
#: Frozen workers, with the times at which they may go on.
Frozen = dict[WorkerProcess, float]
#: Results that are fetched by a waiting client at the end, which brings wiped ones back.
SAMPLE = 30


@dataclass(frozen=True, slots=True)
class Kind:
    """One sort of run: how it is asked for, how many steps it has, what is right."""

    steps: int
    share: float
    ask: Callable[[Stand, int], Run]
    right: Callable[[int], Any]


KINDS = {
    "calls": Kind(
        1, 0.45, lambda s, n: s.client.ask("calls", n, retry=PATIENT), lambda n: 2 * (n + 1)
    ),
    "retries": Kind(
        1, 0.2, lambda s, n: s.client.ask("stumbles", n, retry=PATIENT), lambda n: 2 * (n + 1)
    ),
    "votes": Kind(
        6,
        0.15,
        lambda s, n: s.client.vote(PANEL, n, retry=PATIENT),
        lambda n: "no" if n % 2 else "yes",
    ),
    "fallbacks": Kind(
        3,
        0.2,
        lambda s, n: s.client.fallback(["refuses", "calls"], n, retry=PATIENT),
        lambda n: 2 * (n + 1),
    ),
}


@dataclass(slots=True)
class Asked:
    """The runs asked for so far, with the right answers."""

    runs: list[Run] = field(default_factory=list)
    right: list[Any] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    steps: int = 0
    sent_again: int = 0


@scenario("load", settings={})
def load(stand: Stand) -> Numbers:
    """Default settings; every fault of ``FAULTS`` in random order, with work under way."""
    asked, done = Asked(), Counter[str]()
    workers = stand.workers(WORKERS)
    frozen: Frozen = {}
    faults = _plan(stand)
    try:
        with kept_running(workers):
            for n, fault in enumerate(faults, 1):
                _ask_until(stand, asked, stand.options.steps * n // len(faults))
                done[FAULTS[fault](stand, workers, frozen)] += 1
                thaw(frozen, time.monotonic())
                asked.sent_again += stand.send_again(asked.runs)
            for worker, until in frozen.items():
                time.sleep(max(0.0, until - time.monotonic()))
                _continue(worker)
            faults_over = time.monotonic()
            asked.sent_again += stand.wait_ended(asked.runs, timeout_s=180)
            numbers = _told(asked, done) | {"ended_after_s": time.monotonic() - faults_over}
            _check_results(stand, asked)
        return numbers | _check(stand, asked)
    except AssertionError as error:
        raise ToppledError(str(error), _told(asked, done)) from error


def _plan(stand: Stand) -> list[str]:
    o = stand.options
    fewer = max(1, o.kills // 8)
    kinds = ["kill"] * o.kills + ["term"] * fewer + ["freeze"] * fewer + ["wipe"] * o.wipes
    stand.rng.shuffle(kinds)
    return kinds


def _ask_until(stand: Stand, asked: Asked, steps: int) -> None:
    """Ask at an even rate until the next fault, so that it finds work under way."""
    began, first = time.monotonic(), asked.steps
    pause = stand.rng.uniform(*PAUSE_S)
    names = list(KINDS)
    shares = [KINDS[name].share for name in names]
    while asked.steps < steps:
        due = began + pause * (asked.steps - first) / (steps - first)
        time.sleep(max(0.0, due - time.monotonic()))
        name = stand.rng.choices(names, shares)[0]
        number = len(asked.runs)
        asked.runs.append(KINDS[name].ask(stand, number))
        asked.right.append(KINDS[name].right(number))
        asked.kinds[name] += 1
        asked.steps += KINDS[name].steps


# -- faults: each does one thing and says what it was


def _victim(stand: Stand, workers: list[WorkerProcess], frozen: Frozen) -> WorkerProcess:
    """One that is not frozen, so that those that are come back."""
    return stand.rng.choice([w for w in workers if w not in frozen] or workers)


def _kill(stand: Stand, workers: list[WorkerProcess], frozen: Frozen) -> str:
    """SIGKILL: a whole worker; with prefork also one child, or the parent without its children."""
    worker = _victim(stand, workers, frozen)
    if stand.options.pool == "threads" or (how := stand.rng.random()) < 1 / 3:
        worker.kill()
        return "workers killed"
    try:
        if how < 2 / 3:
            children = psutil.Process(worker.pid).children()
            victim = stand.rng.choice(sorted(children, key=lambda c: c.pid))
            victim.kill()
            return "children killed"
        os.kill(worker.pid, signal.SIGKILL)
    except (psutil.NoSuchProcess, ProcessLookupError, IndexError):  # it is between two lives
        worker.kill()
        return "workers killed"
    return "parents killed"


def _term(stand: Stand, workers: list[WorkerProcess], frozen: Frozen) -> str:
    _victim(stand, workers, frozen).send(signal.SIGTERM)
    return "stopped by SIGTERM"


def _freeze(stand: Stand, workers: list[WorkerProcess], frozen: Frozen) -> str:
    """Every process of a worker, past its lease."""
    worker = _victim(stand, workers, frozen)
    try:
        os.killpg(worker.pid, signal.SIGSTOP)
    except ProcessLookupError:
        return "frozen (was dead)"
    frozen.setdefault(worker, time.monotonic() + FROZEN_S)
    return "frozen past their lease"


def _wipe(stand: Stand, *_: Any) -> str:
    stand.broker.wipe()
    return "wipes of Redis"


FAULTS = {"kill": _kill, "term": _term, "freeze": _freeze, "wipe": _wipe}


def strike(fault: str, stand: Stand, workers: list[WorkerProcess]) -> str:
    """Do one fault of ``FAULTS`` that freezes nobody; say what it was."""
    return FAULTS[fault](stand, workers, {})


def thaw(frozen: Frozen, at: float) -> None:
    """Let workers go on that have been frozen for long enough."""
    for worker in [w for w, until in [*frozen.items()] if until <= at]:
        del frozen[worker]
        _continue(worker)


def _continue(worker: WorkerProcess) -> None:
    try:
        os.killpg(worker.pid, signal.SIGCONT)
    except ProcessLookupError:
        return  # killed while it was frozen


# -- what has to hold


def _told(asked: Asked, done: Counter[str]) -> dict[str, Any]:
    return {
        "runs": len(asked.runs),
        "steps": asked.steps,
        **asked.kinds,
        **done,
        "sent_again_by_clients": asked.sent_again,
    }


def _check_results(stand: Stand, asked: Asked) -> None:
    """A client that waits gets the right value, also where the wipe took the stored one."""
    chosen = stand.rng.sample(range(len(asked.runs)), min(SAMPLE, len(asked.runs)))
    with ThreadPoolExecutor(SAMPLE) as clients:
        got = list(clients.map(lambda n: _got(asked.runs[n]), chosen))
    wrong = [(a, asked.right[n]) for a, n in zip(got, chosen, strict=True) if a != asked.right[n]]
    assert not wrong, f"a client got a wrong value: {wrong[:3]}"


def _got(run: Run) -> Any:
    """Return what a client gets that waits: an option, a value, or an error."""
    try:
        value = run.get(timeout=60)
    except AgentsError as error:
        return error
    return getattr(value, "option", value)


def _check(stand: Stand, asked: Asked) -> dict[str, Any]:
    wrong = [
        (run.id, value)
        for run, right, value in zip(asked.runs, asked.right, stand.values(asked.runs), strict=True)
        if value != right
    ]
    assert not wrong, f"{len(wrong)} runs have a wrong outcome: {wrong[:3]}"
    steps = stand.rows(Step.id, Step.attempts, Step.run_id)
    assert {s.run_id for s in steps} == {r.id for r in asked.runs}, "a step of no run"
    assert len(steps) <= asked.steps, "more steps than were asked for"
    runs = stand.rows(models.Run.state, models.Run.finished_at)
    assert len(runs) == len(asked.runs)
    assert all(r.finished_at and r.state == "succeeded" for r in runs), "a run that is not closed"
    still_open = [j for j in stand.rows(Join.step_id, Join.state) if j.state != "fired"]
    assert not still_open, f"{len(still_open)} joins never fired"
    seen = stand.witness.check()
    assert seen["ended_once"] == len(steps), "a step without its one end"
    return seen | audit(stand) | {"most_attempts": max(s.attempts for s in steps)}
