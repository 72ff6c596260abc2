"""Performing the code of a step: on the loop or not, within its time, to a value."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from agents.timing import in_time
from app.concurrency.fibers import blocking, sleep, wait
from app.execution.answers import Failed, Result, Stopped, result_of
from app.execution.runtime import Active, Runtime
from celery_agents.errors import AgentFailedError, AgentsError, DeadlineExceededError, redact
from celery_agents.noted import note

log = logging.getLogger(__name__)


def valued(
    runtime: Runtime, active: Active, work: Callable[[], Result], *, about: tuple[str, str]
) -> Result:
    """Do the work; whatever it raises becomes a value, and is logged as that of ``about``."""
    try:
        return work()
    except asyncio.CancelledError:
        sleep(0)  # its coroutine hears of it before anybody else does
        itself = AgentFailedError("The agent's code cancelled itself.")
        return Stopped() if active.cancelled or runtime.stopping else Failed(itself)
    except AgentsError as error:
        return Failed(error)
    except Exception as error:  # noqa: BLE001 - it is noted
        level = logging.ERROR
        note(log, "step", "%s of %s failed", *about, error=error, level=level, trace=True)
        return Failed(AgentFailedError(redact(f"{type(error).__name__}: {error}")))


def decided_by(code: Any, step: Any, request: Any) -> Result:
    """Run the code of a pattern, which only decides: where the caller runs if that is brief.

    A thread for it is two hand-overs, and what it decides is written in no company then.
    """
    if code.is_brief(request):
        sleep(0)  # those that came with it begin meanwhile, and are written with it
        return result_of(code.run(step, request))
    return result_of(blocking(code.run, step, request))


def on_loop(
    runtime: Runtime, active: Active, limit_s: float, begin: Callable[[], Awaitable[Any]]
) -> Result:
    """Run a coroutine on the loop of all steps, and wait for what it gives.

    Raises:
        DeadlineExceededError: it took longer than ``limit_s``; it was cancelled.
    """

    def late() -> DeadlineExceededError:
        told = f"The step did not end within {limit_s:.3g} s; its work was cancelled."
        return DeadlineExceededError(told)

    active.work = runtime.loop.submit(in_time(limit_s, begin(), late))
    if active.cancelled:  # asked to stop between the claim and here
        active.work.cancel()
    return result_of(wait(active.work))
