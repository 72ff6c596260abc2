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


class OwnWords(NamedTuple):
    """The part of one asker in a script that serves many at once, and its place among others.

    What is said ``first``, as the end of a request, goes ahead of what others ask in the same
    write, so that those meet it; but behind what the same one had asked. Else the order among
    several is nobody's business.
    """

    who: str
    #: They stand behind the command, as those of others do; none: the script serves one alone.
    words: tuple[Any, ...] = ()
    first: bool = False


class Query(NamedTuple):
    """One command for Redis, and how its answer is read."""

    command: tuple[Any, ...]  # what EVALSHA is given
    read: Callable[[Any], Any]
    otherwise: Callable[[], Any]  # without Redis
    without: tuple[str, str]  # where that is noted, and what is said of it
    #: None: all is done in the order in which it and the others were handed in.
    own: OwnWords | None = None


class Scripts:
    """The scripts of one Redis, for one process.

    What many callers ask at the same moment is one write of a thread of its own, and those that
    ask the same of one script are one command; a lone caller waits for nobody.
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
        groups = together(questions)
        commands = [_command([questions[n] for n in group]) for group in groups]
        answers: list[Any] = [None] * len(questions)
        for group, answer in zip(groups, exchange(self._redis, commands), strict=True):
            own = questions[group[0]].own
            alone = own is None or not own.words or isinstance(answer, RedisError)
            for n, one in zip(group, [answer] * len(group) if alone else answer, strict=True):
                answers[n] = one
        return answers


def together(questions: Sequence[Query]) -> list[list[int]]:
    """The places of questions that go into one command each, in the order of these commands."""
    groups: list[list[int]] = []
    turn = _FreeOrder()
    for n, question in enumerate(questions):
        if question.own is None or not turn.takes(question.own):
            groups += turn.groups()
            turn = _FreeOrder()
        if question.own is None:
            groups.append([n])
        else:
            turn.add(n, question.command, question.own)
    return [*groups, *turn.groups()]


class _FreeOrder:
    """Questions whose order among each other is free, but for what each asker asks."""

    def __init__(self) -> None:
        self._said: dict[Any, list[int]] = {}
        self._asked: dict[Any, list[int]] = {}
        self._askers: set[str] = set()

    def takes(self, own: OwnWords) -> bool:
        """Return whether this one may go along: nothing of its own has to go ahead of it."""
        return not (own.first and own.who in self._askers)

    def add(self, n: int, command: tuple[Any, ...], own: OwnWords) -> None:
        """Take one in."""
        if not own.first:
            self._askers.add(own.who)
        groups = self._said if own.first else self._asked
        groups.setdefault(command if own.words else n, []).append(n)

    def groups(self) -> list[list[int]]:
        """All of them, by commands."""
        return [*self._said.values(), *self._asked.values()]


def _command(questions: Sequence[Query]) -> tuple[Any, ...]:
    words = [word for q in questions if q.own is not None for word in q.own.words]
    return ("EVALSHA", *questions[0].command, *words)
