"""A map with slow inputs among many: a window of fifty against waves of fifty and the ideal.

A real worker with more slots than either asks for, on servers of its own, with a journal in SQLite.
The ideal is what fifty clerks would take that never pause, each taking the next input as one ends.
"""

from __future__ import annotations

import heapq
import json
import os
import random
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager

from bench.one_worker import one_worker
from bench.sleeping import SLEPT_FILE
from tests.integration.harness import Stack

INPUTS, AT_ONCE, SLOTS = 2_000, 50, 64
#: Seconds of an input, and of one in a hundred. Shorter ones would measure what the worker itself
#: has to do for each step (BENCH_BATCHES_S scales both).
SHORT_S, LONG_S, LONG_ONES = 0.5, 5.0, 0.01
_ENV = {"AGENTS_MODULES": '["bench.sleeping"]', SLEPT_FILE: os.devnull}


def main() -> None:
    """Print how near each comes to the ideal."""
    scale = float(os.environ.get("BENCH_BATCHES_S", "1"))
    chance = random.Random(1)
    slow = set(chance.sample(range(INPUTS), int(INPUTS * LONG_ONES)))
    inputs = [scale * (LONG_S if n in slow else SHORT_S) for n in range(INPUTS)]
    ideal_s = _ideal_s(inputs)
    print(f"{INPUTS} inputs of {SHORT_S * scale} s, {len(slow)} of {LONG_S * scale} s")
    print(f"ideal of {AT_ONCE} at a time   {ideal_s:.1f} s")
    figures = {}
    for name in ("max_concurrent", "wave"):
        with _worker() as stack:
            took_s = _took_s(stack, name, inputs)
        figures[name] = round(ideal_s / took_s, 3)
        print(f"{name}={AT_ONCE:<14} {took_s:.1f} s, {figures[name]:.3f} of the ideal")
    print(json.dumps({"bench": "batches", **figures}))


def _ideal_s(inputs: Sequence[float]) -> float:
    """Seconds until all inputs are done by clerks who take them in their order."""
    free_at = [0.0] * AT_ONCE
    for seconds in inputs:
        heapq.heapreplace(free_at, free_at[0] + seconds)
    return max(free_at)


def _took_s(stack: Stack, option: str, inputs: Sequence[float]) -> float:
    stack.client.map("sleeps", [0.0]).get(timeout=60)  # it is warm
    began = time.monotonic()
    if option == "wave":
        run = stack.client.map("sleeps", inputs, wave=AT_ONCE)
    else:
        run = stack.client.map("sleeps", inputs, max_concurrent=AT_ONCE)
    assert run.get(timeout=600).succeeded == len(inputs)
    return time.monotonic() - began


def _worker() -> AbstractContextManager[Stack]:
    return one_worker("--concurrency", str(SLOTS), env=_ENV)
