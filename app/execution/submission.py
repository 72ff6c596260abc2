"""A step as a message asks for it, wherever that is met, and the row that it becomes.

A worker receives a message, recovery finds one recorded in the intake, and a chain's next link is
about to be sent as one. All three become rows by the same rules.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Self

from celery.utils.functional import maybe_list
from pydantic import TypeAdapter, ValidationError

from app.execution.answers import ESCAPED
from app.journal.schema.rows import NewStep
from celery_agents import names
from celery_agents.contracts.ask import StepOptions
from celery_agents.contracts.base import Option
from celery_agents.errors import PayloadTooLargeError
from celery_agents.light import light
from celery_agents.sealing import CANVAS, MARK, opened_payload
from celery_agents.traces import TraceParent
from celery_agents.transport import PRIORITY_STEPS

#: What follows a step: its name in a row (and in ``apply_async``), that in a message, and the part
#: of a message that says it.
_FOLLOWS = (
    ("chain", "chain", "embed"),
    ("link", "callbacks", "embed"),
    ("link_error", "errbacks", "embed"),
    ("chord", "chord", "embed"),
    ("group_id", "group", "headers"),
    ("group_index", "group_index", "headers"),
    ("reply_to", "reply_to", "properties"),
)
#: In a message, by names of a row and of a message; and those that are kept as they stand there.
_NAMED = tuple((option, name) for option, name, _ in _FOLLOWS)
_EMBEDDED = tuple(name for _, name, part in _FOLLOWS if part == "embed")
#: Those that ``amqp.as_task_v2`` takes as lists, under their names in a message.
_LISTS = {"link": "callbacks", "link_error": "errbacks"}
#: What follows it in a row and in no message: who is told of its end.
_WEBHOOK = "webhook"


@light(frozen=True, slots=True)
class Submission:
    """A step as its message describes it."""

    id: str
    task: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    queue: str
    priority: int
    follows: dict[str, Any]
    tenant: str = ""
    trace: str | None = None  # the caller's span
    untrusted: bool = False
    body_bytes: int | None = None  # what its arguments took in the message, where it is known
    #: What it came with, if what follows it counts: a chain's later links were counted with it.
    message: Mapping[str, Any] | None = None

    @classmethod
    def received(cls, task: str, request: Any, args: Any, kwargs: Any) -> Self:
        """Read a message that a worker received, from Celery's request."""
        info, told = request.delivery_info or {}, vars(request)
        return cls(
            id=request.id,
            task=task,
            args=args,
            kwargs=kwargs,
            queue=queue_of(info),
            priority=priority_of(info.get("priority")),
            follows={o: value for o, name in _NAMED if (value := told.get(name)) is not None},
            tenant=told.get(names.TENANT) or "",
            trace=_trace_of(told.get(names.TRACE)),
            untrusted=bool(told.get(names.UNTRUSTED)),
            body_bytes=told.get("body_bytes"),
            message=request,
        )

    @classmethod
    def recorded(cls, message: dict[str, Any]) -> Self:
        """Read a message that is recorded in the intake (see ``Intake.read``)."""
        headers, properties = message["headers"], message["properties"]
        return cls(
            id=headers["id"],
            task=headers["task"],
            args=message["args"],
            kwargs=message["kwargs"],
            queue=queue_of(properties.get("delivery_info")),
            priority=priority_of(properties.get("priority")),
            follows=_said((option, message[part].get(name)) for option, name, part in _FOLLOWS),
            tenant=headers.get(names.TENANT) or "",
            trace=_trace_of(headers.get(names.TRACE)),
            untrusted=bool(headers.get(names.UNTRUSTED)),
        )

    @classmethod
    def to_send(
        cls,
        task: str,
        args: Any,
        kwargs: Any,
        queue: str,
        about: dict[str, Any],
        *,
        marks: Mapping[str, Any],
    ) -> Self:
        """Describe a message to be sent, with ``about`` as ``amqp.as_task_v2`` takes it.

        ``marks`` are its other headers.
        """
        return cls(
            id=about["task_id"],
            task=task,
            args=args or (),
            kwargs=kwargs or {},
            queue=queue,
            priority=about.get("priority") or 0,
            follows=_said((option, about.get(name)) for option, name, _ in _FOLLOWS),
            tenant=marks.get(names.TENANT) or "",
            trace=_trace_of(marks.get(names.TRACE)),
            untrusted=bool(marks.get(names.UNTRUSTED)),
        )

    def refuse_large(self, limit: int, spread_limit: int) -> None:
        """Refuse payloads, and what follows the step, that are too big for the journal.

        Raises:
            PayloadTooLargeError: it is above ``limit``, or a chain's links, each with the rest of
                the chain, would be above ``spread_limit``.
        """
        if self.body_bytes and ESCAPED * self.body_bytes <= limit:
            return
        message = self.message or {}
        size = len(json.dumps([self.args, self.kwargs, *following(message)]))
        check_chain(message.get("chain"), size, spread_limit)
        if size > limit:
            raise PayloadTooLargeError(
                f"The payload has {size:,} bytes, the limit is {limit:,} (payload_limit_bytes)."
            )

    def row(self, options: StepOptions) -> NewStep:
        """The row of a run of its own, with the policy that its arguments ask for."""
        return NewStep.of_run(
            options,
            self.args,
            self.kwargs,
            id=self.id,
            task=self.task,
            queue=self.queue,
            priority=self.priority,
            envelope=self.follows or None,
            tenant=self.tenant,
            trace=self.trace,
            untrusted=self.untrusted,
        )


