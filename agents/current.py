"""The step in whose code one stands: for code that is handed none, as that of other libraries."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from agents.base import StepContext


class Current(NamedTuple):
    """A step, and the loop that its calls are made on."""

    step: StepContext
    loop: asyncio.AbstractEventLoop


#: Threads that the code of a step starts by ``asyncio.to_thread`` see it too.
CURRENT: ContextVar[Current | None] = ContextVar("current_step", default=None)


def stand_in(step: StepContext) -> None:
    """Have the running task, and all that it starts, be code of a step."""
    CURRENT.set(Current(step, asyncio.get_running_loop()))


def step_out() -> None:
    """Have the running task be code of no step: its context would keep the step alive."""
    CURRENT.set(None)


@contextmanager
def outside() -> Iterator[None]:
    """Have what is done here be code of no step: it is part of a call that is journaled already."""
    token = CURRENT.set(None)
    try:
        yield
    finally:
        CURRENT.reset(token)
