"""Calling a user's Python function, sync or async, from the loop."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from pathlib import PurePath
from typing import Any

from celery_agents.errors import (
    AgentFailedError,
    AgentsError,
    ProviderUnavailableError,
    redact,
)
from celery_agents.noted import note

log = logging.getLogger(__name__)

# Trouble of the file system's own kind does not pass by waiting; other OSErrors are mostly the
# network's.
_LASTING = (
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)


async def invoke(
    function: Callable[..., Any], *args: Any, executor: Executor | None = None, **kwargs: Any
) -> Any:
    """Call ``function``: a coroutine function on the loop, any other in a thread.

    The thread sees this task's context variables. Cancelling stops a coroutine at its next
    await; a thread cannot be stopped, and its result is dropped.
    """
    if is_async(function):
        return await _awaited(function(*args, **kwargs))
    return await threaded(partial(function, *args, **kwargs), executor)


async def threaded(function: Callable[[], Any], executor: Executor | None) -> Any:
    """The same of a function that is known not to be async."""
    context = contextvars.copy_context()
    loop = asyncio.get_running_loop()
    result = await loop.run_in_executor(executor, context.run, _guarded, function)
    return await _awaited(result) if inspect.isawaitable(result) else result


async def called_here(function: Callable[[], Any]) -> Any:
    """Call a function that is not async on the loop, which waits for it: it has to be quick.

    As in a thread, what it does to context variables stays its own. Many at once take turns with
    whatever else the loop has to do: each waits for a round in which there is time for it.
    """
    loop, share = asyncio.get_running_loop(), _SHARES.last
    if share is None or share.loop is not loop:
        share = _SHARES.last = _LoopShare(loop)
    while share.taken_s >= _SHARE_S:  # noqa: ASYNC110 - it waits for the next round, not for others
        await asyncio.sleep(0)
    began = _clock()
    try:
        return contextvars.copy_context().run(_guarded, function)
    finally:
        share.take(_clock() - began)


#: Seconds of one round of a loop that quick functions take, and the last of them beyond.
_SHARE_S = 0.005
_clock = time.perf_counter


class _LoopShare:
    """The time that quick functions have taken since a loop began its round."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.taken_s = 0.0
        self._ends = False

    def take(self, seconds: float) -> None:
        """Count a call."""
        self.taken_s += seconds
        if not self._ends:
            self._ends = True
            self.loop.call_soon(self._end)

    def _end(self) -> None:
        self.taken_s, self._ends = 0.0, False


class _Shares(threading.local):
    """The share of a thread's loop, of which a thread has one at a time."""

    last: _LoopShare | None = None


_SHARES = _Shares()


def is_async(function: Callable[..., Any]) -> bool:
    """Return whether calling it gives a coroutine; also for objects with an async ``__call__``."""
    code = getattr(function, "__code__", None)
    if getattr(code, "co_flags", 0) & inspect.CO_COROUTINE:  # most are such, and this is quick
        return True
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        type(function).__call__
    )


def failure(who: str, error: Exception) -> AgentsError:
    """An error of a user's code as one of ours, noted in the log if it is not to be expected."""
    known = as_ours(who, error)
    if isinstance(known, AgentFailedError):
        note_raised(who, error)
    return known


def note_raised(who: str, error: Exception) -> None:
    """Tell operators that code raised what it should not, and where; not of errors of ours."""
    if known_error(error) is None:
        level = logging.ERROR
        note(log, "raised", "%s failed", who, error=error, level=level, trace=True, of=who)


def as_ours(who: str, error: Exception) -> AgentsError:
    """An error of a user's code as one of ours: it may pass by waiting, or it does not.

    One of ours that an SDK has wrapped is that again.
    """
    if (known := known_error(error)) is not None:
        return known
    text = redact(f"{who} raised {type(error).__name__}: {error}")
    details = {"where": place_of(error)}
    if isinstance(error, OSError) and not isinstance(error, _LASTING):
        return ProviderUnavailableError(text, details)
    return AgentFailedError(text, details)


def known_error(error: BaseException | None) -> AgentsError | None:
    """The error of ours that others were raised from, as SDKs do with what they do not know."""
    seen = set[int]()
    while error is not None and id(error) not in seen:
        if isinstance(error, AgentsError):
            return error
        seen.add(id(error))
        error = error.__cause__
    return None


def place_of(error: BaseException) -> str:
    """Where an error was raised: ``file.py:12 in function``, without the directories."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return "unknown"
    last = frames[-1]
    return f"{PurePath(last.filename).name}:{last.lineno} in {last.name}"


def _guarded(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except (SystemExit, StopIteration, asyncio.CancelledError) as error:
        raise _plain(error) from error


async def _awaited(result: Any) -> Any:
    try:
        return await result
    except SystemExit as error:
        raise _plain(error) from error


def _plain(error: BaseException) -> RuntimeError:
    """Replace an error that would end the worker's loop, or leave its future waiting for ever."""
    return RuntimeError(f"the function raised {type(error).__name__}({error})")
