"""Wakes that a worker takes itself: Celery gets them as messages that no broker has carried.

Thousands of flows may be due at one moment. By the broker each is a message that is written, taken,
kept until it is acknowledged, and read: half of what a wake costs. Whoever finds that they are due
has free slots as a rule, and is a worker of their queue. So it claims them as it finds them.

A chain's next link goes the same way where its worker has nothing else to do: its row is claimed as
it is made.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from celery import bootsteps, signals
from kombu.message import Message

from app.concurrency.fibers import alone, wait
from app.execution.flows import Instances
from app.execution.publish import NextRow, own_message, tell_watchers
from app.execution.runtime import Runtime, runtime_of
from app.journal.schema.rows import Claimed, Finished, NewStep, Refusal, Refused
from app.journal.schema.sealed import sealed_step
from app.journal.steps.due import DueFlow
from celery_agents.noted import note

log = logging.getLogger(__name__)

#: Wakes that are handed over at once: their claims, reads and ends are written together.
TOGETHER = 64
#: The next ones come when so many are left of these: meanwhile the loop has something to do. Of
#: fewer, a quarter.
LEFT = 16
_QUARTER = 4


class Handed:
    """Wakes that were handed to Celery; those that it has not done with yet are ``under_way``."""

    def __init__(self, under_way: int) -> None:
        self._under_way = under_way
        self._left = min(LEFT, under_way // _QUARTER)
        #: Until Celery has them they take no slots, and its main thread may be held up.
        self._come = not under_way
        self._few = threading.Event()
        self._look()

    def come(self) -> None:
        """Note that Celery has them all, or those that it took."""
        self._come = True
        self._look()

    def ended(self) -> None:
        """Note that Celery has done with one."""
        self._under_way -= 1
        self._look()

    def wait(self, timeout_s: float) -> bool:
        """Wait until few are under way; return whether they are."""
        return self._few.wait(max(timeout_s, 0.0))

    def _look(self) -> None:
        if self._come and self._under_way <= self._left:
            self._few.set()


class OwnWakes:
    """Hands rows that are due to this worker's own pool, as far as slots are free in it.

    To Celery they are messages as others are: its events, revoked ids, time limits, tracer and
    results are as ever. Nothing is acknowledged. A row that is lost with this process is found by
    recovery, as those of all its claims; that of one which Celery drops or gives back, or has not
    begun with when it lets go of its messages, is given back at once.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._consumer: Any = None
        #: By their tokens, too: one may be due again before Celery has done with its message.
        self._under_way: dict[tuple[str, int], tuple[Handed, Claimed]] = {}
        self._returned: deque[Claimed] = deque()
        #: Called when there are some to be looked at again.
        self.returns: Callable[[], object] = bool

    def begin(self, consumer: Any) -> None:
        """Take them from now on."""
        self._consumer = consumer

    def end(self) -> None:
        """Take no more: Celery's consumer stops, or begins anew; it forgets what has not begun."""
        self._consumer = None
        for _, claim in list(self._under_way.values()):
            self._over(claim)

    def returned(self) -> list[Claimed]:
        """The claims of those that were given back since this was asked before."""
        found = []
        while self._returned:
            found.append(self._returned.popleft())
        return found

    @property
    def queues(self) -> list[str]:
        """The queues that this worker serves."""
        consumer = self._consumer
        return [] if consumer is None else [*consumer.app.amqp.queues.consume_from]

    @property
    def room(self) -> int:
        """So many it takes now; none where a hook of Celery's wants to see what is published."""
        consumer = self._consumer
        hooked = signals.before_task_publish.receivers or signals.after_task_publish.receivers
        if consumer is None or consumer.hub is None or hooked or self._runtime.stopping:
            return 0
        return min(getattr(consumer.pool, "room", 0), TOGETHER)

    def take(self, due: Sequence[DueFlow], *, bulk: bool = False) -> Handed:
        """Take flows, but give those back that wait for a worker with other code.

        And those that this process has not done with yet: it would drop them. ``bulk``: there are
        more of them, and they let others go first.
        """
        app, consumer = self._runtime.app, self._consumer
        active, has_parked = self._runtime.active, Instances.of(self._runtime).has_parked
        mine = {one.claim.id: one for one in due}
        for step_id in [i for i in mine if consumer is None or i in active or has_parked(i)]:
            self._give_back(mine.pop(step_id).claim)
        told = [(own_message(app, one.wake, bulk=bulk), one.claim) for one in mine.values()]
        return self._hand_over(consumer, told)

    def record(self, new: NewStep) -> NextRow:
        """Make the row of a step that follows one, unless it has one.

        It is claimed for this worker if the caller is all that it has to do, and a slot is free
        beside those for what was handed over and has not begun: it may want many at once.

        Raises:
            JournalUnavailableError
        """
        runtime, journal = self._runtime, self._runtime.journal
        idle = alone() and new.queue in self.queues and self.room > len(runtime.claimed)
        match wait(journal.claim(new.id, new)) if idle else None:
            case Claimed() as claim:
                return NextRow(partial(self._take_next, replace(claim, waited_s=0.0)))
            case Finished(aftermath=aftermath):
                runtime.follow(aftermath)
            case None | Refused(Refusal.LAPSED):
                wait(journal.insert(sealed_step(runtime.seals, new)))
        return NextRow()

    def _take_next(self, claim: Claimed, message: Message) -> None:
        if (consumer := self._consumer) is None:  # it has stopped meanwhile
            self._give_back(claim)
        else:
            self._hand_over(consumer, [(message, claim)])

    def _hand_over(self, consumer: Any, told: Sequence[tuple[Message, Claimed]]) -> Handed:
        handed = Handed(len(told))
        if told:
            self._runtime.claimed.update((claim.id, claim) for _, claim in told)
            self._under_way.update(((c.id, c.token), (handed, c)) for _, c in told)
            consumer.hub.call_soon(self._deliver, consumer, told, handed)
            sent = ((message.delivery_info["routing_key"], message.headers) for message, _ in told)
            tell_watchers(self._runtime.app, sent)
        return handed

    def _deliver(
        self, consumer: Any, told: Sequence[tuple[Message, Claimed]], handed: Handed
    ) -> None:
        """Hand messages to Celery, in its main thread."""
        for message, claim in told:
            ends = partial(self._ended, claim)
            try:
                handle = consumer.strategies[message.headers["task"]]
                handle(message, None, ends, ends, consumer.on_task_message)
            except Exception as error:  # noqa: BLE001 - it is noted
                self._over(claim)
                text = "%s is not woken here, but by recovery"
                note(log, "own_wake", text, claim.id, error=error, trace=True)
        handed.come()

    def _ended(self, claim: Claimed, _log: Any, _errors: Any, requeue: bool = False) -> None:
        """Note that Celery acknowledges one, which no broker knows, or refuses it."""
        self._over(claim, given_back=requeue)

    def _over(self, claim: Claimed, *, given_back: bool = False) -> None:
        handed, _ = self._under_way.pop((claim.id, claim.token), (None, None))
        if handed is None:  # its consumer has ended
            return
        handed.ended()
        # Whose message Celery has dropped has not begun: it was revoked, or cannot be taken.
        claimed = self._runtime.claimed
        is_there = claimed.get(claim.id) is claim and claimed.pop(claim.id, None) is claim
        if is_there or given_back:
            self._give_back(claim)

    def _give_back(self, claim: Claimed) -> None:
        self._returned.append(claim)
        self.returns()


class TakesOwnWakes(bootsteps.StartStopStep):
    """Has recovery know Celery's consumer, while that takes tasks."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        """Tell it."""
        of_worker(runtime_of(consumer.app, consumer.hostname)).begin(consumer)

    def stop(self, consumer: Any) -> None:
        """Tell it that there is none."""
        of_worker(runtime_of(consumer.app, consumer.hostname)).end()

    shutdown = stop


def of_worker(runtime: Runtime) -> OwnWakes:
    """Return what takes the wakes of this process."""
    return runtime.resource(OwnWakes, lambda: OwnWakes(runtime))
