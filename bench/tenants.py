"""Tenants of one worker: how its slots are shared, and how long a light one waits beside a backlog.

A real worker of 20 slots on servers of its own, with a journal in SQLite. Slot time is what steps
wrote down themselves, in a window in which all tenants had work waiting.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from app.pool.pool import AHEAD
from bench.one_worker import one_worker
from bench.sleeping import SLEPT_FILE
from celery_agents import names
from tests.integration.harness import Stack

#: A slot is a step's from a moment before its code begins until a moment after it has ended, which
#: the step does not see; of a step of a second that is little, also where other work is in the way.
SLOTS, LONG_S, SHORT_S = 20, 10.0, 1.0
#: Seconds from the first step on that are left out, and those that are measured.
WARM_S, MEASURED_S = 20.0, 100.0
#: For one tenant alone, and for a light one: quicker steps.
QUICK_S, SOON_WARM_S, ALONE_S = 0.3, 3.0, 8.0
BACKLOG, BACKLOG_S, SINGLES, ROUNDS = 100_000, 3.0, 40, 5


def main() -> None:
    """Print what each tenant got."""
    print(f"a worker of {SLOTS} slots; steps of {LONG_S} s and of {SHORT_S} s")
    equal, heavier = _shares({}), _shares({"long": 3.0})
    print(f"equal weights      long {equal['long']:.3f}  short {equal['short']:.3f} of slot time")
    print(f"weights 3 : 1      long {heavier['long']:.3f}  short {heavier['short']:.3f}")
    rounds = [_alone_and_of_nobody(number) for number in range(ROUNDS)]
    alone, nobody = (median(figures) for figures in zip(*rounds, strict=True))
    print(f"steps a second     nobody's {nobody:.1f}  one tenant's {alone:.1f}")
    waited, taken, begun = _beside_a_backlog()
    told = f"median {1000 * median(waited):.0f} ms, longest {1000 * max(waited):.0f} ms"
    print(f"a step of {QUICK_S} s beside {BACKLOG:,} of another tenant: {told}")
    print(f"so many of those were taken before it: median {median(taken):.0f}, most {max(taken)}")
    ahead = SLOTS // AHEAD
    told = f"median {median(begun):.0f}, most {max(begun)}, of {ahead} that are taken ahead"
    print(f"so many of those began before it: {told}")
    of_nobody = median(alone / nobody for alone, nobody in rounds)
    figures = {"equal": equal["long"], "three_to_one": heavier["long"], "alone": of_nobody}
    light = {"light_p50_s": median(waited), "before_it": max(taken)}
    rounded = {name: round(figure, 3) for name, figure in (figures | light).items()}
    print(json.dumps({"bench": "tenants", **rounded}))


def _shares(weights: Mapping[str, float]) -> dict[str, float]:
    """Each tenant's part of the slot time."""
    whole = WARM_S + MEASURED_S
    with _worker(weights) as stack:
        for tenant, each_s in (("short", SHORT_S), ("long", LONG_S)):
            needed = int(1.2 * SLOTS * whole / each_s)
            stack.client.ask.many("sleeps", [each_s] * needed, tenant=tenant)
        slept = _slept(stack, whole)
    used: dict[str, float] = {}
    begun = min(began for _, began, _ in slept) + WARM_S
    for tenant, began, ended in slept:
        used[tenant] = used.get(tenant, 0.0) + _inside(began, ended, begun, MEASURED_S)
    return {tenant: part / sum(used.values()) for tenant, part in used.items()}


def _alone_and_of_nobody(number: int) -> tuple[float, float]:
    """Steps a second of one tenant that has all slots, and of nobody in particular; in turns."""
    if number % 2:
        return _throughput("alone"), _throughput("")
    nobody = _throughput("")
    return _throughput("alone"), nobody


def _throughput(tenant: str) -> float:
    """Steps a second of one tenant that has all slots.

    Of steps at the ends of the time that part counts which is in it: those that began together end
    together, and all of them would be in or out.
    """
    with _worker({}) as stack:
        needed = int(1.2 * SLOTS * (SOON_WARM_S + ALONE_S) / QUICK_S)
        stack.client.ask.many("sleeps", [QUICK_S] * needed, tenant=tenant)
        slept = _slept(stack, SOON_WARM_S + ALONE_S)
    begun = min(began for _, began, _ in slept) + SOON_WARM_S
    done = sum(_inside(a, b, begun, ALONE_S) / (b - a) for _, a, b in slept)
    return done / ALONE_S


def _inside(began: float, ended: float, begun: float, measured_s: float) -> float:
    """The seconds of a step that are in the time that is measured."""
    return max(min(ended, begun + measured_s) - max(began, begun), 0.0)


def _beside_a_backlog() -> tuple[list[float], list[int], list[int]]:
    """Seconds until a light tenant's steps have ended, one after another.

    Also how many of the other tenant's messages went out from the queue between when each was sent
    and its own; and how many steps began in that time, such among them as were taken ahead before
    it was there. The slots become free together, every few seconds, so that time tells little of
    the order.
    """
    with _worker({}) as stack:
        stack.client.ask.many("sleeps", [BACKLOG_S] * BACKLOG, tenant="heavy")
        _slept(stack, SOON_WARM_S)
        sent, waited, taken = [], [], []
        for _ in range(SINGLES):
            began, before = time.monotonic(), _served(stack, "served")
            run = stack.client.ask("sleeps", QUICK_S, tenant="light")
            sent.append(time.time())
            while (turn := _served(stack, f"s{names.QUEUE}\nlight")) <= before:
                time.sleep(0.01)
            taken.append(turn - before - 1)
            run.get(timeout=60)
            waited.append(time.monotonic() - began)
        over = time.time() - min(began for _, began, _ in _rows(stack))
        slept = _slept(stack, over + 2 * BACKLOG_S)  # steps tell of themselves as they end
    own = sorted(began for who, began, _ in slept if who == "light")
    heavy = [began for who, began, _ in slept if who == "heavy"]
    turns = zip(sent, own, strict=True)
    return waited, taken, [sum(at < began < turn for began in heavy) for at, turn in turns]


def _served(stack: Stack, field: str) -> int:
    """Count the tenants' messages that went out; a tenant's field has that of its last one."""
    return int(stack.redis.hget(names.HELD, field) or 0)


def _slept(stack: Stack, seconds: float) -> list[tuple[str, float, float]]:
    """Read what steps wrote down until so many seconds after the first one began."""
    until = time.time() + 60
    while True:
        rows = _rows(stack)
        if rows and max(row[2] for row in rows) - min(row[1] for row in rows) > seconds:
            return rows
        if time.time() > until + seconds:
            raise TimeoutError(f"{len(rows)} steps have ended")
        time.sleep(0.2)


def _rows(stack: Stack) -> list[tuple[str, float, float]]:
    """Read what steps have written down: whose they were, and when they began and ended."""
    path = Path(stack.env[SLEPT_FILE])
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [(who, float(a), float(b)) for who, a, b in (line.split() for line in lines)]


@contextmanager
def _worker(weights: Mapping[str, float]) -> Iterator[Stack]:
    told = [f"[tenants.{name}]\nweight = {weight}\n" for name, weight in weights.items()]
    with tempfile.TemporaryDirectory() as folder:
        env = {"AGENTS_MODULES": '["bench.sleeping"]', SLEPT_FILE: str(Path(folder) / "slept")}
        config = "[agents]\n" + "".join(told)
        with one_worker("--concurrency", str(SLOTS), config=config, env=env) as stack:
            yield stack
