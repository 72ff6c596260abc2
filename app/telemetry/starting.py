"""Processes that cannot start: one line of the log says why."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from celery.platforms import EX_FAILURE

from celery_agents.errors import AgentsError

log = logging.getLogger(__name__)


@contextmanager
def starting(who: str) -> Iterator[None]:
    """Have the log say why somebody cannot start, and at ``--loglevel=debug`` also where.

    Raises:
        SystemExit: they cannot. Celery would show where in our code the error was raised.
    """
    try:
        yield
    except AgentsError as error:
        log.critical("%s cannot start: %s: %s", who, error.kind, error)
        log.debug("It was raised here", exc_info=True)
        raise SystemExit(EX_FAILURE) from None
