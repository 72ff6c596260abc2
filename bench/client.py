"""One round's client, in its contestant's own environment: ``python -m bench.client ORDER``.

The order is JSON. Events are lines of JSON on standard output: ``begin`` and ``end`` around what
is measured, so that the bench reads at both what the processes have used.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module, metadata
from typing import Any, TextIO

from bench.driver import Driver
from bench.workload import Workload


def main(order: dict[str, Any]) -> None:
    events = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no event
    workload: Workload = import_module(f"bench.workloads.{order['workload']}").WORKLOAD
    module = import_module(f"bench.contestants.{order['family']}.driver")
    driver: Driver = module.Driver()
    try:
        if order["phase"] == "prepare":
            assert workload.prepare is not None
            workload.prepare(driver, order["case"])
            _tell(events, event="end")
            return
        workload.warm_up(driver, order["case"])
        _tell(events, event="begin")
        figures = workload.measure(driver, order["case"])
        versions = {name: metadata.version(name) for name in order["packages"]}
        _tell(events, event="end", figures=figures, versions=versions)
    finally:
        driver.close()


def _tell(events: TextIO, **event: Any) -> None:
    events.write(json.dumps(event) + "\n")
    events.flush()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
