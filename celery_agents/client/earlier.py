"""The client's methods by the names that they had before they stood in groups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from celery_agents.address import RedisAddress
from celery_agents.client.connection import Connection
from celery_agents.client.dead_letters import DeadLetters, Letter
from celery_agents.client.run import Run
from celery_agents.client.runs import Runs
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.outcome import Outcome
from celery_agents.wire.messages import Draft, Message

R = TypeVar("R", bound=Run[Any])


class EarlierNames:
    """Passes each call on to its new place. ``dead_letters`` itself can be called, too."""

    _connection: Connection
    runs: Runs
    dead_letters: DeadLetters

    def as_completed(self, runs: Iterable[R], *, timeout: float | None = None) -> Iterator[R]:
        """See :meth:`Runs.as_completed`."""
        return self.runs.as_completed(runs, timeout=timeout)

    def collect(
        self,
        runs: Iterable[Run[Any]],
        *,
        timeout: float | None = None,
        return_exceptions: bool = False,
    ) -> list[Any]:
        """See :meth:`Runs.collect`."""
        return self.runs.collect(runs, timeout=timeout, return_exceptions=return_exceptions)

    def status(self, run_id: str, *, timeout: float = 10.0) -> dict[str, Any] | None:
        """See :meth:`Runs.status`."""
        return self.runs.status(run_id, timeout=timeout)

    def known(self, run_id: str, *, timeout: float = 10.0) -> bool:
        """See :meth:`Runs.known`."""
        return self.runs.known(run_id, timeout=timeout)

    def results(self, run_id: str, *, timeout: float = 10.0) -> Iterator[tuple[int, Outcome]]:
        """See :meth:`Runs.results`."""
        return self.runs.results(run_id, timeout=timeout)

    def cancel(self, run_id: str) -> None:
        """See :meth:`Runs.cancel`."""
        self.runs.cancel(run_id)

    def approve(
        self, run_id: str, choice: JsonValue, *, key: str | None = None, timeout: float = 10.0
    ) -> None:
        """See :meth:`Runs.approve`."""
        self.runs.approve(run_id, choice, key=key, timeout=timeout)

    def dead_letter(self, letter_id: str, *, timeout: float = 10.0) -> Letter | None:
        """See :meth:`DeadLetters.get`."""
        return self.dead_letters.get(letter_id, timeout=timeout)

    def requeue(self, letter_id: str, *, timeout: float = 10.0) -> None:
        """See :meth:`DeadLetters.requeue`."""
        self.dead_letters.requeue(letter_id, timeout=timeout)

    def drop(self, letter_id: str, *, timeout: float = 10.0) -> bool:
        """See :meth:`DeadLetters.drop`."""
        return self.dead_letters.drop(letter_id, timeout=timeout)

    @property
    def address(self) -> RedisAddress:
        """See :class:`Connection`, as of all that follow."""
        return self._connection.address

    @property
    def payload_limit_bytes(self) -> int:
        """Above it a message is refused."""
        return self._connection.payload_limit_bytes

    @property
    def ballots_max(self) -> int:
        """Above it a vote or a gathering is refused."""
        return self._connection.ballots_max

    def draft(
        self, task: str, kwargs: dict[str, Any], *, queue: str | None = None, **about: Any
    ) -> Draft:
        """See :meth:`Connection.draft`."""
        return self._connection.draft(task, kwargs, queue=queue, **about)

    def refuse_other(self, message: Message) -> None:
        """See :meth:`Connection.refuse_other`."""
        self._connection.refuse_other(message)
