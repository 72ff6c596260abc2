"""Dead letters: what nobody could run, kept with its cause until a person decides.

The transport lands a message in Redis, in the step that takes it off its queue. From there
recovery moves it into the journal, where it stands beside the steps that were given up.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable
from typing import Any, Self

from redis import Redis

from app.execution.runtime import Runtime
from app.journal.following.poison import ENTRY
from app.journal.following.subscribed import SubscriptionKey
from app.journal.schema.rows import Aftermath, Wake
from app.journal.stores.letters import Letters
from app.maintenance.subscriptions import EventBus
from app.messaging.redis import connect_redis
from app.settings import Settings
from celery_agents import names
from celery_agents.contracts.base import tenant_of
from celery_agents.contracts.flows.subscriptions import GAP
from celery_agents.errors import InvalidPayloadError, redact
from celery_agents.noted import note
from celery_agents.transport import PRIORITY_STEPS, is_ours, ring_commands, tenants_list

log = logging.getLogger(__name__)

#: Letters that one transaction moves: together some megabytes, even when each is long.
BATCH = 200
#: Characters of a message that people are shown.
SHOWN = 2_000
_SEPARATOR = "\x06\x16"  # kombu's, between a queue's name and a priority


class Landing:
    """The letters in Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    @classmethod
    def connect(cls, settings: Settings) -> Self:
        """The landing of these settings' Redis; nothing is opened before its first use."""
        return cls(connect_redis(settings))

    def oldest(self, limit: int) -> dict[str, bytes | None]:
        """Letters by their ids."""
        ids: Any = self._redis.zrange(names.DEAD_TIMES, 0, limit - 1)
        letters: Any = self._redis.hmget(names.DEAD, ids) if ids else []
        return {i.decode(): letter for i, letter in zip(ids, letters, strict=True)}

    def forget(self, ids: list[str]) -> None:
        """Delete letters by their ids."""
        pipe = self._redis.pipeline(transaction=True)
        pipe.hdel(names.DEAD, *ids)
        pipe.zrem(names.DEAD_TIMES, *ids)
        pipe.execute()

    def count_dropped(self, more: int) -> None:
        """Add to the count of letters that had to make room."""
        self._redis.incrby(names.DEAD_DROPPED, more)

    def dropped(self) -> int:
        """Letters that had to make room for newer ones, since this Redis is there."""
        found: Any = self._redis.get(names.DEAD_DROPPED)
        return int(found or 0)

    def put_back(self, queue: str, raw: bytes) -> None:
        """Push a message to its queue, as the last of its priority."""
        priority, tenant = _priority(raw), _tenant(raw)
        key = f"{queue}{_SEPARATOR}{priority}" if priority else queue
        pipe = self._redis.pipeline(transaction=True)
        pipe.lpush(tenants_list(key, tenant) if tenant else key, raw)
        for name, *args in ring_commands(queue, [(key, tenant)]) if tenant else ():
            getattr(pipe, name)(*args)
        pipe.zadd(names.WAKE + queue, {"1": 0})
        pipe.execute()


#: Starts the run of a subscription's entry, by its position, and drops its letter.
StartAgain = Callable[[SubscriptionKey, int, str], list[Wake]]


def _by_a_worker(*_: object) -> list[Wake]:
    raise InvalidPayloadError(
        "An entry is served again by a worker: Client().dead_letters.requeue(…) asks one."
    )


