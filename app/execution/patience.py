"""Writing down what was paid for, while the journal is away for a moment."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from app.concurrency.fibers import sleep
from celery_agents.errors import (
    AgentFailedError,
    AgentsError,
    JournalUnavailableError,
    LoopStalledError,
    redact,
)
from celery_agents.noted import note

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Pauses of a worker whose journal is away, before it gives the message back or tries again.
JOURNAL_PAUSE_S = (0.5, 5.0)
#: A finished step's outcome is kept and written for so long before the step is given back.
JOURNAL_PATIENCE_S = 60.0


def reason_of(error: Exception) -> str:
    """Tell why a database refuses a write, without what it was to hold."""
    return redact(f"{type(error).__name__}: {getattr(error, 'orig', None) or error}")


class NotWrittenError(Exception):
    """The journal refused a write for what it is, not for being away."""

    def __init__(self, error: Exception) -> None:
        text = reason_of(error)
        said = AgentFailedError(f"The journal does not take what came out: {text}")
        self.told = error if isinstance(error, AgentsError) else said
        super().__init__(text)


def keep_trying(step_id: str, write: Callable[[], T]) -> T:
    """Repeat a write while the journal is away, so that finished work is not lost.

    Raises:
        NotWrittenError: the journal refuses it.
        JournalUnavailableError: the journal was away for a minute.
    """
    give_up = time.monotonic() + JOURNAL_PATIENCE_S
    while True:
        try:
            return write()
        except JournalUnavailableError as error:
            if time.monotonic() > give_up:
                raise
            text = "The outcome of %s is not written yet"
            note(log, "outcome", text, step_id, error=error)
            sleep(random.uniform(*JOURNAL_PAUSE_S))  # noqa: S311 - spreads load
        except LoopStalledError as error:  # it was meant for what the step computed, and came late
            text = "The outcome of %s is written again"
            note(log, "outcome_interrupted", text, step_id, error=error)
        except AgentsError as error:
            raise NotWrittenError(error) from error
        except Exception as error:
            log.exception("The journal refuses what came out of %s", step_id)
            raise NotWrittenError(error) from error
