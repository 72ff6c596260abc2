"""``agents.runs``: runs that were enqueued, by their ids or their handles."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from celery.result import AsyncResult
from celery.states import READY_STATES
from kombu.exceptions import OperationalError

from celery_agents import names
from celery_agents.client.answers import answer_type
from celery_agents.client.connection import Connection
from celery_agents.client.control import Control
from celery_agents.client.events import Events, Watched
from celery_agents.client.finding import RunSearch
from celery_agents.client.run import Run
from celery_agents.client.waiting import Awaited, Meta, Waiting, one_by_one
from celery_agents.client.watching import Watching
from celery_agents.contracts.approval import Wish
from celery_agents.contracts.base import JsonValue, id_of, tenant_of
from celery_agents.contracts.outcome import Outcome
from celery_agents.errors import InvalidPayloadError
from celery_agents.noted import noting
from celery_agents.values import problem
from celery_agents.wire import cancelling
from celery_agents.wire.results import ResultBackend

if TYPE_CHECKING:
    from typing_extensions import TypeForm

log = logging.getLogger(__name__)
A = TypeVar("A", bound=Awaited)
T = TypeVar("T")


class Runs(RunSearch):
    """Finds runs, looks at them, waits for them, stops them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._celery = connection.celery
        self._waiting = Waiting(connection.celery, connection.publish)
        self._control = Control(connection, self)
        self._watching = Watching(
            *(connection.address, self._waiting, self._ended, self.status), connection.seals
        )

    @overload
    def handle(self, run_id: str) -> Run[Any]: ...
    @overload
    def handle(self, run_id: str, answer: TypeForm[T]) -> Run[T]: ...
    def handle(self, run_id: str, answer: TypeForm[Any] | None = None) -> Run[Any]:
        """The handle of a run that was enqueued before. Nothing is looked up.

        Its value is read as ``answer``: :class:`Decision` of a vote, or a type of your own.

        Raises:
            InvalidPayloadError: it is no id.
        """
        return Run(self, id_of(run_id), answer=None if answer is None else answer_type(answer))

    def as_completed(self, runs: Iterable[A], *, timeout: float | None = None) -> Iterator[A]:
        """Runs as they end, in few round trips; their ``get`` then returns, or raises, at once.

        Raises:
            ResultTimeoutError: not all ended within ``timeout`` seconds; they go on.
        """
        if isinstance(self._celery.backend, ResultBackend):
            return self._waiting.as_completed(runs, timeout)
        return one_by_one(runs, timeout)  # results are kept elsewhere than in Redis

    @overload
    def collect(
        self,
        runs: Iterable[Run[T]],
        *,
        timeout: float | None = None,
        return_exceptions: Literal[False] = False,
    ) -> list[T]: ...
    @overload
    def collect(
        self, runs: Iterable[Run[T]], *, timeout: float | None = None, return_exceptions: bool
    ) -> list[T | Exception]: ...
    def collect(
        self,
        runs: Iterable[Run[Any]],
        *,
        timeout: float | None = None,
        return_exceptions: bool = False,
    ) -> list[Any]:
        """The values of many runs, in the order of the runs.

        With ``return_exceptions``, as in asyncio's ``gather``, errors stand among the values
        instead of the first one being raised.

        Raises:
            ResultTimeoutError: not all ended within ``timeout`` seconds; they go on.
            AgentsError: a run failed; the others go on.
        """
        runs = [*runs]
        values: dict[str, Any] = {}
        for run in self.as_completed(runs, timeout=timeout):
            try:
                values[run.id] = run.get()
            except Exception as error:
                if not return_exceptions:
                    raise
                values[run.id] = error
        return [values[run.id] for run in runs]

    def status(self, run_id: str, *, timeout: float = 10.0) -> dict[str, Any] | None:
        """A run as a tree of steps, read from the journal by a worker; None when unknown."""
        asked = self._control.ask(names.STATUS, id_of(run_id))
        found: dict[str, Any] | None = asked.get(timeout=timeout)
        return found

    def known(self, run_id: str, *, timeout: float = 10.0) -> bool:
        """Return whether there is such a run: by Redis, else by the journal, which a worker reads.

        Nobody knows of a message that plain Celery sent, before a worker takes it.
        """
        found = any(self._connection.in_redis(id_of(run_id)))
        return found or self.status(run_id, timeout=timeout) is not None

    def results(self, run_id: str, *, timeout: float = 10.0) -> Iterator[tuple[int, Outcome]]:
        """See :meth:`MapRun.results`."""
        after: int | None = -1
        while after is not None:
            asked = self._control.ask(names.RESULTS, id_of(run_id), after)
            page: dict[str, Any] = asked.get(timeout=timeout)
            asked.forget()
            for index, outcome in page["outcomes"]:
                yield index, Outcome.model_validate(outcome)
            after = page["more"]

    def cancel(self, run_id: str, *, tenant: str = "") -> None:
        """Ask for a run to be cancelled, with all its steps; holds even before it began.

        ``tenant``: whose it is, for its row where it has none yet.
        """
        run_id = id_of(run_id)
        whose = (tenant_of(tenant),) if tenant else ()
        self._control.ask(names.CANCEL, run_id, *whose, recorded=True)  # with no worker up, too
        # At once, where all slots are taken.
        text = "Workers hear of a cancellation when a slot is free"
        failing = noting(log, "cancel_broadcast", text, OperationalError, OSError)
        with failing, self._celery.producer_or_acquire() as producer:
            cancelling.tell(producer, {cancelling.RUN: run_id})

    def waiting(
        self, run_id: str | None = None, *, limit: int = 100, timeout: float = 10.0
    ) -> list[Wish]:
        """List what waits for a person, of one run or of all, oldest first; a worker reads it."""
        asked = self._control.ask(names.WAITING, run_id and id_of(run_id), limit)
        found: list[dict[str, Any]] = asked.get(timeout=timeout)
        return [Wish.model_validate(wish) for wish in found]

    def approve(
        self, run_id: str, choice: JsonValue, *, key: str | None = None, timeout: float = 10.0
    ) -> None:
        """Answer the wish of that key. Without a key: the oldest of a run, if that is a vote's.

        To a tool's wish the answer is True, False, a reason why not, or ``{"arguments": {…}}`` to
        have it called with others. To a vote's it is an option, or {"option", "reason"}.

        Raises:
            InvalidPayloadError: nothing waits there, it is no such answer, or a tool waits and
                there is no key.
        """
        if (wrong := problem(choice)) is not None:
            raise InvalidPayloadError(f"choice: {wrong}.")
        about = () if key is None else (id_of(key),)
        self._control.ask(names.APPROVE, id_of(run_id), choice, *about).get(timeout=timeout)

    # What runs read with (:class:`celery_agents.client.run.Reader`).

    def result(self, run_id: str) -> AsyncResult:
        """Celery's own handle of a run."""
        return AsyncResult(run_id, app=self._celery)

    def wait(self, runs: Iterable[Run[Any]], timeout: float | None) -> None:
        """Wait until all have ended, one way or the other."""
        for _ in self.as_completed(runs, timeout=timeout):
            pass

    def wake(self, runs: Sequence[Run[Any]]) -> None:
        """Send messages of runs again, which may have been lost."""
        self._waiting.wake(runs)

    def events(self, run: Run[T], after: str | None, timeout: float | None) -> Events[T]:
        """See :meth:`Run.events`."""
        return self._watching.events(run, after, timeout)

    def _ended(self, runs: Sequence[Watched]) -> dict[str, Meta]:
        """The results that are there."""
        if isinstance(self._celery.backend, ResultBackend):
            return self._waiting.look([run.id for run in runs])
        metas = {run.id: run.result._get_task_meta() for run in runs}  # noqa: SLF001 - kept elsewhere
        return {i: meta for i, meta in metas.items() if meta["status"] in READY_STATES}

    def close(self) -> None:
        """Close the connections on which threads have listened."""
        self._waiting.close()
