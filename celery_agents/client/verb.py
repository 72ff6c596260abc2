"""A verb of the client: it validates what is asked for, composes messages and sends them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from celery import Signature, signals

from celery_agents import traces
from celery_agents.client.answers import AnswerType, typed
from celery_agents.client.connection import Connection
from celery_agents.client.run import Reader, Run
from celery_agents.contracts.ask import StepOptions
from celery_agents.contracts.base import JsonValue, id_of, tenant_of
from celery_agents.errors import InvalidPayloadError
from celery_agents.transport import PRIORITY_STEPS
from celery_agents.values import problem
from celery_agents.wire.messages import Draft, Message

R = TypeVar("R", bound=Run[Any])


class Verb(Generic[R]):
    """The base of all verbs: validate, compose, send.

    Options are validated here, so that a mistake shows at the call and not in a worker.
    """

    #: Options that are not the payload's.
    own: ClassVar[tuple[str, ...]] = ("id", "priority", "tenant")
    #: Whether options are right or wrong with any input: then they are checked once.
    kept: ClassVar[bool] = False

    def __init__(
        self,
        connection: Connection,
        reader: Reader,
        task: str,
        request: type[StepOptions],
        run: type[R],
    ) -> None:
        self._connection = connection
        self._reader = reader
        self._task = task
        self._request = request
        self._run = run
        self._drafts: dict[tuple[Any, ...], Draft] = {}

    def _enqueue(self, value: JsonValue, options: dict[str, Any]) -> R:
        return self._enqueue_many([value], options)[0]

    def _enqueue_many(self, values: Iterable[JsonValue], options: dict[str, Any]) -> list[R]:
        answer = self._typed(options)
        messages = self._composed(values, options)
        if messages and messages[0].known_as is not None:  # its id was chosen
            self._connection.refuse_other(messages[0])
        self._connection.publish(messages)
        return self._runs(messages, answer)

    async def _enqueue_async(self, value: JsonValue, options: dict[str, Any]) -> R:
        return (await self._enqueue_many_async([value], options))[0]

    async def _enqueue_many_async(
        self, values: Iterable[JsonValue], options: dict[str, Any]
    ) -> list[R]:
        answer = self._typed(options)
        messages = self._composed(values, options)
        if messages and messages[0].known_as is not None:
            await self._connection.refuse_other_async(messages[0])
        await self._connection.publish_async(messages)
        return self._runs(messages, answer)

    def _typed(self, options: dict[str, Any]) -> AnswerType[Any] | None:
        """The type of the answer, whose schema takes its place among the options."""
        wrong = isinstance(options.get("answer_schema"), type)
        return typed(options) if wrong or "answer" in self.own else None

    def _runs(self, messages: Iterable[Message], answer: AnswerType[Any] | None) -> list[R]:
        return [self._run(self._reader, message.id, message, answer) for message in messages]

    def _composed(self, values: Iterable[JsonValue], options: dict[str, Any]) -> list[Message]:
        messages = [*self._messages(([value] for value in values), options)]
        if len(messages) > 1 and messages[0].known_as is not None:
            raise InvalidPayloadError("One id cannot be that of many runs.")
        return messages

    def _messages(
        self, inputs: Iterable[list[JsonValue]], options: dict[str, Any]
    ) -> Iterator[Message]:
        run_id = options.pop("id", None)
        if run_id is not None:
            run_id = id_of(run_id)
        priority = options.pop("priority", None)
        about: dict[str, Any] = {} if priority is None else {"priority": _priority_of(priority)}
        if (tenant := options.pop("tenant", None)) is not None:
            about["tenant"] = tenant_of(tenant)
        if (trace := traces.current()) is not None:
            about["trace"] = trace
        given = {k: v for k, v in options.items() if v is not None}
        draft: Draft | None = None
        for args in inputs:
            if draft is None:  # the options are the same for all
                draft = self._draft(args, given, about)
            elif problem(args[0]) is not None:
                self._request.from_message(args, given)
            yield draft.message(args, run_id)

    def _draft(self, args: list[JsonValue], given: dict[str, Any], about: dict[str, Any]) -> Draft:
        """The draft of options that are right with this input; one of plain options is kept."""
        key = self._key_of(given, about) if self.kept and len(args) <= 1 else None
        kept = None if key is None else self._drafts.get(key)
        if kept is not None and not any(map(problem, args)):
            return kept
        request = self._request.from_message(args, given, names=self.own)
        request.within(self._connection.ballots_max)
        options = request.message_options()
        draft = self._connection.draft(self._task, options, **about)
        if key is not None and _is_plain(options) and draft.size <= _KEPT_CHARACTERS:
            if len(self._drafts) >= _KEPT:
                self._drafts.clear()
            self._drafts[key] = draft
        return draft

    def _key_of(self, given: dict[str, Any], about: dict[str, Any]) -> tuple[Any, ...] | None:
        """The key of a draft among those that are kept; None where each call has one of its own.

        Hooks may change the options that they are shown.
        """
        if not _is_plain(given) or "trace" in about or signals.before_task_publish.receivers:
            return None
        told = {**given, **about}
        where = self._connection
        place = (where.queue, where.payload_limit_bytes, where.seals)
        return *place, *told.items(), *map(type, told.values())  # True is no 1

    def _signature(self, args: Sequence[JsonValue], options: dict[str, Any]) -> Signature:
        self._typed(options)
        (message,) = self._messages([[*args]], options)
        signature = message.signature(self._connection.celery)
        return signature if message.known_as is None else signature.set(task_id=message.id)


#: Drafts that a verb keeps, and characters of their options at the most.
_KEPT, _KEPT_CHARACTERS = 128, 2_000
_PLAIN = frozenset({str, int, float, bool})


def _is_plain(options: dict[str, Any]) -> bool:
    """Return whether nothing is within them that could be changed."""
    return _PLAIN.issuperset(map(type, options.values()))


def _priority_of(value: object) -> int:
    if type(value) is not int or value not in PRIORITY_STEPS:
        raise InvalidPayloadError("priority: it is a number from 0 (first) to 9 (last).")
    return value
