"""Actors of Ray, run by the Python of its own environment: ``ray_actors.py KEYS MESSAGES``."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import ray  # type: ignore[import-not-found]  # of that environment


@ray.remote(num_cpus=0)
class Sum:
    """A sum of numbers."""

    def __init__(self) -> None:
        self.total = 0

    def add(self, number: int) -> int:
        """Adds one."""
        self.total += number
        return self.total


def main(keys: int, messages: int) -> None:
    """Print how long it took."""
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    begun = time.monotonic()
    make: Any = Sum
    actors = [make.remote() for _ in range(keys)]
    told = [one.add.remote(number) for number in range(messages) for one in actors]
    told_s = time.monotonic() - begun
    ray.get(told)
    assert sum(ray.get([one.add.remote(0) for one in actors])) == keys * sum(range(messages))
    print(json.dumps({"told_s": told_s, "done_s": time.monotonic() - begun}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
