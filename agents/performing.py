"""Performing the act of a call, in whatever form an agent's author wrote it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any

from agents.plain import plain_json
from celery_agents.contracts.outcome import Answer
from celery_agents.errors import AgentFailedError, redact

#: Takes the idempotency key, or nothing; gives an Answer, or any value that has a JSON form.
Perform = Callable[..., Any]


async def performed(name: str, perform: Perform, key: str) -> Answer:
    """Give the answer of ``perform``. A coroutine function runs on the loop, others in a thread.

    Raises:
        AgentFailedError: it gave a value without a JSON form.
        Exception: whatever it raised.
    """
    given = (key,) if _takes_key(perform) else ()
    if _is_async(perform):
        result = perform(*given)
    else:
        result = await asyncio.to_thread(_guarded, perform, *given)
    if inspect.isawaitable(result):
        result = await result
    return result if isinstance(result, Answer) else Answer(value=_plain(name, result))


def _takes_key(perform: Perform) -> bool:
    """Return whether it can be called with one argument."""
    if isinstance(perform, FunctionType) and perform.__code__.co_argcount == 1:
        return True  # what agents of this package give; a signature takes ten times as long
    try:
        inspect.signature(perform).bind("key")
    except TypeError:
        return False
    except ValueError:  # a built-in that does not say
        return True
    return True


def _is_async(perform: Perform) -> bool:
    return inspect.iscoroutinefunction(perform) or inspect.iscoroutinefunction(
        type(perform).__call__
    )


def _guarded(perform: Perform, *given: str) -> Any:
    """Call it in a thread, without errors that would end the loop or leave its future waiting."""
    try:
        return perform(*given)
    except (SystemExit, StopIteration, asyncio.CancelledError) as error:
        raise RuntimeError(f"the call raised {type(error).__name__}({error})") from error


def _plain(name: str, value: Any) -> Any:
    try:
        return plain_json(value)
    except ValueError as error:
        message = redact(f"The call {name!r} gave what has no JSON form: {error}")
        raise AgentFailedError(message) from None
