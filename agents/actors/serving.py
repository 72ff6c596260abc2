"""The flow that an actor is: it takes messages up, one after the other, and never ends.

What was taken up at once, 64 messages at the most, is one commit: the flow begins anew with the
state that they left. So its history is as long as what is under way. A message is refused, and
the next one taken up, whatever it is, and whatever its method does.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple, NoReturn

from pydantic import Field, ValidationError

from agents.actors.context import (
    ActorContext,
    ActorMemo,
    LeftBehind,
    Reminder,
    TakenUp,
    called,
)
from agents.actors.mailbox import Mailbox
from agents.flows.run import FlowContext
from agents.flows.wants import Emit
from agents.plain import plain_json
from celery_agents.actor import ActorMark, methods_of, new_instance
from celery_agents.contracts.base import Contract, JsonValue, Name, TrustedJson
from celery_agents.contracts.flows.actors import (
    ANSWER_MAX,
    BATCH,
    DEAD,
    REPLY,
    STATE_MAX,
    ActorMessage,
)
from celery_agents.contracts.flows.entries import ANSWERS
from celery_agents.contracts.outcome import ErrorInfo
from celery_agents.errors import (
    AgentFailedError,
    AgentsError,
    AnswerTooLargeError,
    FlowError,
    InvalidPayloadError,
    UnknownActorError,
    redact,
)
from celery_agents.noted import note

log = logging.getLogger(__name__)
#: Seconds that a method has, with all that it waits for.
METHOD_S = 24 * 3600.0
#: Messages of one such step.
_TOLD_AT_ONCE = 64


class ActorInput(Contract):
    """An actor as its flow begins: which one, and what it goes on with."""

    actor: Name
    key: Name
    tenant: str = ""
    #: None: it is new.
    state: TrustedJson = None
    reminders: dict[str, tuple[float, str, list[TrustedJson], dict[str, TrustedJson]]] = Field(
        default_factory=dict
    )
    reminded: int = 0


class _Envelope(NamedTuple):
    """A message with what the service itself wrote of it, when it was put into the mailbox."""

    id: str
    #: Whether somebody waits for its answer, and the step that is woken with it.
    wanted: bool
    chain: tuple[str, ...]
    message: ActorMessage


def flow_of(kind: type, mark: ActorMark) -> Callable[[FlowContext, Any], Any]:
    """The flow that an actor of this class is."""
    return partial(_serve, kind, mark)


async def _serve(kind: type, mark: ActorMark, run: FlowContext, told: Any) -> NoReturn:
    try:
        served = ActorInput.model_validate(told)
    except ValidationError:
        served = None
    if served is None or served.actor != mark.name:
        raise FlowError(f"{mark.name} is an actor: tell it something, and it is there.")
    await ActorLife(kind, run, served).forever()


class ActorLife:
    """An actor in one generation of its flow."""

    def __init__(self, kind: type, run: FlowContext, served: ActorInput) -> None:
        self._kind, self._run, self._told = kind, run, served
        self._methods = methods_of(kind)
        self._instance = run._instance  # noqa: SLF001 - the service's own flow
        self._box = self._instance.inbox = Mailbox()  # type: ignore[assignment]  # in its place
        text = None if served.state is None else json.dumps(served.state)
        reminders = {key: Reminder(*one) for key, one in served.reminders.items()}
        self._standing = ActorMemo(text, reminders, served.reminded)
        self._tells: list[Any] = []
        self._count = 0  # messages that were taken up

    async def forever(self) -> NoReturn:
        """Take messages up until there is none now, or enough of them; then begin anew."""
        while True:
            told = await self._next()
            if told is None:
                break
            self._count += 1
            await self._take_up(told)
        await self._tell_others()
        standing = self._standing
        self._run.again(
            {
                "actor": self._told.actor,
                "key": self._told.key,
                "tenant": self._told.tenant,
                "state": None if standing.text is None else json.loads(standing.text),
                "reminders": {key: [*one] for key, one in standing.reminders.items()},
                "reminded": standing.reminded,
            }
        )

    # -- messages

    async def _next(self) -> Any:
        """The next message, or the next reminder that is due; None: it is time to commit.

        A new generation waits first, so one wake has one commit.
        """
        loop = asyncio.get_running_loop()
        if self._count == BATCH:
            return None
        if self._count and (due := self._due(loop.time())) is not None:
            return due
        future = loop.create_future()
        self._box.wait(future)
        # Once something was taken up: a timer that rings when no message is left of this wake.
        after_s = 0.0 if self._count else self._next_due_s(loop.time())
        timer = None if after_s is None else loop.call_later(after_s, _ring, future)
        told = await future
        if timer is not None:
            timer.cancel()
        if told is not _RUNG:
            return told
        return self._due(loop.time())

    def _next_due_s(self, now: float) -> float | None:
        dues = [one.due for one in self._standing.reminders.values()]
        return max(min(dues) - now, 0.0) if dues else None

    def _due(self, now: float) -> _Envelope | None:
        """The first reminder whose time has come, which is none any more then."""
        reminders = self._standing.reminders
        ripe = [(one.due, key) for key, one in reminders.items() if one.due <= now]
        if not ripe:
            return None
        due, key = min(ripe)
        one = reminders.pop(key)
        message = ActorMessage(method=one.method, args=tuple(one.args), kwargs=one.kwargs)
        return _Envelope(f"{key}@{due}", wanted=False, chain=(), message=message)

    async def _take_up(self, told: Any) -> None:
        """Call a method; what it leaves is kept, or an error is told and nothing is."""
        known = _known_of(told)
        asked = TakenUp(self._told.tenant, self._told.actor, self._told.key, known[2], known[0])
        me = ActorContext(self._run, asked, self._standing)
        try:
            envelope = told if isinstance(told, _Envelope) else _read(told)
            value, text = await self._called(me, envelope)
        except GeneratorExit:
            raise
        except BaseException as error:
            me.close()
            if isinstance(error, asyncio.CancelledError) and self._ends:
                raise
            self._refuse(known, told, error)
        else:
            self._keep(me.close(), text)
            if envelope.wanted:
                self._emit(REPLY, {} if value is None else {"value": value}, envelope.id)

    @property
    def _ends(self) -> bool:
        """True when somebody has cancelled the actor."""
        return self._instance.cancelled_at is not None

    async def _called(self, me: ActorContext, told: _Envelope) -> tuple[JsonValue, str]:
        """Call a method: its answer, and the state that it leaves, as JSON."""
        name = self._told.actor
        method = self._methods.get(told.message.method)
        if method is None:
            has = ", ".join(self._methods)
            raise UnknownActorError(f"{name} has no method {told.message.method!r}; it has {has}.")
        one = self._restored()
        args, kwargs = told.message.args, told.message.kwargs
        try:
            _signature(method).bind(one, me, *args, **kwargs)
        except TypeError as error:
            raise InvalidPayloadError(f"{name}.{told.message.method}: {error}") from None
        async with asyncio.timeout(METHOD_S):
            value = await method(one, me, *args, **kwargs)
        return self._checked(value), self._text_of(one)

    def _restored(self) -> Any:
        one = new_instance(self._kind)
        if self._standing.text is not None:
            vars(one).update(json.loads(self._standing.text))
        return one

    def _text_of(self, one: Any) -> str:
        try:
            text = json.dumps(plain_json(dict(vars(one))))
        except ValueError as error:
            raise AgentFailedError(f"The state cannot be kept: {error}.") from None
        if len(text) > STATE_MAX:
            told = f"The state has {len(text):,} bytes; an actor may have {STATE_MAX:,}."
            raise AnswerTooLargeError(told)
        return text

    def _checked(self, value: Any) -> JsonValue:
        try:
            plain = plain_json(value)
        except ValueError as error:
            raise AgentFailedError(f"The answer cannot be kept: {error}.") from None
        if len(json.dumps(plain)) > ANSWER_MAX:
            raise AnswerTooLargeError(f"An answer of more than {ANSWER_MAX:,} bytes.")
        return plain

    # -- what becomes of them

    def _keep(self, left: LeftBehind, text: str) -> None:
        self._standing.text = text
        for stream, event in left.emits:
            self._want(Emit(stream, event.kind, event.data, event.key))
        for key, reminder in left.reminders.items():
            self._standing.reminders.pop(key, None)
            if reminder is not None:
                self._standing.reminders[key] = reminder
        self._tells += left.tells

    def _refuse(self, known: Any, told: Any, error: BaseException) -> None:
        """Tell whoever waits for the answer; else keep the message with the reason."""
        if isinstance(error, asyncio.CancelledError):
            error = AgentFailedError("The method cancelled itself.")
        elif isinstance(error, TimeoutError) and not str(error):
            error = AgentFailedError("The method waited too long.")
        info = ErrorInfo.of(error).compact()
        message_id, wanted, _ = known
        if wanted:
            self._emit(REPLY, {"error": info}, message_id)
            return
        if not isinstance(error, AgentsError):
            note(log, "actor", "A method of %s failed", self._told.actor, error=error, trace=True)
        self._emit(DEAD, {"method": _method_of(told), "error": info}, message_id)

    async def _tell_others(self) -> None:
        """Have others told, before the state of whoever tells is all that is known of it."""
        while self._tells:
            some, self._tells = self._tells[:_TOLD_AT_ONCE], self._tells[_TOLD_AT_ONCE:]
            try:
                refused = await called(self._run, some)
            except AgentsError as error:
                refused = [[n, ErrorInfo.of(error).compact()] for n in range(len(some))]
            for number, info in refused or ():
                to = f"{some[number].actor}/{some[number].key}"
                told = {"method": some[number].method, "to": to, "error": info}
                self._emit(DEAD, told, f"{self._run.uuid4()}")

    def _emit(self, kind: str, data: dict[str, Any], key: str) -> None:
        self._want(Emit(ANSWERS + self._run.id, kind, data, key or f"{self._run.uuid4()}"))

    def _want(self, want: Emit) -> None:
        told = [want.kind, want.data, want.key]
        self._instance.command("emit", want.stream, told, lambda _: want)


#: Of the few methods that there are: to make one takes as long as all else of a short message.
_signature = lru_cache(maxsize=1_024)(inspect.signature)


class _Rung:
    """A timer that rang, in the place of a message."""


_RUNG = _Rung()


def _ring(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_result(_RUNG)


def _known_of(told: Any) -> tuple[str, bool, tuple[str, ...]]:
    """Tell by the service's own words its id, whether its answer is wanted, and the chain."""
    if isinstance(told, _Envelope):
        return told.id, told.wanted, told.chain
    if not isinstance(told, Mapping):  # a signal, which is no message
        return "", False, ()
    return told["id"], told["wanted"], tuple(told["chain"])


def _read(told: Any) -> _Envelope:
    if not isinstance(told, Mapping):
        raise InvalidPayloadError("It is a signal, and no message of an actor.")
    try:
        message = ActorMessage.model_validate(told["message"])
    except ValidationError as error:
        raise InvalidPayloadError(f"It is no message: {error.error_count()} mistakes.") from None
    return _Envelope(*_known_of(told), message)


def _method_of(told: Any) -> str:
    message = told.message.compact() if isinstance(told, _Envelope) else None
    if isinstance(told, Mapping):
        message = told["message"]
    method = message.get("method") if isinstance(message, Mapping) else None
    return redact(str(method), limit=200)
