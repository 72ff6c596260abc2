"""Waiting for results: of one run, or of many as they come, in few round trips.

Results stand in Redis under a key each and are published on a channel of the same name. Celery's
own waiting subscribes to each run and looks for it, one after another. Here a few runs are listened
to; of many, only the oldest is, and the others are looked for together whenever something came.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from celery import Celery, Signature
from celery.exceptions import TimeoutError as CeleryTimeoutError
from celery.result import AsyncResult, assert_will_not_block
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from celery_agents.errors import AgentFailedError, BrokerUnavailableError, ResultTimeoutError
from celery_agents.noted import noting

if TYPE_CHECKING:
    from celery_agents.wire.messages import Message
    from celery_agents.wire.results import ResultBackend

log = logging.getLogger(__name__)
Meta = dict[str, Any]


class Awaited(Protocol):
    """A run, as far as waiting for it goes."""

    id: str
    message: Message | Signature | None

    @property
    def result(self) -> AsyncResult: ...
    @property
    def known(self) -> bool: ...
    def take(self, meta: Meta) -> None: ...


R = TypeVar("R", bound=Awaited)
Publish = Callable[[Iterable["Message | Signature"]], None]

#: Keys that one command looks for, at the most and at the least.
LOOK, _LEAST = 500, 64
#: So few runs are listened to, each. Above it a subscription to each costs more than looking.
NEAR = 8
#: Seconds until the next look when nothing is heard: a lost connection may have lost a result; of
#: many, those that are not listened to may have come.
_LOOK_AGAIN_S, _LOOK_SOON_S = 1.0, 0.05
#: Looking takes at most this part of the time.
_LOOKING = 0.2
#: The next look is when about so many more have ended, after so many seconds at the least.
_AT_ONCE, _PAUSE_S = 32, 0.01
#: More are looked for where more than one in so many had ended, of the oldest and of the others.
#: Runs end about in their order: most of the others would be looked for in vain.
_NEAR_SHARE, _FAR_SHARE = 2, 32
#: Seconds in which each of the others has been looked for, where commands have so many keys.
_ROUND_S = 1.0
#: Seconds after which runs that somebody waits for are sent again, first and at the longest.
AGAIN_S = (5.0, 300.0)
#: Subscriptions to runs that ended, which are given up together: by itself each is a round trip.
_STALE = 32
#: What is told when it fails.
_NOT_SENT = "Runs that somebody waits for could not be sent again"
#: Connections that are kept for the next ones that wait.
_KEPT = 4


class Listener:
    """A subscription to the results of some runs."""

    def __init__(self, backend: ResultBackend) -> None:
        self._backend = backend
        self._pubsub = backend.client.pubsub(ignore_subscribe_messages=True)
        self._keys: set[bytes] = set()

    def listen(self, ids: Iterable[str]) -> bool:
        """Listen to these runs; return whether some of them are new."""
        keys = {self._backend.get_key_for_task(i) for i in ids}
        if new := keys - self._keys:
            self._pubsub.subscribe(*new)
            self._keys |= new
        if len(self._keys) > len(keys) + _STALE:
            self._pubsub.unsubscribe(*(self._keys - keys))
            self._keys = keys
        return bool(new)

    def wait(self, seconds: float) -> dict[str, Meta]:
        """Return the results heard next, as soon as one is; nothing when the time is over."""
        until = time.monotonic() + seconds
        while True:
            left = max(until - time.monotonic(), 0.0)
            message = self._pubsub.get_message(timeout=left)
            if message is not None:
                return self._backend.ended([message["data"]])
            if not left:
                return {}

    def close(self) -> None:
        """Close the subscription."""
        self._pubsub.close()


class Waiting:
    """The waiting of one client's threads; each listens on a connection of its own.

    ``publish`` sends messages, to wake runs that somebody waits for.
    """

    def __init__(self, app: Celery, publish: Publish) -> None:
        self._app = app
        self._publish = publish
        self._idle: list[Listener] = []
        self._pid = os.getpid()
        self._closed = 0

    def close(self) -> None:
        """Close the connections that are kept; one in use when its wait is over."""
        self._closed += 1
        while self._idle:
            self._idle.pop().close()

    @property
    def _backend(self) -> ResultBackend:
        backend: ResultBackend = self._app.backend
        return backend

    @contextmanager
    def listener(self) -> Iterator[Listener]:
        """A listener; one that failed is not used again."""
        if self._pid != os.getpid():  # a fork: the connections are the parent's
            self._idle, self._pid = [], os.getpid()
        closed = self._closed
        try:
            listener = self._idle.pop()
        except IndexError:
            listener = Listener(self._backend)
        try:
            yield listener
        except BaseException:
            listener.close()
            raise
        if len(self._idle) < _KEPT and closed == self._closed:
            self._idle.append(listener)
        else:
            listener.close()

    def look(self, ids: Sequence[str]) -> dict[str, Meta]:
        """The results that are there."""
        keys = [*map(self._backend.get_key_for_task, ids)]
        found: dict[str, Meta] = {}
        for start in range(0, len(keys), LOOK):
            found |= self._backend.ended(self._backend.client.mget(keys[start : start + LOOK]))
        return found

    def wake(self, runs: Iterable[Awaited]) -> None:
        """Send runs again: a Redis that was emptied may have lost their messages, or results.

        A copy costs nothing: the worker finds the step's row, and stores its result again.
        """
        with noting(log, "send_again", _NOT_SENT, BrokerUnavailableError):  # then at the next time
            self._publish(run.message for run in runs if run.message is not None)

    def as_completed(self, runs: Iterable[R], timeout: float | None) -> Iterator[R]:
        """Runs as they end, each once.

        Raises:
            ResultTimeoutError: not all did within ``timeout`` seconds.
            ConfigurationError: TLS with Redis is not possible, or its certificate is not trusted.
            AgentFailedError: a task waits.
        """
        refuse_to_block()
        wait = _Wait(self, runs, timeout)
        yield from wait.known
        while wait.pending:
            try:
                with self.listener() as listener:
                    while wait.pending:
                        yield from wait.next(listener)
            except (RedisConnectionError, RedisTimeoutError) as error:
                if self._backend.address is not None:
                    self._backend.address.raise_if_refused(error)
                wait.check_time(needed_s=1.0)
                time.sleep(1.0)  # the broker is away; the runs are not


class _Wait:
    """One call that waits for some runs."""

    def __init__(self, waiting: Waiting, runs: Iterable[Any], timeout: float | None) -> None:
        self._waiting = waiting
        self._timeout = timeout
        self._give_up = math.inf if timeout is None else time.monotonic() + timeout
        self._pause = AGAIN_S[0]
        self._again = time.monotonic() + self._pause
        self._far = 0  # where among the pending ones the next look goes on
        self._oldest = self._others = LOOK  # so many of each are looked for
        self._looked = self._rests_until = 0.0
        self.pending: dict[str, Any] = {run.id: run for run in runs}
        self.known = [run for run in self.pending.values() if run.known]
        for run in self.known:
            del self.pending[run.id]
        self._count = len(self.pending)

    def next(self, listener: Listener) -> list[Any]:
        """Look or listen once; the runs that ended meanwhile."""
        few = len(self.pending) <= NEAR
        ended = self._look_at_few(listener) if few else self._look_at_many(listener)
        if not ended:
            self.check_time()
            next_s = _LOOK_AGAIN_S if few else _LOOK_SOON_S
            until = min(self._give_up, self._again, time.monotonic() + next_s)
            ended = self._take(listener.wait(max(until - time.monotonic(), 0.0)))
        if ended:
            self._pause = AGAIN_S[0]
            self._again = time.monotonic() + self._pause
        elif time.monotonic() >= self._again:
            self._waiting.wake([*islice(self.pending.values(), NEAR)])
            self._pause = min(2 * self._pause, AGAIN_S[1])
            self._again = time.monotonic() + self._pause
        return ended

    def check_time(self, needed_s: float = 0.0) -> None:
        """Check that so much time is left.

        Raises:
            ResultTimeoutError
        """
        if time.monotonic() + needed_s < self._give_up:
            return
        first = next(iter(self.pending))
        which = first if self._count == 1 else f"{len(self.pending)} of {self._count} runs"
        goes = "The run goes on" if self._count == 1 else "They go on"
        raise ResultTimeoutError(
            f"No result of {which} within {self._timeout} s. {goes}; is a worker up?"
        )

    def _look_at_few(self, listener: Listener) -> list[Any]:
        """Listen to all, and look for them where that is new, or was long ago."""
        if not listener.listen(self.pending) and time.monotonic() < self._looked + _LOOK_AGAIN_S:
            return []
        self._looked = time.monotonic()
        return self._take(self._waiting.look([*self.pending]))

    def _look_at_many(self, listener: Listener) -> list[Any]:
        """Look for some, in their turn; where none of them ended, listen to the first.

        That one may have ended before it is listened to.
        """
        if (rest := min(self._rests_until, self._give_up) - time.monotonic()) > 0:
            time.sleep(rest)
        began = time.monotonic()
        ended = self._look(began - self._looked)
        over = time.monotonic()
        pause = max(
            (over - began) / _LOOKING, _AT_ONCE * (began - self._looked) / (len(ended) or 1)
        )
        self._looked, self._rests_until = began, over + min(max(pause, _PAUSE_S), _LOOK_SOON_S)
        if not ended:
            first = next(iter(self.pending))
            if listener.listen([first]):
                ended = self._take(self._waiting.look([first]))
        return ended

    def _look(self, since_s: float) -> list[Any]:
        """Look for the oldest ones, and for some of the others in turn; so long after the last."""
        pending = self.pending
        oldest = [*islice(pending, self._oldest)]
        if self._far >= len(pending):
            self._far = 0
        self._far = max(self._far, len(oldest))
        width = max(self._others, min(LOOK, int(len(pending) * since_s / _ROUND_S)))
        others = [*islice(pending, self._far, self._far + width)]
        ended = self._take(self._waiting.look([*oldest, *others]))
        first = len(oldest) - sum(map(pending.__contains__, oldest))
        self._far += len(others) - len(ended)
        self._oldest = _adapted(self._oldest, first, _NEAR_SHARE)
        # With nothing to do it costs nobody anything to look at many.
        self._others = _adapted(width, len(ended) - first, _FAR_SHARE) if ended else LOOK
        return ended

    def _take(self, found: dict[str, Meta]) -> list[Any]:
        runs = []
        for run_id, meta in found.items():
            run = self.pending.pop(run_id, None)
            if run is not None:
                run.take(meta)
                runs.append(run)
        return runs


def _adapted(width: int, found: int, share: int) -> int:
    """How many are looked for next, when so many of the last ones had ended."""
    if found * share > width:
        return min(2 * width, LOOK)
    return max(width // 2, _LEAST) if 3 * found * share < width else width


def refuse_to_block() -> None:
    """Refuse to wait in a task, whose slot that would take from whom it waits for.

    Raises:
        AgentFailedError: Celery says that this is one; it tells what to do instead.
    """
    try:
        assert_will_not_block()
    except RuntimeError:
        raise AgentFailedError(
            'Nobody waits for a run within a task. An agent asks by `await step.ask("other", …)`, '
            "which holds no slot and is not paid again after a crash; a task by a chain or a link."
        ) from None


def one_by_one(runs: Iterable[R], timeout: float | None) -> Iterator[R]:
    """Wait for results that Celery reads from elsewhere than Redis, in the order of the runs.

    Raises:
        ResultTimeoutError: not all ended within ``timeout`` seconds.
        AgentFailedError: a task waits.
    """
    refuse_to_block()
    give_up = math.inf if timeout is None else time.monotonic() + timeout
    for run in runs:
        left = None if timeout is None else max(give_up - time.monotonic(), 0.0)
        try:
            run.result.get(timeout=left, propagate=False)
        except CeleryTimeoutError:
            raise ResultTimeoutError(
                f"No result of {run.id} within {timeout} s. The run goes on; is a worker up?"
            ) from None
        yield run
