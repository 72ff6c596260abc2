"""A run: the handle that the client gives for what it enqueued."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from celery import Signature
from celery.result import AsyncResult

from celery_agents import names
from celery_agents.client.waiting import AGAIN_S, send_again
from celery_agents.contracts.compensation import compensation_id
from celery_agents.contracts.gather import Aggregate
from celery_agents.contracts.mapping import MapResult
from celery_agents.contracts.outcome import Outcome, State
from celery_agents.contracts.vote import Decision
from celery_agents.errors import IdInUseError

if TYPE_CHECKING:
    from celery_agents.client.client import Client
    from celery_agents.wire.messages import Message

#: Seconds between two looks of ``await run``: soon at first, then seldom.
_LOOKS_S = (0.01, 0.25)


class Run:
    """What was asked for, under the id of its Celery task. ``await run`` gives its value."""

    def __init__(
        self, client: Client, run_id: str, message: Message | Signature | None = None
    ) -> None:
        self.client = client
        self.id = run_id
        self.message = message  # what was sent, to be sent again while somebody waits

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"

    @cached_property
    def result(self) -> AsyncResult:
        """Celery's own handle."""
        return AsyncResult(self.id, app=self.client.celery)

    @property
    def known(self) -> bool:
        """Whether its result was read already."""
        return self.result._cache is not None  # noqa: SLF001 - where Celery's backends put it

    def take(self, meta: dict[str, Any]) -> None:
        """Keep the result that was read."""
        self.result._maybe_set_cache(meta)  # noqa: SLF001 - as Celery's backends do

    def get(self, timeout: float | None = None) -> Any:
        """The value, once it is there. For many runs see :meth:`Client.collect`.

        Raises:
            ResultTimeoutError: it did not come within ``timeout`` seconds; the run goes on.
            IdInUseError: its id names another call, and the result is that one's.
            AgentsError: the run failed; the error is of the class that the worker raised.
        """
        for _ in self.client.as_completed([self], timeout=timeout):
            pass
        self._refuse_other(self.result._get_task_meta())  # noqa: SLF001 - which was read already
        return self._value(self.result.get())

    def _refuse_other(self, meta: dict[str, Any]) -> None:
        known_as = getattr(self.message, "known_as", None)
        asked = meta.get(names.PAYLOAD)
        if known_as is not None and asked is not None and asked not in known_as:
            raise IdInUseError.of(self.id)

    def __await__(self) -> Generator[Any, None, Any]:
        return self._wait().__await__()

    async def _wait(self) -> Any:
        pause, longest = _LOOKS_S
        again, waited = AGAIN_S[0], 0.0
        while not await asyncio.to_thread(self.result.ready):
            await asyncio.sleep(pause)
            waited += pause
            pause = min(1.5 * pause, longest)
            if waited >= again:
                await asyncio.to_thread(send_again, [self])
                again, waited = min(2 * again, AGAIN_S[1]), 0.0
        return await asyncio.to_thread(self.get, 5.0)

    def _value(self, value: Any) -> Any:
        return value

    def ready(self) -> bool:
        """Whether it ended, one way or the other."""
        return bool(self.result.ready())

    def outcome(self) -> Outcome | None:
        """How it ended, with attempts and cost; None while it has not."""
        meta = self.result.backend.get_task_meta(self.id, cache=False)
        if meta["status"] not in {"SUCCESS", "FAILURE", "REVOKED"}:
            return None
        self._refuse_other(meta)
        told = meta.get("outcome")
        if told is None:
            state = State.SUCCEEDED if meta["status"] == "SUCCESS" else State.FAILED
            return Outcome(state=state)
        value = meta["result"] if meta["status"] == "SUCCESS" else None
        return Outcome.model_validate({**told, "value": value})

    def status(self, *, timeout: float = 10.0) -> dict[str, Any] | None:
        """The run as a tree of steps; see :meth:`Client.status`."""
        return self.client.status(self.id, timeout=timeout)

    @property
    def compensation(self) -> Run:
        """What undoes it, if it failed and something is to be undone; its value is a report.

        Whether there is one is told by :meth:`status`.
        """
        return Run(self.client, compensation_id(self.id))

    def cancel(self) -> None:
        """Ask for it to be cancelled with all its steps."""
        self.client.cancel(self.id)

    def forget(self) -> None:
        """Free the stored result."""
        self.result.forget()


class AggregateRun(Run):
    """A gathering: its value is an :class:`Aggregate`."""

    def _value(self, value: Any) -> Aggregate:
        return Aggregate.model_validate(value)


class DecisionRun(Run):
    """A vote: its value is a :class:`Decision`."""

    def _value(self, value: Any) -> Decision:
        return Decision.model_validate(value)


class MapRun(Run):
    """A map: its value is a :class:`MapResult`; :meth:`results` has each input's outcome."""

    def _value(self, value: Any) -> MapResult:
        return MapResult.model_validate(value)

    def results(self, *, timeout: float = 10.0) -> Iterator[tuple[int, Outcome]]:
        """Places of inputs and how their steps ended, read page by page from the journal.

        In the order of the inputs, without those that have not ended (yet) or were never asked.
        ``timeout`` is for each page.

        Raises:
            InvalidPayloadError: the journal does not have the run (any more).
            ResultTimeoutError: no worker answered in time.
        """
        return self.client.results(self.id, timeout=timeout)
