"""Reads what is installed, and the signatures of tasks, once: each app of a test asks for both."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

from celery.app import base

from agents.plugins import found


def know() -> None:
    """Read them once in this process and its forks, as long as its places are the same.

    To read a file of each distribution was half of the time in which a runtime is made.
    """
    base.head_from_fun = cache(base.head_from_fun)
    module: Any = found
    read, places = module.entry_points, tuple(sys.path)
    first = cache(read)

    def entry_points() -> Any:
        return first() if tuple(sys.path) == places else read()

    module.entry_points = entry_points