class DeadLetters:
    """The letters of one service: those in its journal, and those that have just landed."""

    def __init__(
        self,
        letters: Letters,
        landing: Landing,
        settings: Settings,
        forget: Callable[[str], object] = lambda _: None,
        start_again: StartAgain = _by_a_worker,
    ) -> None:
        self._letters = letters
        self._landing = landing
        self._settings = settings
        self._forget = forget  # the result of a step, that clients see
        self._start_again = start_again  # the run of an entry that was poison

    def take_in(self) -> int:
        """Move what has landed into the journal; returns how many letters."""
        most, moved = self._settings.dead_letters_max, 0
        while found := self._landing.oldest(BATCH):
            rows = [row for i, letter in found.items() if (row := _row(i, letter))]
            if rows and (gone := self._letters.insert(rows, most)):
                self._landing.count_dropped(gone)
            self._landing.forget(list(found))
            moved += len(rows)
        return moved

    def list(self, limit: int = 100) -> list[dict[str, Any]]:
        """The newest letters, messages and steps."""
        return self._letters.listed(limit)

    def dropped(self) -> int:
        """Return how many letters had to make room for newer ones."""
        return self._landing.dropped()

    def get(self, letter_id: str) -> dict[str, Any] | None:
        """A letter with its payload, redacted."""
        return self._letters.find(letter_id)

    def requeue(self, letter_id: str) -> Aftermath:
        """Let a message or a step run again. One that is still wrong comes back.

        Raises:
            InvalidPayloadError: there is no such letter, or it cannot run again.
        """
        message = self._letters.message(letter_id)
        if message is None:
            grace = self._settings.wake_grace_s
            wake = self._letters.requeue_step(letter_id, grace, forget=self._forget)
            return Aftermath(wakes=[wake])
        raw = base64.b64decode(message.raw)
        if message.cause == ENTRY:
            told = json.loads(raw)
            key = SubscriptionKey(*told["subscription"])
            return Aftermath(wakes=self._start_again(key, told["pos"], letter_id))
        if message.cause == GAP:
            raise InvalidPayloadError("What was trimmed cannot be served again. Drop the letter.")
        if len(raw) < message.size:
            raise InvalidPayloadError(
                f"Of the message {letter_id} only {len(raw):,} of {message.size:,} bytes were kept."
            )
        self._landing.put_back(message.queue, raw)  # first: twice in the queue is better than lost
        self._letters.forget_message(letter_id)
        return Aftermath()

    def drop(self, letter_id: str) -> bool:
        """Forget a letter; of a step only that it is listed. False when there is none."""
        return self._letters.drop(letter_id)


def dead_letters_of(runtime: Runtime) -> DeadLetters:
    """The letters as this process reaches them."""
    settings = runtime.settings
    return runtime.resource(
        DeadLetters,
        lambda: DeadLetters(
            runtime.journal.letters,
            Landing.connect(settings),
            settings,
            runtime.app.backend.forget,
            EventBus(runtime).start_again,
        ),
    )


def _row(letter_id: str, letter: bytes | None) -> dict[str, Any] | None:
    """Return :func:`letter_row`; None for what is no letter: it must not stop those behind it."""
    try:
        return letter_row(letter_id, letter or b"")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        text = "The dead letter %s cannot be read; it is dropped"
        note(log, "dead_letter", text, letter_id, error=error, trace=True)
        return None


def letter_row(letter_id: str, letter: bytes) -> dict[str, Any]:
    """The journal's row of a landed letter; for its parts see ``app/messaging/scripts.py``."""
    came_from, size, head, raw = letter.split(b"\n", 3)
    about = json.loads(head)
    task, step_id = about.get("task"), about.get("step_id")
    return {
        "id": letter_id,
        "cause": about["cause"],
        "reason": redact(about.get("reason") or f"The message has {int(size):,} bytes."),
        "queue": came_from.decode().split(_SEPARATOR, 1)[0],
        "task": task and redact(task, limit=200),
        "step_id": step_id and redact(step_id, limit=155),
        "payload": redact(_readable(raw), limit=SHOWN),
        "raw": base64.b64encode(raw).decode(),
        "size": int(size),
        "at": about["at"],
    }


#: What reading JSON of somebody else, and looking into it, may raise.
_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)


def _readable(raw: bytes) -> str:
    """Return the body of a message where it has one, else its bytes."""
    shown = raw[: 4 * SHOWN]
    try:
        message = json.loads(raw)
        body = message["body"]
        if message["properties"].get("body_encoding") == "base64":
            shown = base64.b64decode(body, validate=True)[: 4 * SHOWN]
        else:
            shown = body.encode("utf-8", "replace")[: 4 * SHOWN]
    except _UNREADABLE:
        pass  # it is shown as it came: what could be read would be no dead letter
    return shown.decode("utf-8", "replace")


def _tenant(raw: bytes) -> str:
    """The tenant of a step's message; "" where it names none that can be."""
    try:
        headers = json.loads(raw)["headers"]
        return tenant_of(headers.get(names.TENANT) or "") if is_ours(headers) else ""
    except (*_UNREADABLE, InvalidPayloadError):
        return ""


def _priority(raw: bytes) -> int:
    """The priority that a message asks for; the first when it says none, as in kombu."""
    try:
        asked = int(json.loads(raw)["properties"]["priority"])
    except _UNREADABLE:
        return PRIORITY_STEPS[0]
    return min(max(asked, PRIORITY_STEPS[0]), PRIORITY_STEPS[-1])
