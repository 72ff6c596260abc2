"""The ``me`` that a method of an actor has: what it may ask for, and what it leaves behind."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any, NamedTuple

from agents.flows.run import FlowContext
from agents.plain import plain_json
from agents.plan import Member
from celery_agents import names
from celery_agents.contracts.base import JsonValue, name_of
from celery_agents.contracts.flows.actors import (
    CALL_KEY,
    CHAIN_MAX,
    REMINDERS_MAX,
    AddressedMessage,
    actor_run_id,
)
from celery_agents.contracts.flows.entries import StreamEvent, stream_of
from celery_agents.errors import ActorCycleError, FlowError, InvalidPayloadError

#: Seconds for another actor to answer, where nobody says so; and until a reminder, at the most.
_ANSWER_S, _LATEST_S = 60.0, 100 * 366 * 86_400.0
#: Of a step that tells actors something: as often as any step may be tried.
TRIES = 100


class Reminder(NamedTuple):
    """A message of an actor to itself, for later."""

    due: float
    method: str
    args: list[JsonValue]
    kwargs: dict[str, JsonValue]


class LeftBehind(NamedTuple):
    """The things a method leaves behind, once it has returned; of one that raises, none."""

    emits: list[tuple[str, StreamEvent]]
    tells: list[AddressedMessage]
    #: Reminders that were set, by their keys; None: that one was forgotten.
    reminders: dict[str, Reminder | None]


@dataclass(slots=True)
class ActorMemo:
    """An actor's state as JSON, its reminders, and how much it has counted."""

    #: None: that of a new one.
    text: str | None = None
    reminders: dict[str, Reminder] = field(default_factory=dict)
    #: Reminders that it has set, and calls of others in this generation.
    reminded: int = 0
    calls: int = 0


class TakenUp(NamedTuple):
    """The message that a method is called for: who takes it, and on whose behalf."""

    tenant: str
    name: str
    key: str
    chain: tuple[str, ...]
    id: str


