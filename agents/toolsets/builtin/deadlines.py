"""An end by the clock for Python code that may loop, as readers of others' documents do."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class TooLateError(BaseException):
    """The time is over. Code that takes each Exception for a broken part lets it through."""


@contextmanager
def deadline(limit_s: float) -> Iterator[None]:
    """End Python code of this thread after its time, when it next calls something.

    A thread cannot be killed. A profile function is asked at each call, and what it raises is
    raised there.

    Raises:
        TooLateError: the code was ended.
    """
    until = time.monotonic() + limit_s

    def look(_frame: Any, event: str, _arg: Any) -> None:
        if event == "call" and time.monotonic() > until:
            sys.setprofile(None)
            raise TooLateError

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(before)
