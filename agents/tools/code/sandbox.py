"""Programs of strangers, in processes of pydantic-monty that see nothing of the machine.

A program reaches the world by calls alone, which whoever runs it answers. It has no clock, and its
random numbers are those of a seed: the same program, answered the same, does the same.
"""

from __future__ import annotations

import asyncio
import io
import tokenize
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celery_agents.errors import ConfigurationError

if TYPE_CHECKING:
    from pydantic_monty import AsyncMonty, AsyncMontySession

#: Processes of programs beside one worker process; more programs wait for one.
_PROCESSES = 8
#: Names of functions in an error.
_NAMES_MAX = 20
#: Lookups of names and waits of a program, for each call that it may make.
_TURNS = 4


@dataclass(frozen=True, slots=True)
class CodeBounds:
    """The limits of one program."""

    #: Seconds that it computes; what its calls take is not counted.
    timeout_s: float
    memory_bytes: int
    max_calls: int
    #: Bytes that it prints.
    print_bytes: int


@dataclass(frozen=True, slots=True)
class ProgramCall:
    """A call that a program makes: the function, and its arguments as it gave them."""

    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CallAnswer:
    """The answer to a call: a value, or the text of the error that the program gets."""

    value: Any = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ProgramEnd:
    """The end of a program: its value or its error, and what it printed."""

    value: Any
    printed: str
    calls: int
    error: str | None = None


#: Answers calls that a program makes side by side, in their order.
AnswerCalls = Callable[[Sequence[ProgramCall]], Awaitable[Sequence[CallAnswer]]]


class Sandbox:
    """The processes of programs beside one worker process, which begin with the first program."""

    def __init__(self) -> None:
        self._pool: AsyncMonty | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening = asyncio.Lock()

    async def run(
        self,
        source: str,
        bounds: CodeBounds,
        *,
        seed: str,
        functions: Sequence[str],
        answer: AnswerCalls,
    ) -> ProgramEnd:
        """Run a program to its end. What ``answer`` raises ends it, and is raised.

        Raises:
            ConfigurationError: the sandbox is not installed, or cannot be started.
        """
        pool = await self._open()
        from pydantic_monty import MontyError

        run = _Run(source, bounds, functions, answer)
        try:
            async with pool.checkout(**_options(bounds, seed)) as session:
                value = await run.to_end(session)
        except MontyError as error:
            return run.ended(error=_text_of(error))
        except _EndedError as error:
            return run.ended(error=f"It {error}, and was ended.")
        return run.ended(value, run.not_awaited())

    async def aclose(self) -> None:
        """End the processes."""
        pool, self._pool = self._pool, None
        if pool is not None and self._loop is asyncio.get_running_loop():
            await pool.__aexit__(None, None, None)

    async def _open(self) -> AsyncMonty:
        loop = asyncio.get_running_loop()
        if self._pool is not None and self._loop is loop:
            return self._pool
        if self._loop is not loop:
            self._loop, self._pool, self._opening = loop, None, asyncio.Lock()
        async with self._opening:  # one for all programs that begin at once
            if self._pool is None:
                self._pool = await _started()
        return self._pool


class _EndedError(Exception):
    """A program has done more than it may."""


