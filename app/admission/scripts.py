"""Scripts of Redis, run for many callers in one write."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from redis import Redis
from redis.commands.core import Script
from redis.exceptions import NoScriptError, RedisError

from app.concurrency.batcher import Batches
from app.concurrency.future import Future
from celery_agents.noted import note
from celery_agents.packed import exchange

log = logging.getLogger(__name__)
T = TypeVar("T")

#: While Redis is down it is tried again this soon.
TRY_AGAIN_S = 2.0
#: It is asked before every call, so Redis gets less time here than elsewhere.
TIMEOUT_S = 1.0
#: Commands in one write. Redis works through them in a few milliseconds, in which nobody else is
#: served.
BATCH = 200
#: What runs before a script that goes by the time: milliseconds, by the clock of Redis.
CLOCK = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
"""


class Query(NamedTuple):
    """One command for Redis, and how its answer is read."""

    command: tuple[Any, ...]  # what EVALSHA is given
    read: Callable[[Any], Any]
    otherwise: Callable[[], Any]  # without Redis
    without: tuple[str, str]  # where that is noted, and what is said of it


class Scripts:
    """The scripts of one Redis, for one process.

    What many callers ask at the same moment is one write of a thread of its own; a lone caller
    waits for nobody. All is done in the order in which it was handed in.
    """

    def __init__(self, redis: Redis, name: str = "admission") -> None:
        self._redis = redis
        self._scripts: list[Script] = []
        self._begins: list[str] = []
        self._away_until = 0.0
        self._batches: Batches[Query | Sequence[Query]] = Batches(
            f"agents-{name}", self._perform, BATCH
        )

    def register(self, text: str) -> str:
        """Add a script; the name that a question calls it by."""
        script = self._redis.register_script(text)
        self._scripts.append(script)
        return str(script.sha)

    def begin(self, text: str) -> None:
        """Have a script run before others where Redis knows none: it began anew."""
        self._begins.append(text)

    def run(self, question: Query) -> Future[Any]:
        """Ask one thing."""
        return self._batches.submit(question)

    def run_all(self, questions: Sequence[Query]) -> Future[list[Any]]:
        """Ask several things in one write, in their order."""
        return self._batches.submit(questions)

    def _perform(self, items: Sequence[Query | Sequence[Query]]) -> list[Any]:
        """Run the scripts; without Redis say what is so otherwise, and skip Redis for a moment.

        So who queues behind a write that times out is answered at once when it has.
        """
        parts = [[item] if isinstance(item, Query) else item for item in items]
        questions = [q for part in parts for q in part]
        if time.monotonic() < self._away_until:
            answers = [q.otherwise() for q in questions]
        else:
            answers = self._answered(questions)
        found = iter(answers)
        return [
            next(found) if isinstance(item, Query) else [next(found) for _ in item]
            for item in items
        ]

    def _answered(self, questions: Sequence[Query]) -> list[Any]:
        try:
            answers = self._write(questions)
        except RedisError as error:
            self._away_until = time.monotonic() + TRY_AGAIN_S
            answers = [error] * len(questions)
        return [self._read(q, a) for q, a in zip(questions, answers, strict=True)]

    def _read(self, question: Query, answer: Any) -> Any:
        if isinstance(answer, RedisError):
            note(log, *question.without, error=answer)
            return question.otherwise()
        return question.read(answer)

    def _write(self, questions: Sequence[Query]) -> list[Any]:
        answers = self._evaluate(questions)
        new = [n for n, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if new:  # Redis started anew, and nothing was done
            for text in self._begins:
                self._redis.eval(text, 0)
            for script in self._scripts:
                self._redis.script_load(script.script)
            again = self._evaluate([questions[n] for n in new])
            for n, answer in zip(new, again, strict=True):
                answers[n] = answer
        return answers

    def _evaluate(self, questions: Sequence[Query]) -> list[Any]:
        return exchange(self._redis, [("EVALSHA", *q.command) for q in questions])
