"""Many writers on one session, whose workers are killed."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from app.journal.schema.models import Step
from celery_agents import Run, SessionExchange
from celery_agents.contracts.base import JsonValue
from celery_agents.errors import AgentFailedError, StepCancelledError
from tests.chaos.audit import audit
from tests.chaos.scenario import Numbers, scenario
from tests.chaos.stand import PATIENT, Stand, kept_running

SESSION = "the talk"
#: Questions of each writer, one after the other.
QUESTIONS = 4
#: Of ten runs one fails, and one is cancelled somewhere on its way.
FAILS, CANCELLED = 3, 7
_WAIT_S = 300.0


@scenario("session")
def session(stand: Stand) -> Numbers:
    """Writers ask in turn; whatever is killed, each exchange stands whole in its own place."""
    workers = stand.workers(3)
    kills = stand.options.kills
    writers = stand.size(50, 2 * kills)
    began = time.monotonic()
    with kept_running(workers), ThreadPoolExecutor(writers) as pool:
        writing = [pool.submit(_write, stand, n) for n in range(writers)]
        for _ in range(kills):
            time.sleep(stand.rng.uniform(0.3, 1.0))
            stand.rng.choice(workers).kill()
        amid = sum(not one.done() for one in writing)
        runs = [run for one in writing for run in one.result()]
        stand.wait_ended(runs, timeout_s=_WAIT_S)
        took = time.monotonic() - began
        found = list(stand.client.sessions.read(SESSION, timeout=60))
        (info,) = stand.client.sessions.list(timeout=60)
    assert amid, "all was written before the last kill"
    assert (info.holder, info.exchanges) == (None, len(found))
    states = Counter(_check(stand, runs, found))
    return {
        "writers": writers,
        "runs": len(runs),
        **states,
        "kills": kills,
        "exchanges": len(found),
        "took_s": took,
        **audit(stand),
    }


def _write(stand: Stand, writer: int) -> list[Run]:
    """Ask one question after the other."""
    runs: list[Run] = []
    for n in range(writer * QUESTIONS, (writer + 1) * QUESTIONS):
        order: dict[str, JsonValue] = {"n": n, "fails": n % 10 == FAILS}
        asked = stand.client.ask(
            "talks", order, session=SESSION, window_tokens=10_000_000, retry=PATIENT
        )
        runs.append(asked)
        if n % 10 == CANCELLED:
            time.sleep(0.1 * (n % 7))
            asked.cancel()
        try:
            asked.get(timeout=_WAIT_S)
        except AgentFailedError:
            assert order["fails"], "it was not told to fail"
        except StepCancelledError:
            assert n % 10 == CANCELLED, "nobody cancelled it"
    return runs


def _check(stand: Stand, runs: Sequence[Run], found: Sequence[SessionExchange]) -> list[str]:
    """Hold a session against the runs that have added to it; the states of those."""
    states = {row.id: row.state for row in stand.rows(Step.id, Step.state)}
    assert [e.place for e in found] == [*range(len(found))], "a place is missing, or twice"
    added = [e.run_id for e in found]
    assert len({*added}) == len(added), "a run stands there twice"
    succeeded = {run.id for run in runs if states[run.id] == "succeeded"}
    assert {*added} == succeeded, "not the runs that succeeded"
    before: list[int] = []
    for exchange in found:
        question, answer = exchange.messages
        n = json.loads(question.text)["n"]
        assert json.loads(answer.text) == {"n": n, "before": before}, "it did not see the others"
        before.append(n)
    return [states[run.id] for run in runs]