class _Printed:
    """The beginning of what a program prints. One that prints more than it may is ended at once.

    The sandbox itself would tell of that when the program has ended: at its time limit.
    """

    _scope: asyncio.Timeout

    def __init__(self, most_bytes: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._most = self._left = most_bytes
        self._parts: list[str] = []

    def __call__(self, _stream: str, text: str) -> None:
        """Take a piece, in a thread of the sandbox."""
        if self._left < 0:
            return
        told = text.encode(errors="replace")
        self._parts.append(told[: self._left].decode(errors="ignore"))
        self._left -= len(told)
        if self._left < 0:
            self._loop.call_soon_threadsafe(self._end)

    @property
    def text(self) -> str:
        """The beginning of all that was printed, up to the bound."""
        return "".join(self._parts)

    async def watched(self, going: Awaitable[Any]) -> Any:
        """Let the program go on until it wants something, or has ended.

        Raises:
            _EndedError: it has printed too much.
        """
        at = None
        try:
            async with asyncio.timeout(None) as self._scope:
                at = await going
        except Exception:
            if self._left >= 0:
                raise
        if self._left < 0:
            raise _EndedError(f"printed more than {self._most:,} bytes")
        return at

    def _end(self) -> None:
        with suppress(RuntimeError):  # it wants something, or has ended
            self._scope.reschedule(0)


class _Run:
    """One run of a program."""

    def __init__(
        self,
        source: str,
        bounds: CodeBounds,
        functions: Sequence[str],
        answer: AnswerCalls,
    ) -> None:
        self._source = source
        self._bounds = bounds
        self._functions = {name: _function(name) for name in functions}
        self._answer = answer
        self._printed = _Printed(bounds.print_bytes)
        self._calls = 0
        #: Whether its calls are awaited; then those that wait at once are made side by side.
        self._awaits = _awaits(source)
        self._waiting: dict[int, ProgramCall] = {}

    def ended(self, value: Any = None, error: str | None = None) -> ProgramEnd:
        """Return its end. Calls that nobody awaited were not begun."""
        begun = self._calls - len(self._waiting)
        return ProgramEnd(value, self._printed.text, begun, error)

    def not_awaited(self) -> str | None:
        """Name the calls that it takes for made, and that were not: it awaited none of them."""
        if not self._waiting:
            return None
        names = dict.fromkeys(one.name for one in self._waiting.values())
        told = ", ".join([*names][:_NAMES_MAX])
        return (
            f"{told} {'was' if len(names) == 1 else 'were'} not awaited, and not made. In a "
            "program that has the word await, each call is awaited."
        )

    async def to_end(self, session: AsyncMontySession) -> Any:
        """Run it; return the value of its last expression."""
        from pydantic_monty import (
            AsyncFunctionSnapshot,
            AsyncFutureSnapshot,
            AsyncNameLookupSnapshot,
        )

        going: Any = session.feed_start(self._source, print_callback=self._printed)
        while True:
            match at := await self._printed.watched(going):
                case AsyncFunctionSnapshot(is_os_function=True):
                    going = at.resume_not_handled()
                case AsyncFunctionSnapshot():
                    going = at.resume(await self._called(at))
                case AsyncNameLookupSnapshot():
                    found = self._functions.get(at.variable_name)
                    going = at.resume() if found is None else at.resume(value=found)
                case AsyncFutureSnapshot():
                    going = at.resume(await self._settled(at.pending_call_ids))
                case _:
                    return at.output

    async def _called(self, at: Any) -> Any:
        name = at.function_name
        if name not in self._functions:
            told = f"name {name!r} is not defined: there is no tool of that name"
            return {"exc_type": "NameError", "message": told}
        self._calls += 1
        if self._calls > self._bounds.max_calls:
            raise _EndedError(f"made more than {self._bounds.max_calls} calls")
        wanted = ProgramCall(name, at.args, at.kwargs)
        if self._awaits:
            self._waiting[at.call_id] = wanted
            return {"future": ...}
        [given] = await self._answer([wanted])
        return _result(given)

    async def _settled(self, pending: Sequence[int]) -> dict[int, Any]:
        """Make the calls that wait, all before the program goes on: it is told of them in order."""
        ids = sorted(pending)
        given = await self._answer([self._waiting.pop(call_id) for call_id in ids])
        return {call_id: _result(one) for call_id, one in zip(ids, given, strict=True)}


async def _started() -> AsyncMonty:
    try:
        from pydantic_monty import AsyncMonty
    except ModuleNotFoundError:
        raise ConfigurationError(
            "Programs of models need the package pydantic-monty: pip install celery-agents[code]"
        ) from None
    pool = AsyncMonty(max_processes=_PROCESSES)
    try:
        await pool.__aenter__()
    except (OSError, RuntimeError) as error:
        message = f"The sandbox of programs cannot be started: {type(error).__name__}: {error}"
        raise ConfigurationError(message) from None
    return pool


def _options(bounds: CodeBounds, seed: str) -> Any:
    """How a session is begun: with a random start, without a clock, and within the bounds."""
    return {
        "script_name": "program.py",
        "os_policy": {
            "datetime": "call_host",
            "sleep": "zero",
            "random_start": {"seed": seed},
        },
        "limits": {
            "max_feed_duration_secs": bounds.timeout_s,
            "max_memory": bounds.memory_bytes,
            # Calls are counted here; what else it asks for has an end, too.
            "max_suspensions": bounds.max_calls * _TURNS + 1_000,
        },
    }


def _awaits(source: str) -> bool:
    """Return whether the word ``await`` stands in its code, beside texts and comments."""
    if "await" not in source:
        return False
    with suppress(tokenize.TokenError, SyntaxError, ValueError, RecursionError):
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.NAME and token.string == "await":
                return True
    return False


def _function(name: str) -> Callable[[], None]:
    """Stand for a function where a program only names it."""

    def function() -> None: ...

    function.__name__ = name
    return function


def _result(given: CallAnswer) -> dict[str, Any]:
    if given.error is None:
        return {"return_value": given.value}
    return {"exc_type": "RuntimeError", "message": given.error}


def _text_of(error: Any) -> str:
    """The traceback that the sandbox writes, or what else it says."""
    display = getattr(error, "display", None)
    return str(display() if display is not None else error)
