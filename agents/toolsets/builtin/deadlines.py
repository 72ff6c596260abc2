"""An end by the clock for Python code that may loop, as readers of others' documents do."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class TooLateError(BaseException):
    """The time is over. Code that takes each Exception for a broken part lets it through."""


def time_limit(limit_s: float) -> Callable[[], bool]:
    """Return what tells whether this thread has computed for so long since then.

    Not while others have the processor: on a busy machine what is right takes longer, too. What the
    thread waits for is not counted, so it is no limit for that.
    """
    until, over = time.monotonic() + limit_s, time.thread_time() + limit_s
    # The other clock takes a system call; this one is never behind it.
    return lambda: time.monotonic() > until and time.thread_time() > over


@contextmanager
def deadline(limit_s: float) -> Iterator[None]:
    """End Python code of this thread once it has computed so long, when it next calls something.

    A thread cannot be killed. A profile function is asked at each call, and what it raises is
    raised there.

    Raises:
        TooLateError: the code was ended.
    """
    is_over = time_limit(limit_s)

    def look(_frame: Any, event: str, _arg: Any) -> None:
        if event == "call" and is_over():
            sys.setprofile(None)
            raise TooLateError

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(before)
