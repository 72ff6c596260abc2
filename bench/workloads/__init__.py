"""The workloads, in the order in which they run."""

from __future__ import annotations

from importlib import import_module

from bench.workload import Workload

NAMES = (
    "noop",
    "roundtrip",
    "waiting",
    "chain",
    "flow",
    "fanout",
    "vote",
    "samples",
    "enqueue",
    "recovery",
    "growth",
)


def workload(name: str) -> Workload:
    """The workload of that name."""
    found: Workload = import_module(f"bench.workloads.{name}").WORKLOAD
    return found
