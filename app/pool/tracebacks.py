"""Tracebacks as Celery keeps them, at a cost that a task of a millisecond can bear.

Celery's tracer takes whatever a task raises apart, frame by frame, so that it can be pickled, and
writes it out as text. For its own frame alone that is thousands of places of code. A pattern that
waits for its members ends by raising Ignore, of which nobody reads a traceback: made twice for
each, they were a sixth of a vote's whole time.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from types import CodeType
from typing import Any

from billiard import einfo
from celery.app import trace
from celery.exceptions import Ignore

#: Functions that are remembered; those in which tasks end are some tens.
REMEMBERED = 512


def be_brief() -> None:
    """Have Celery in this process describe each function once, and no Ignore at all."""
    einfo._Frame.Code = staticmethod(_described)  # noqa: SLF001 - it is named there to be replaced
    trace.ExceptionInfo = BriefInfo


@lru_cache(REMEMBERED)
def _described(code: CodeType) -> Any:
    return einfo._Code(code)  # noqa: SLF001 - as above


class BriefInfo(einfo.ExceptionInfo):
    """An exception as Celery's tracer tells it; an Ignore without its traceback."""

    def __init__(self, exc_info: Any = None, internal: bool = False) -> None:
        """Of the exception that is being handled, unless another is given."""
        kind, exception, _ = exc_info or sys.exc_info()
        if kind is not None and issubclass(kind, Ignore):
            self.type, self.exception, self.internal = kind, exception, internal
            self.traceback = f"{kind.__name__}: {exception}\n"
        else:
            super().__init__(exc_info, internal)
