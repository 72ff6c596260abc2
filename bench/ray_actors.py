"""Actors of Ray, run by the Python of its own environment: ``ray_actors.py KEYS MESSAGES``."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import ray  # type: ignore[import-not-found]  # of that environment

#: An actor of Ray is a process: a thousand of them take more memory than machines have, so the keys
#: share as many as there are workers.
PROCESSES = 4


@ray.remote(num_cpus=0)
class Sums:
    """Sums of numbers, by keys."""

    def __init__(self) -> None:
        self.totals: dict[int, int] = {}

    def add(self, key: int, number: int) -> int:
        """Adds one."""
        self.totals[key] = self.totals.get(key, 0) + number
        return self.totals[key]


def main(keys: int, messages: int) -> None:
    """Print how long it took."""
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    make: Any = Sums
    actors = [make.remote() for _ in range(PROCESSES)]
    ray.get([one.add.remote(0, 0) for one in actors])  # its processes are up, as others' workers
    begun = time.monotonic()
    told = [
        actors[key % PROCESSES].add.remote(key, number)
        for number in range(messages)
        for key in range(keys)
    ]
    told_s = time.monotonic() - begun
    ray.get(told)
    sums = ray.get([actors[key % PROCESSES].add.remote(key, 0) for key in range(keys)])
    assert sums == [sum(range(messages))] * keys
    print(json.dumps({"told_s": told_s, "done_s": time.monotonic() - begun}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
