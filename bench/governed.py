"""Policies: steps a second of the same tree without any, under three limits, and with budgets too.

A real worker on servers of its own asks an HTTP service; rounds are played in turn, and what is
compared are medians. The policies refuse nothing: what is measured is what asking costs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from bench.one_worker import one_worker
from deploy.local.servers import LOOPBACK, free_port
from tests.integration.harness import Stack

STEPS, WARM, ROUNDS, CONCURRENCY, SOON_S = 1_500, 100, 5, 200, 300.0
_MANY = 1_000_000_000
_LIMITS = f"""
[limits.rate]
covers = ["kind:http"]
requests_per_minute = {_MANY}
burst_s = 60.0

[limits.tokens]
covers = ["kind:http"]
tokens_per_minute = {_MANY}

[limits.slots]
covers = ["agent:service"]
concurrent = 100_000
"""
_BUDGETS = f"""
[budgets.company]
calls = {_MANY}
every = "month"

[budgets.customer]
per = "tenant"
calls = {_MANY}
every = "day"
"""
#: By name: what the file has, and whose runs they are.
VARIANTS = {
    "none": ("", ""),
    "limits": (_LIMITS, ""),
    "all": (_LIMITS + _BUDGETS, "acme"),
}


def main() -> None:
    """Print what each variant did, and its share of what is done without policies."""
    found: dict[str, list[float]] = {name: [] for name in VARIANTS}
    with _service() as url:
        for _ in range(ROUNDS):
            for name, (policies, tenant) in VARIANTS.items():
                found[name].append(_steps_per_s(url, policies, tenant))
    middle = {name: median(figures) for name, figures in found.items()}
    for name, figure in middle.items():
        of = figure / middle["none"]
        told = " ".join(f"{one:.0f}" for one in found[name])
        print(f"{name:<8} {figure:7.1f} steps/s  {of:.3f} of none   ({told})")
    shares = {name: round(middle[name] / middle["none"], 3) for name in ("limits", "all")}
    print(json.dumps({"bench": "governed", **shares}))


def _steps_per_s(url: str, policies: str, tenant: str) -> float:
    config = f'[agents.service]\nkind = "http"\nurl = "{url}"\n{policies}'
    with one_worker("--concurrency", str(CONCURRENCY), config=config) as stack:
        _done(stack, WARM, tenant)
        began = time.monotonic()
        _done(stack, STEPS, tenant)
        return STEPS / (time.monotonic() - began)


def _done(stack: Stack, steps: int, tenant: str) -> None:
    runs = stack.client.ask.many("service", [*range(steps)], tenant=tenant or None)
    stack.client.runs.collect(runs, timeout=SOON_S)


@contextmanager
def _service() -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "bench.model_server", str(port)]
    with subprocess.Popen(command) as server:
        try:
            yield f"http://{LOOPBACK}:{port}/ask"
        finally:
            server.terminate()
