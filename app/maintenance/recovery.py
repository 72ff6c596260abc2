"""Recovery: rows whose messages were lost are found and sent on their way again.

A thread in every worker looks every few seconds; a claim in the journal lets one of them do it
at a time. It does not hang on beat. What it finds it only wakes: the claim decides.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from redis.exceptions import RedisError

from app.execution.attempts.own_wakes import of_worker
from app.execution.publish import publish
from app.execution.runtime import Runtime
from app.execution.submission import Submission, opened_args
from app.execution.task import StepTask
from app.journal.schema.rows import Claimed, NewStep, Wake
from app.journal.schema.sealed import sealed_step
from app.journal.stores.findings import Wanting
from app.maintenance.dead_letters import dead_letters_of
from app.maintenance.schedules import Dispatcher
from app.maintenance.subscriptions import EventBus
from app.messaging.intake import expired
from celery_agents.errors import AgentsError, InvalidPayloadError, UnreadableValueError
from celery_agents.noted import note

log = logging.getLogger(__name__)

#: Turns for which a worker keeps the duty: where it dies, others have it a moment later.
_DUTY = 1.5
#: So long after its end others try to take it.
_AFTER_S = 0.05
#: Batches of those whose time has come that one look wakes; more have the next one's turn.
_RINGS_MAX = 20
#: Flows are woken in a worker's own slots for so long, then by messages that others take, too.
_HERE_S = 1.5
#: Who has not the duty sends those so long after their time: whoever has it may have died since.
_OTHERS_S = 0.25
#: Between two looks whose time has come.
_LEAST_S = 0.05


class Recovery:
    """The recovery of one worker: sweeps when it is its turn."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._app = runtime.app
        self._findings = runtime.journal.findings
        self._settings = runtime.settings
        self._intake = runtime.intake
        self._dispatcher, self._bus = Dispatcher(runtime), EventBus(runtime)
        self._own, self._again = of_worker(runtime), list[Claimed]()
        self._has_duty = True
        self._stopped, self._nudged = threading.Event(), threading.Event()
        self._own.returns = self._nudged.set
        self._thread = threading.Thread(target=self._work, name="agents-recovery", daemon=True)

    def start(self) -> None:
        """Start to sweep, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop sweeping; wait up to ten seconds for a sweep under way."""
        self._stopped.set()
        self._nudged.set()
        self._thread.join(timeout=10)

    def _work(self) -> None:
        while True:
            pause_s = self._settings.recovery_interval_s
            try:
                self.sweep()
                pause_s = self._ring_in_time(self._pause_s())
            except (AgentsError, RedisError) as error:
                note(log, "recovery", "Recovery waits", error=error)
            except Exception as error:  # noqa: BLE001 - it is noted
                text = "Recovery failed; it goes on at the next turn"
                note(log, "recovery_failed", text, error=error, trace=True)
            if self._pause(pause_s):
                return

    def _pause(self, seconds: float) -> bool:
        """Wait, unless a wake was given back; return whether this is the end."""
        if self._nudged.wait(seconds) or self._again:
            self._nudged.clear()
            self._look_again()
        return self._stopped.is_set()

    def _look_again(self) -> None:
        """Give claims back that came to nothing here, and send their wakes on their way."""
        self._again += self._own.returned()
        if not self._again:
            return
        tokens = {claim.id: claim.token for claim in self._again}
        try:
            self._runtime.journal.give_back([*tokens], tokens)
            publish(self._app, self._findings.ready([*tokens]))
            self._again.clear()
        except Exception as error:  # noqa: BLE001 - it is noted, and tried again
            note(log, "look_again", "Wakes that were given back wait", error=error)

    def _ring_in_time(self, pause_s: float) -> float:
        """Wake whoever's time comes before the next sweep, then; return how long it is until that.

        Whose time was set since the last look waits for the next sweep.
        """
        until = time.monotonic() + pause_s
        behind_s = 0.0 if self._has_duty else _LEAST_S  # of few it gets all
        while (left_s := until - time.monotonic()) > 0:
            due_s = self._findings.next_late()
            if due_s is None or due_s + behind_s >= left_s:
                return left_s
            if self._pause(max(due_s + behind_s, _LEAST_S)):
                break
            self._ring(self._settings.wake_batch)
        return 0.0

    @property
    def _after_s(self) -> float:
        """How late it fires joins by messages: one alone does so at once."""
        return 0.0 if self._has_duty else _OTHERS_S

    def _pause_s(self) -> float:
        """Return when to look again: whoever has not the duty, as it ends, if nobody keeps it."""
        interval_s = self._settings.recovery_interval_s
        if self._has_duty:
            return interval_s
        return min(self._findings.duty_left() + _AFTER_S, interval_s)

    def sweep(self) -> int:
        """Look once, if it is this worker's turn; returns how many rows were woken."""
        s = self._settings
        lease_s = _DUTY * s.recovery_interval_s
        self._has_duty = self._findings.take_duty(lease_s)
        if not self._has_duty:
            return 0
        self._ring(s.wake_batch)
        self._dispatch()
        sent = publish(self._app, self._found("unsettled", s.wake_batch))
        if not self._runtime.outage.lasts:
            sent += publish(self._app, self._found("orphaned", s.wake_batch))
        room = s.wake_batch - self._intake.depth(s.queue)
        if room > 0:  # else the queue is full of messages, and these rows' are likely among them
            sent += publish(self._app, self._found("unwoken", room))
        sent += self._take_in(room)
        dead_letters_of(self._runtime).take_in()
        if (budgets := self._runtime.agents.budgets) is not None:
            budgets.reconcile()
        if sent:
            log.info("Recovery published %d messages", sent)
        return sent

    def _ring(self, batch: int) -> None:
        """Wake all whose time has come: many may sleep until one moment."""
        began = time.monotonic()
        self._ring_here()
        for _ in range(_RINGS_MAX):
            # Whose time came meanwhile has the next look: flows are taken by that, too.
            woken = self._findings.late_joins(batch, time.monotonic() - began + self._after_s)
            self._runtime.follow(woken)
            if len(woken.wakes) < batch:
                return

    def _ring_here(self) -> None:
        """Wake flows in this worker's own slots, as long as it goes on with those before."""
        until, own = time.monotonic() + _HERE_S, self._own
        while (most := own.room) > 0:
            due = self._findings.take_flows(most, own.queues)
            handed = own.take(due, bulk=len(due) == most)
            if len(due) < most or not handed.wait(until - time.monotonic()):
                return
            if time.monotonic() >= until:  # however quickly it takes them: others wait for a sweep
                return

    def _dispatch(self) -> None:
        """Start what is due by a clock or an entry; what is wrong with one keeps no row asleep."""
        try:
            self._dispatcher.dispatch()
        except Exception as error:  # noqa: BLE001 - it is noted
            text = "Schedules were not looked at; they are at the next turn"
            note(log, "schedules_failed", text, error=error, trace=True)
        try:
            self._bus.serve()
            self._bus.trim()
        except Exception as error:  # noqa: BLE001 - it is noted
            text = "Subscriptions were not served; they are at the next turn"
            note(log, "subscriptions_failed", text, error=error, trace=True)

    def _found(self, kind: Wanting, limit: int) -> list[Wake]:
        s = self._settings
        return self._findings.wanting(
            kind, limit, grace_s=s.wake_grace_s, backoff_max_s=s.wake_backoff_max_s
        )

    def _take_in(self, room: int) -> int:
        """Clear intake records that have rows; make rows of those whose message was lost."""
        s = self._settings
        ids = self._intake.older_than(s.wake_grace_s, 4 * s.wake_batch)
        if not ids:
            return 0
        have = self._findings.known(ids)
        self._intake.forget(sorted(have))
        lost = [i for i in ids if i not in have][: max(room, 0)]
        steps = [self._step(i, message) for i, message in self._intake.read(lost).items()]
        made = [step for step in steps if step is not None]
        self._findings.take_in(made)
        return publish(self._app, [step.wake() for step in made])

    def _step(self, step_id: str, message: dict[str, Any] | None) -> NewStep | None:
        """Return the row that a record asks for; None if it wants none or was dealt with here."""
        task: Any = message and self._app.tasks.get(message["headers"].get("task"))
        if not message or task is None:
            log.error("Intake record %s cannot be read; it is dropped", step_id)
        elif not isinstance(task, StepTask):  # a cancellation: it is just said again
            self._intake.postpone(step_id)
            task.apply_async(message["args"], message["kwargs"], task_id=step_id)
            return None
        elif expired(message):
            self._app.backend.mark_as_revoked(step_id, "expired")
        else:
            try:
                told = opened_args(self._app, step_id, message["args"], message["kwargs"])
                options = task.parse(*told)
            except (InvalidPayloadError, UnreadableValueError) as error:
                self._app.backend.mark_as_failure(step_id, error)
            else:
                message |= {"args": told[0], "kwargs": told[1]}
                row = Submission.recorded(message).row(options)
                return sealed_step(self._runtime.seals, row)
        self._intake.forget([step_id])
        return None