class ActorContext:
    """The things a method of an actor may do beside changing its state.

    ``await me.ask(agent, …)`` asks an agent, ``await me.actor(name, key).ask(method, …)`` another
    actor; meanwhile its key is held, and no other message is taken up. What it tells, emits and
    reminds itself of is there when the method has returned, together with the state that it left.
    """

    def __init__(self, run: FlowContext, asked: TakenUp, standing: ActorMemo) -> None:
        self._run, self._asked, self._standing = run, asked, standing
        self._chain = (*asked.chain, f"{asked.name}/{asked.key}")
        self._over = False
        self._left = LeftBehind([], [], {})

    @property
    def name(self) -> str:
        """The name of the actor's class."""
        return self._asked.name

    @property
    def key(self) -> str:
        """The actor's key."""
        return self._asked.key

    @property
    def message_id(self) -> str:
        """The id of the message: the same when it is sent again."""
        return self._asked.id

    def ask(
        self,
        agent: str,
        input: JsonValue = None,  # noqa: A002 - as callers write it
        **options: Any,
    ) -> Awaitable[Any]:
        """Ask an agent; its turn is a step of its own, with its retries."""
        self._refuse_late()
        return self._run.ask(agent, input, **options)

    def actor(self, name: str, key: str) -> OtherActor:
        """Another actor, to be told something or asked."""
        return OtherActor(self, name_of(name, "actor"), name_of(key, "key"))

    def emit(
        self, stream: str, kind: str, data: Mapping[str, JsonValue], *, key: str | None = None
    ) -> None:
        """Add an entry to a stream, in the transaction that keeps the state."""
        self._refuse_late()
        told = StreamEvent.read({"kind": kind, "data": _plain(dict(data), "data"), "key": key})
        self._left.emits.append((stream_of(stream), told))

    def remind(
        self, after_s: float, method: str, *args: JsonValue, key: str | None = None, **named: Any
    ) -> str:
        """Have a method of its own called after so many seconds; returns the reminder's key.

        Another one of the same ``key`` takes its place.
        """
        self._refuse_late()
        if not isinstance(after_s, int | float) or not 0 <= after_s <= _LATEST_S:
            raise InvalidPayloadError("after_s: seconds from now on, of a hundred years at most.")
        standing, set_ = self._standing, self._left.reminders
        if key is None:
            standing.reminded += 1
        known = f"#{standing.reminded}" if key is None else name_of(key, "key")
        if len({*standing.reminders, *set_, known}) > REMINDERS_MAX:
            raise InvalidPayloadError(f"An actor has {REMINDERS_MAX:,} reminders at the most.")
        due = self._run.now().timestamp() + after_s
        told: Any = _plain([[*args], named], method)
        set_[known] = Reminder(due, name_of(method, "method"), told[0], told[1])
        return known

    def forget(self, key: str) -> None:
        """Have a reminder not come, if it has not."""
        self._refuse_late()
        self._left.reminders[key] = None

    def now(self) -> datetime:
        """When the message was taken up; the same in each replay."""
        return self._run.now()

    @property
    def random(self) -> Random:
        """Random numbers that are the same in each replay."""
        return self._run.random

    def uuid4(self) -> uuid.UUID:
        """A random UUID that is the same in each replay."""
        return self._run.uuid4()

    def close(self) -> LeftBehind:
        """Note that its method is over, and return what is left of it."""
        self._over = True
        return self._left

    def tell(self, told: AddressedMessage) -> None:
        """Tell another actor something; see :class:`OtherActor`."""
        self._refuse_late()
        self._left.tells.append(told)

    def call(self, told: AddressedMessage, timeout_s: float) -> Awaitable[Any]:
        """Ask another actor; see :class:`OtherActor`."""
        self._refuse_late()
        target = f"{told.actor}/{told.key}"
        if target in self._chain or len(self._chain) >= CHAIN_MAX:
            raise ActorCycleError.of([*self._chain, target])
        to = actor_run_id(self._asked.tenant, told.actor, told.key)
        self._standing.calls += 1
        key = f"{CALL_KEY}{to}/{self._standing.calls}"
        about = {"wanted": True, "chain": [*self._chain], "deadline_s": timeout_s}
        return called(self._run, [told], key, **about)

    def _refuse_late(self) -> None:
        if self._over:
            raise FlowError("The method of the actor is over: what it began is not awaited.")


class OtherActor:
    """Another actor, as a method has it."""

    def __init__(self, me: ActorContext, name: str, key: str) -> None:
        self._me, self._who = me, {"actor": name, "key": key}

    def tell(self, method: str, *args: JsonValue, **named: JsonValue) -> None:
        """Tell it something, once the method that does so has returned."""
        self._me.tell(self._message(method, args, named))

    def ask(
        self, method: str, *args: JsonValue, timeout_s: float = _ANSWER_S, **named: JsonValue
    ) -> Awaitable[Any]:
        """Ask it, and wait for its answer. What its method raises is raised here.

        Raises:
            ActorCycleError: it waits for whoever asks.
        """
        return self._me.call(self._message(method, args, named), timeout_s)

    def _message(self, method: str, args: Any, named: Any) -> AddressedMessage:
        told: Any = _plain({"method": method, "args": [*args], "kwargs": named}, method)
        return AddressedMessage.read({**told, **self._who})


def called(
    run: FlowContext, told: list[AddressedMessage], key: str | None = None, **options: Any
) -> Awaitable[Any]:
    """Ask for a step that tells actors something; ``options`` are those of :class:`ActorCall`."""
    messages: Any = [one.compact() for one in told]
    given = {**options, "retry": {"max_attempts": TRIES}}

    def make(known: str) -> Member:
        return Member(
            key=known,
            task=names.CALL,
            input=messages,
            options=given,
            max_attempts=TRIES,
            deadline_s=options.get("deadline_s"),
        )

    instance = run._instance  # noqa: SLF001 - the service's own flow
    return instance.ask("call", told[0].actor, [messages, options], make, key=key)


def _plain(told: Any, what: str) -> JsonValue:
    try:
        return plain_json(told)
    except ValueError as error:
        raise InvalidPayloadError(f"{what}: {error}") from None