def opened_args(app: Any, step_id: str, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """The arguments of a message, decrypted: its own, or those of a link of a canvas.

    Raises:
        UnreadableValueError: they cannot be.
    """
    if MARK not in kwargs:
        return args, kwargs
    told = opened_payload(app.seals, {"args": args, "kwargs": kwargs}, CANVAS, step_id)
    return told["args"], told["kwargs"]


def following(request: Mapping[str, Any]) -> list[Any]:
    """List what follows a step, as its message says: chain, callbacks of both kinds, chord."""
    return [value for name in _EMBEDDED if (value := request.get(name))]


def check_chain(chain: Sequence[Any] | None, size: int, limit: int) -> None:
    """Check a chain whose links each hand on the rest of it, where all of it has ``size`` bytes.

    Raises:
        PayloadTooLargeError: together that is more than the limit.
    """
    links = len(chain or ())
    spread = links * size // 2
    if spread > limit:
        raise PayloadTooLargeError(
            f"A chain of {links:,} links and {size:,} bytes would write {spread:,} bytes, as each "
            f"link hands on the rest; the limit is {limit:,} (spread_limit_bytes). "
            "Make it shorter, or several."
        )


def _trace_of(told: object) -> str | None:
    """The caller's span in a header that anybody may have written."""
    return None if told is None or TraceParent.read(told) is None else str(told)


def _said(follows: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    return {option: value for option, value in follows if value is not None}


def as_sent(follows: Mapping[str, Any]) -> dict[str, Any]:
    """Return what follows a step by the names of ``amqp.as_task_v2``; all else stays as it is."""
    lists = {name: maybe_list(follows[o]) for o, name in _LISTS.items() if o in follows}
    others = {o: v for o, v in follows.items() if o not in _LISTS and o != _WEBHOOK}
    return others | lists


_QUEUE: TypeAdapter[str] = TypeAdapter(Option)


def queue_of(delivery_info: dict[str, Any] | None) -> str:
    """Return the queue that a message came from, for its row's messages; else ours."""
    told = (delivery_info or {}).get("routing_key")
    return _queue(told) if isinstance(told, str) else names.QUEUE


@lru_cache(maxsize=256)  # the same few all the time
def _queue(told: str) -> str:
    try:
        return _QUEUE.validate_python(told)
    except ValidationError:
        return names.QUEUE


def priority_of(told: object) -> int:
    """Return a message's priority; 0, the first, where it has none that can be, as in kombu."""
    return told if type(told) is int and told in PRIORITY_STEPS else PRIORITY_STEPS[0]
