"""One round's client, in its contestant's own environment: ``python -m bench.client ORDER``.

The order is JSON. Events are lines of JSON on standard output: ``begin`` and ``measured`` around
what is measured, so that the bench reads at both what the processes have used; then ``end`` or
``failed``.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from importlib import import_module, metadata
from typing import Any, TextIO

from bench.driver import Driver
from bench.workload import Workload


def main(order: dict[str, Any]) -> None:
    """Run the phase that the order names; tell its end as an event on standard output."""
    with os.fdopen(os.dup(1), "w") as events:
        os.dup2(2, 1)  # what libraries print is no event
        try:
            told = _run(order, events)
        except Exception as error:  # noqa: BLE001 - whatever it is, the bench tells it
            traceback.print_exc()
            told = {"event": "failed", "error": f"{type(error).__name__}: {error}"}
        _tell(events, **told)


def _run(order: dict[str, Any], events: TextIO) -> dict[str, Any]:
    """Run one phase of the workload; its last event."""
    workload: Workload = import_module(f"bench.workloads.{order['workload']}").WORKLOAD
    module = import_module(f"bench.contestants.{order['family']}.driver")
    driver: Driver = module.Driver()
    try:
        if order["phase"] == "prepare":
            assert workload.prepare is not None
            workload.prepare(driver, order["case"])
            return {"event": "end"}
        workload.warm_up(driver, order["case"])
        _tell(events, event="begin")
        figures = workload.measure(driver, order["case"])
        _tell(events, event="measured")
    finally:
        driver.close()
    versions = {name: metadata.version(name) for name in order["packages"]}
    return {"event": "end", "figures": figures, "versions": versions}


def _tell(events: TextIO, **event: Any) -> None:
    events.write(json.dumps(event) + "\n")
    events.flush()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
