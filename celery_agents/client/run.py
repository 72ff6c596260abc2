"""A run: the handle that the client gives for what it enqueued."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, Protocol, cast

from celery import Signature
from celery.result import AsyncResult
from celery.states import SUCCESS
from typing_extensions import TypeVar

from celery_agents import names
from celery_agents.client.answers import AnswerType
from celery_agents.client.overview.bar import bar
from celery_agents.client.overview.exports import export
from celery_agents.client.waiting import AGAIN_S, refuse_to_block
from celery_agents.contracts.approval import Wish
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.compensation import compensation_id
from celery_agents.contracts.gather import Aggregate
from celery_agents.contracts.mapping import MapResult
from celery_agents.contracts.outcome import Outcome, State
from celery_agents.contracts.vote import Decision
from celery_agents.contracts.watching import MemberProgress
from celery_agents.errors import IdInUseError

if TYPE_CHECKING:
    from celery_agents.client.events import Events
    from celery_agents.wire.messages import Message

#: Of a run's value. Where nothing is said of it, it is any JSON value.
T = TypeVar("T", default=Any)

#: Seconds between two looks of ``await run``: soon at first, then seldom.
_LOOKS_S = (0.01, 0.25)


class Reader(Protocol):
    """The part of a client that its runs need: its ``runs``."""

    def result(self, run_id: str) -> AsyncResult: ...
    def wait(self, runs: Iterable[Run[Any]], timeout: float | None) -> None: ...
    def wake(self, runs: Sequence[Run[Any]]) -> None: ...
    def status(self, run_id: str, *, timeout: float) -> dict[str, Any] | None: ...
    def results(self, run_id: str, *, timeout: float) -> Iterator[tuple[int, Outcome]]: ...
    def progress(self, run_id: str, *, timeout: float) -> MemberProgress | None: ...
    def cancel(self, run_id: str) -> None: ...
    def events(self, run: Run[Any], after: str | None, timeout: float | None) -> Events[Any]: ...
    def waiting(self, run_id: str | None, *, timeout: float) -> list[Wish]: ...


class Reads(Protocol):
    """A client, which may stand for its reader."""

    @property
    def runs(self) -> Reader: ...


class Run(Generic[T]):
    """A request, under the id of its Celery task. ``await run`` gives its value."""

    def __init__(
        self,
        reader: Reader | Reads,
        run_id: str,
        message: Message | Signature | None = None,
        answer: AnswerType[T] | None = None,
    ) -> None:
        self._reader: Reader = getattr(reader, "runs", cast("Reader", reader))
        self._answer = answer
        self.id = run_id
        self.message = message  # what was sent, to be sent again while somebody waits
        self._meta: dict[str, Any] | None = None  # the result, once it was read

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"

    @cached_property
    def result(self) -> AsyncResult:
        """Celery's own handle. It is made on first use: it costs more than reading a result."""
        made = self._reader.result(self.id)
        if self._meta is not None:
            made._maybe_set_cache(self._meta)  # noqa: SLF001 - as Celery's backends do
        return made

    @property
    def _made(self) -> AsyncResult | None:
        """Celery's handle, if it was made."""
        return vars(self).get("result")

    @property
    def known(self) -> bool:
        """True when its result was read already."""
        if self._meta is not None:
            return True
        made = self._made
        return made is not None and made._cache is not None  # noqa: SLF001 - where backends put it

    def take(self, meta: dict[str, Any]) -> None:
        """Keep the result that was read."""
        self._meta = meta
        if (made := self._made) is not None:
            made._maybe_set_cache(meta)  # noqa: SLF001 - as Celery's backends do

    def get(self, timeout: float | None = None) -> T:
        """The value, once it is there. For many runs see :meth:`Runs.collect`.

        Raises:
            ResultTimeoutError: it did not come within ``timeout`` seconds; the run goes on.
            IdInUseError: its id names another call, and the result is that one's.
            BadAnswerError: it is not of the type that was asked for as ``answer``.
            AgentsError: the run failed; the error is of the class that the worker raised.
        """
        if self._meta is None:
            self._reader.wait([self], timeout)
        else:
            refuse_to_block()
        meta: dict[str, Any] = self._meta or self.result._get_task_meta()  # noqa: SLF001 - read already
        self._refuse_other(meta)
        if meta["status"] == SUCCESS:
            return self.read(meta["result"])
        return self.read(self.result.get())  # raises

    def _refuse_other(self, meta: dict[str, Any]) -> None:
        known_as = getattr(self.message, "known_as", None)
        asked = meta.get(names.PAYLOAD)
        if known_as is not None and asked is not None and asked not in known_as:
            raise IdInUseError.of(self.id)

    def __await__(self) -> Generator[Any, None, T]:
        return self._wait().__await__()

    async def _wait(self) -> T:
        pause, longest = _LOOKS_S
        again, waited = AGAIN_S[0], 0.0
        while not await asyncio.to_thread(self.result.ready):
            await asyncio.sleep(pause)
            waited += pause
            pause = min(1.5 * pause, longest)
            if waited >= again:
                await asyncio.to_thread(self._reader.wake, [self])
                again, waited = min(2 * again, AGAIN_S[1]), 0.0
        return await asyncio.to_thread(self.get, 5.0)

    def read(self, value: JsonValue) -> T:
        """The value that a result stands for: an instance of ``answer``, where one was asked for.

        Raises:
            BadAnswerError: it stands for none.
        """
        found: Any = value if self._answer is None else self._answer.read(value)
        return cast("T", found)

    @property
    def answer_schema(self) -> dict[str, Any] | None:
        """The schema of the type that was asked for as ``answer``."""
        return None if self._answer is None else self._answer.schema

    def ready(self) -> bool:
        """Return whether it ended, one way or the other."""
        return self._meta is not None or bool(self.result.ready())

    def outcome(self) -> Outcome | None:
        """How it ended, with attempts and cost; None while it has not. Its value is JSON."""
        return self.outcome_in(self.result.backend.get_task_meta(self.id, cache=False))

    def outcome_in(self, meta: dict[str, Any]) -> Outcome | None:
        """The outcome in a result that was read; None when it is no end."""
        if meta["status"] not in {"SUCCESS", "FAILURE", "REVOKED"}:
            return None
        self._refuse_other(meta)
        told = meta.get("outcome")
        if told is None:
            state = State.SUCCEEDED if meta["status"] == "SUCCESS" else State.FAILED
            return Outcome(state=state)
        value = meta["result"] if meta["status"] == "SUCCESS" else None
        return Outcome.model_validate({**told, "value": value})

    def events(self, *, after: str | None = None, timeout: float | None = None) -> Events[T]:
        """Iterate, by ``for`` or ``async for``, over what it tells while it works, and its end.

        Of a run that was asked for with ``stream=True``; of another one there is the end alone.
        ``after`` is the id of an event: those that came later are told, for as long as they are
        kept. ``timeout`` is the time between two events. With a type for the ``answer``, a text
        has in ``partial`` what there is of it so far, and the end has the instance as ``value``.

        Raises:
            InvalidPayloadError: ``after`` is the id of no event.
            BadAnswerError: at the end, as of ``get``.
        """
        return self._reader.events(self, after, timeout)

    def status(self, *, timeout: float = 10.0) -> dict[str, Any] | None:
        """The run as a tree of steps; see :meth:`Runs.status`."""
        return self._reader.status(self.id, timeout=timeout)

    @property
    def compensation(self) -> Run[Any]:
        """The run that undoes it, if it failed and something is to be undone; it gives a report.

        Whether there is one is told by :meth:`status`.
        """
        return Run(self._reader, compensation_id(self.id))

    def waiting(self, *, timeout: float = 10.0) -> list[Wish]:
        """List what in it waits for a person, oldest first; see :meth:`Runs.waiting`."""
        return self._reader.waiting(self.id, timeout=timeout)

    def cancel(self) -> None:
        """Ask for it to be cancelled with all its steps."""
        self._reader.cancel(self.id)

    def forget(self) -> None:
        """Free the stored result."""
        self._meta = None
        self.result.forget()


