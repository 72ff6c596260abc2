"""Harm to Redis: killed, frozen, full, restarted empty."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from celery_agents import Run
from celery_agents.errors import BrokerUnavailableError
from tests.chaos.audit import audit
from tests.chaos.scenario import Numbers, scenario
from tests.chaos.stand import PATIENT, Stand, eventually

#: Seconds without a broker; a result that is due in the meantime waits or is stored later.
OUTAGE_S = 15
#: Beyond the client's and the workers' socket timeouts of 5 s.
FROZEN_S = 7.0


def ask(stand: Stand, count: int | None = None) -> list[Run]:
    """Runs of two calls each; run *n* answers ``2 * (n + 1)``."""
    wanted = range(count or stand.size(60, 24))
    return stand.client.ask.many("calls", wanted, retry=PATIENT)


def check(stand: Stand, runs: Sequence[Run]) -> dict[str, int]:
    """Every run ended right, once; no finished call was made again."""
    assert stand.values(runs) == [2 * (n + 1) for n in range(len(runs))]
    stand.witness.check()
    figures = audit(stand)
    return {"runs": len(runs), "paid_twice": figures["of_them_paid_twice"]}


def under_way(stand: Stand) -> None:
    """Wait until some calls have been made, so that the harm falls into the middle."""
    eventually(lambda: len(stand.counted()) >= 10, "calls to be made")


@scenario("redis-killed", fsync="always")
def killed(stand: Stand) -> Numbers:
    """SIGKILL with an append-only file: nothing that it had is lost, nobody sends again."""
    stand.worker(slots=4)
    runs = ask(stand)
    under_way(stand)
    stand.broker.kill()
    time.sleep(stand.size(OUTAGE_S, 2))
    stand.broker.start()
    return _resumed(stand, runs)


@scenario("redis-frozen")
def frozen(stand: Stand) -> Numbers:
    """It answers nobody for a while. A client is told so; sending again makes no second run."""
    stand.worker(slots=4)
    runs = ask(stand)
    under_way(stand)
    stand.broker.pause()
    thaw_at = time.monotonic() + FROZEN_S
    refused = _refused(lambda: _ask_one(stand, runs))
    assert refused, "a client was not told that Redis hangs"
    time.sleep(max(0.0, thaw_at - time.monotonic()))
    stand.broker.resume()
    stand.client.publish([runs[-1].message])
    return _resumed(stand, runs) | {"refused": 1}


@scenario("redis-full")
def full(stand: Stand) -> Numbers:
    """Its memory is full and it evicts nothing; then it gets more."""
    stand.worker(slots=4)
    runs = ask(stand)
    under_way(stand)
    refused = 0
    with stand.broker.client() as redis:
        redis.config_set("maxmemory", "1mb")
        until = time.monotonic() + 5
        while time.monotonic() < until:
            refused += _refused(lambda: _ask_one(stand, runs))
            time.sleep(0.2)
        redis.config_set("maxmemory", "0")
    assert refused, "the memory was not full"
    lost = [r for r in runs if stand.stack.row(r.id) is None]
    stand.client.publish(r.message for r in lost)
    return _resumed(stand, runs) | {"refused": refused}


@scenario("redis-emptied")
def emptied(stand: Stand) -> Numbers:
    """It starts again without its data, as one without persistence does."""
    stand.worker(slots=4)
    runs = ask(stand)
    under_way(stand)
    with stand.broker.client() as redis:
        redis.set("scenario", 1)
    stand.broker.kill()
    shutil.rmtree(stand.broker.directory / "appendonlydir")
    stand.broker.start()
    with stand.broker.client() as redis:
        assert not redis.exists("scenario"), "it was not emptied"
    began = time.monotonic()
    again = stand.wait_ended(runs)
    return check(stand, runs) | {"sent_again": again, "ended_after_s": time.monotonic() - began}


def _resumed(stand: Stand, runs: Sequence[Run]) -> dict[str, float]:
    """All end although nobody sends anything again; how long it took to go on, and to end."""
    began, before = time.monotonic(), len(stand.counted())
    eventually(lambda: len(stand.counted()) > before, "the work to go on", timeout_s=60)
    resumed = time.monotonic() - began
    stand.wait_ended(runs, again=False)
    ended = time.monotonic() - began
    return check(stand, runs) | {"resumed_after_s": resumed, "ended_after_s": ended}


def _ask_one(stand: Stand, runs: list[Run]) -> None:
    """One more run, kept whether or not its message was taken."""
    number = len(runs)
    run = stand.client.runs.handle(f"late-{number}")
    run.message = stand.client.ask.s("calls", number, retry=PATIENT, id=run.id)
    runs.append(run)
    stand.client.publish([run.message])


def _refused(send: Callable[[], None]) -> bool:
    with suppress(BrokerUnavailableError):
        send()
        return False
    return True
