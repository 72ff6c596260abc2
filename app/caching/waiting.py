"""Steps that wait for an answer that another one asks for: they hold nothing meanwhile.

A leader's answer wakes them, and so does its end without one. That it is gone is seen by a timer of
each process that let somebody wait for it; ``wake_at`` of their rows is the net under that.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.caching.shared import SharedAnswers, Sought
from app.concurrency.future import Future
from app.concurrency.loop import LoopThread
from celery_agents.errors import AgentsError, AwaitsAnswerError
from celery_agents.noted import note

log = logging.getLogger(__name__)

#: A step that is not woken looks by itself after so long: its process may have died.
UNWOKEN_S = 30.0
#: A look too early finds the lease.
SLACK_S = 0.05
#: Steps that are woken in one portion.
WOKEN_MAX = 500
#: Priorities are further apart than times, in seconds.
_APART_S = 1e11


@dataclass(frozen=True, slots=True)
class Awaits:
    """The answer that a step waits for, as :class:`app.admission.limits.NotAdmitted` is a limit."""

    question: Sought
    wait_s: float  # until the leader's lease ends
    parks: bool = True
    lasts: bool = False
    unwoken_s: float = UNWOKEN_S
    event: None = None  # that it waits says enough

    def error(self) -> AwaitsAnswerError:
        """The error for the step; it leads to the queue."""
        told = f"waits for the answer of {self.question.name} to the same request of another step"
        error = AwaitsAnswerError(told)
        error.refusal = self
        return error


class Followers:
    """Lets steps wait and wakes them.

    Args:
        wake: publishes messages for steps, first of all; it blocks.
    """

    def __init__(
        self,
        answers: SharedAnswers,
        wake: Callable[[Sequence[str]], object],
        loop: Callable[[], LoopThread],
    ) -> None:
        self._answers = answers
        self._wake = wake
        self._loop = loop
        self._timed: set[str] = set()  # keys with a timer, on the loop's thread alone

    def park(self, refusal: Awaits) -> None:
        """Let a step wait whose row has been given back."""
        asked = refusal.question
        parked = self._answers.park(asked, asked.priority * _APART_S + time.time())
        parked.add_done_callback(self._woken)
        self._loop().post(self._time, asked.key, refusal.wait_s)

    def wake(self, woken: Sequence[str]) -> None:
        """Wake steps, in a thread: the journal is asked about them."""
        for begin in range(0, len(woken), WOKEN_MAX):
            self._loop().blocking.submit(self._publish, woken[begin : begin + WOKEN_MAX])

    def _woken(self, told: Future[list[str]]) -> None:
        self.wake(told.result())

    def _publish(self, woken: Sequence[str]) -> None:
        try:
            self._wake(woken)
        except AgentsError as error:
            note(log, "cache_waiting", "Steps that wait for an answer come later", error=error)
        except Exception as error:  # noqa: BLE001 - it is noted
            text = "Waking steps that wait for an answer failed"
            note(log, "cache_waiting_failed", text, error=error, trace=True)

    def _time(self, key: str, wait_s: float) -> None:
        if key not in self._timed:
            self._timed.add(key)
            self._again(key, wait_s)

    def _again(self, key: str, wait_s: float) -> None:
        self._loop().loop.call_later(wait_s + SLACK_S, self._pump, key)

    def _pump(self, key: str) -> None:
        told = self._answers.pump(key)
        told.add_done_callback(lambda done: self._loop().post(self._pumped, key, done))

    def _pumped(self, key: str, told: Future[tuple[float | None, list[str]]]) -> None:
        wait_s, woken = told.result()
        self.wake(woken)
        if wait_s is None:
            self._timed.discard(key)
        else:
            self._again(key, wait_s)