class AggregateRun(Run[Aggregate]):
    """A gathering: its value is an :class:`Aggregate`."""

    def read(self, value: JsonValue) -> Aggregate:
        return Aggregate.model_validate(value)


class DecisionRun(Run[Decision]):
    """A vote: its value is a :class:`Decision`."""

    def read(self, value: JsonValue) -> Decision:
        return Decision.model_validate(value)


class MapRun(Run[MapResult]):
    """A map: its value is a :class:`MapResult`; :meth:`results` has each input's outcome."""

    def read(self, value: JsonValue) -> MapResult:
        return MapResult.model_validate(value)

    def get(self, timeout: float | None = None, *, progress: bool = False) -> MapResult:
        """The value, as of :meth:`Run.get`; with ``progress`` a bar shows how far it is.

        On the standard error stream, by rich where that is installed, else as lines.
        """
        with bar(self.progress) if progress else nullcontext():
            return super().get(timeout)

    def progress(self, *, timeout: float = 10.0) -> MemberProgress | None:
        """How many of its inputs have ended, failed, run now; None before it has begun.

        Counted, not read: it costs the same however many there are.
        """
        return self._reader.progress(self.id, timeout=timeout)

    def results(self, *, timeout: float = 10.0) -> Iterator[tuple[int, Outcome]]:
        """Places of inputs and how their steps ended, read page by page from the journal.

        In the order of the inputs, without those that have not ended (yet) or were never asked.
        ``timeout`` is for each page.

        Raises:
            InvalidPayloadError: the journal does not have the run (any more).
            ResultTimeoutError: no worker answered in time.
        """
        return self._reader.results(self.id, timeout=timeout)

    def export(self, path: str | os.PathLike[str], *, failed: bool = False) -> int:
        """Write each input's outcome to a ``.csv``, ``.jsonl`` or ``.parquet``; return how many.

        ``failed``: only those that did not succeed. Raises as :meth:`results`, and
        ``ConfigurationError`` where Parquet's library, the extra ``parquet``, is missing.
        """
        return export(self.results(), path, failed=failed)
