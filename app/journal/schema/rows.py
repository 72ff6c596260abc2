"""Arguments and results of the journal's operations: plain values, no ORM objects."""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

from celery_agents import names
from celery_agents.contracts.ask import StepOptions
from celery_agents.contracts.experience import Experienced
from celery_agents.contracts.memory import MemoryPolicy
from celery_agents.contracts.outcome import Outcome, State
from celery_agents.light import light

if TYPE_CHECKING:
    from celery_agents.wire.messages import Message

#: The namespace of ids of members; any fixed UUID would do.
_NAMESPACE = uuid.UUID("6f1c1d5e-5a0b-5c1e-9a52-3d4f7a1b9c55")
#: Where in a UUID's number the time of version 7 and the version begin (RFC 9562).
_BITS_OF_TIME, _BITS_OF_VERSION = 80, 76
#: The states of steps that have ended, as their column has them.
FINAL = [s.value for s in State if s.final]


def derived_id(parent_id: str, key: str) -> str:
    """The id of a member: the same for the same parent and key, however often it is made.

    A UUID of version 5; below a UUID one of version 8 that begins as its parent's, so that members
    stand together in the journal's indexes (see celery_agents/wire/ids.py).
    """
    made = uuid.uuid5(_NAMESPACE, f"{parent_id}/{key}")
    try:
        beginning = uuid.UUID(parent_id).int >> _BITS_OF_TIME
    except ValueError:
        return str(made)
    return _beginning_with(beginning, made)


def slot_id(tenant: str, schedule: str, at: float) -> str:
    """The id of the run of a schedule's slot: the same whoever starts it, and of its time."""
    made = uuid.uuid5(_NAMESPACE, f"schedule/{tenant}/{schedule}\0{at!r}")
    return _beginning_with(int(at * 1000), made)


def entry_run_id(tenant: str, subscription: str, pos: int, at: float) -> str:
    """The id of the run that an entry starts: of the subscription, and of the entry's position."""
    made = uuid.uuid5(_NAMESPACE, f"subscription/{tenant}/{subscription}\0{pos}")
    return _beginning_with(int(at * 1000), made)


def keyed_run_id(tenant: str, subscription: str, key: str) -> str:
    """The id of the run that all entries of a key start."""
    return str(uuid.uuid5(_NAMESPACE, f"subscription/{tenant}/{subscription}\0key/{key}"))


def _beginning_with(ms: int, made: uuid.UUID) -> str:
    """A UUID of version 8 that begins with a time in milliseconds, and goes on as another one."""
    rest = made.int & (1 << _BITS_OF_VERSION) - 1
    return str(uuid.UUID(int=ms << _BITS_OF_TIME | 8 << _BITS_OF_VERSION | rest))


class LazyPayload(Mapping[str, Any]):
    """A row's payload, decoded when it is first looked into: a first claim seldom does."""

    __slots__ = ("_decoded", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._decoded: dict[str, Any] | None = None

    def _all(self) -> dict[str, Any]:
        if self._decoded is None:
            self._decoded = json.loads(self._text)
        return self._decoded

    def __getitem__(self, key: str) -> Any:
        return self._all()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._text!r})"


@light(frozen=True, slots=True)
class NewStep:
    """A row to be made, as a message or a pattern's member describes it."""

    id: str
    run_id: str
    task: str
    queue: str
    payload: dict[str, Any]
    max_attempts: int
    parent_id: str | None = None
    member: str | None = None
    position: int = 0
    agent: str | None = None
    priority: int = 5
    envelope: dict[str, Any] | None = None
    timeout_s: float | None = None  # of the whole step, from now
    tenant: str = ""
    untrusted: bool = False  # it goes on with what a run said that had read what others wrote

    @classmethod
    def of_run(
        cls,
        options: StepOptions,
        args: Iterable[Any],
        kwargs: Mapping[str, Any],
        *,
        trace: str | None = None,
        **about: Any,
    ) -> Self:
        """The row of a run of its own, with the policy that its arguments ask for.

        ``about``: id, task, queue, priority and tenant; envelope, if something follows it; whether
        it is untrusted.
        ``trace``: the span of whoever asks, as a header has it.
        """
        if options.webhook is not None:  # it follows the end, as a chain does
            webhook = options.webhook.compact()
            about["envelope"] = {**(about.get("envelope") or {}), "webhook": webhook}
        # It stands first, so that it is read without the rest (app/journal/queries/traced.py).
        caller = {} if trace is None else {names.TRACE: trace}
        return cls(
            **about,
            run_id=about["id"],
            payload={**caller, "args": list(args), "kwargs": dict(kwargs)},
            max_attempts=options.retry.max_attempts,
            agent=getattr(options, "agent", None),
            timeout_s=options.whole_s,
        )

    @classmethod
    def of_message(cls, options: StepOptions, message: Message) -> Self:
        """The row of what a message asks for that is not sent, or only to wake it."""
        return cls.of_run(
            options,
            message.args,
            message.kwargs,
            id=message.id,
            task=message.task,
            queue=message.queue,
            priority=message.priority,
            tenant=message.tenant,
            trace=message.trace,
        )

    def wake(self) -> Wake:
        """The message for this row."""
        return Wake.of(self, self.envelope)


@light(frozen=True, slots=True)
class Wake:
    """A message to publish for a row."""

    id: str
    task: str
    queue: str
    priority: int
    run_id: str
    parent_id: str | None
    agent: str | None
    payload: Mapping[str, Any]
    envelope: dict[str, Any] | None
    tenant: str = ""

    @classmethod
    def of(cls, step: NewStep | Claimed, envelope: dict[str, Any] | None) -> Self:
        """The message for the row of a step, which has this envelope."""
        return cls(
            id=step.id,
            task=step.task,
            queue=step.queue,
            priority=step.priority,
            run_id=step.run_id,
            parent_id=step.parent_id,
            agent=step.agent,
            payload=step.payload,
            envelope=envelope,
            tenant=step.tenant,
        )


class EndedStep(NamedTuple):
    """A step that ended without an attempt of its own: skipped, cancelled, given up, answered."""

    task: str
    agent: str | None
    outcome: Outcome
    is_root: bool = False


@dataclass(slots=True)
class Aftermath:
    """The effects of a committed write that are carried out after the transaction."""

    applied: bool = True  # False: the token was stale, nothing was written
    wakes: list[Wake] = field(default_factory=list)
    cancels: list[str] = field(default_factory=list)  # running steps that are to stop
    #: Steps that the write itself has ended, for who counts ends: no claim of theirs does.
    ended: list[EndedStep] = field(default_factory=list)

    def add(self, other: Aftermath) -> None:
        """Carry out what another write needs, too."""
        self.wakes += other.wakes
        self.cancels += other.cancels
        self.ended += other.ended


class Unwritten(Protocol):
    """Rows that are written a moment after what they tell of (app/journal/ahead.py)."""

    def settle(self) -> None:
        """See that they are in the journal, from any thread; it blocks for a moment.

        Raises:
            JournalUnavailableError: they are not, and will not be.
        """


@light(frozen=True, slots=True)
class Claimed:
    """The step is ours, under a fencing token."""

    id: str
    token: int
    attempt: int
    run_id: str
    parent_id: str | None
    member: str | None
    task: str
    agent: str | None
    queue: str
    priority: int
    payload: Mapping[str, Any]
    max_attempts: int
    remaining_s: float | None  # until the step's own deadline
    #: Of the join that counts it, where the claim has looked it up; None if it lets others begin.
    policy: str | None = None
    elapsed_s: float = 0.0  # from its first claim to this one
    tenant: str = ""
    #: Since it could have been claimed; None: this claim has made its row.
    waited_s: float | None = None
    untrusted: bool = False  # so it was when it was claimed, as far as its own row said it
    let_go: Aftermath | None = None  # of members, by this claim
    #: What is written before anything else of it is, where its row is still to come.
    ahead: Unwritten | None = field(default=None, compare=False, repr=False)
    since: float = field(default_factory=time.monotonic)

    @property
    def left_s(self) -> float | None:
        """Seconds that are left of the step's time now; None: it has no limit."""
        if self.remaining_s is None:
            return None
        return self.remaining_s - (time.monotonic() - self.since)

    @property
    def spent_s(self) -> float:
        """Seconds from its first claim until now, waits between attempts and for members too."""
        return round(max(self.elapsed_s, 0.0) + time.monotonic() - self.since, 6)


@light(frozen=True, slots=True)
class HeldSession:
    """A session is ours until the run ends; what the run is told of it."""

    tenant: str
    name: str
    begins: int  # the first exchange that its agent is told; it is so in each attempt
    exchanges: int


class Unheld(StrEnum):
    """Why a step got no session."""

    WAITS = "waits"  # for the run that has it; the row says so
    CANCELLED = "cancelled"
    LOST = "lost"  # another worker has its lease


@light(frozen=True, slots=True)
class NewExchange:
    """An exchange, to be added to the session that its run holds."""

    data: dict[str, Any]
    tokens: int


@light(frozen=True, slots=True)
class NewEntry:
    """A line to be added to a stream; of one kind and key there is one."""

    tenant: str
    stream: str
    kind: str
    data: dict[str, Any]
    key: str | None = None
    run_id: str | None = None


class TextVector(NamedTuple):
    """A vector of length 1, as 32-bit floats, with the name of the agent that made it."""

    model: str
    data: bytes

    @classmethod
    def read(cls, told: Any) -> Self | None:
        """That of a row's JSON."""
        return None if told is None else cls(told[0], base64.b64decode(told[1]))

    def told(self) -> list[str]:
        """It as JSON."""
        return [self.model, base64.b64encode(self.data).decode()]


@light(frozen=True, slots=True)
class NewMemory:
    """A text to be kept in a space; an empty one only ends what it replaces."""

    id: str
    tenant: str
    space: str
    text: str
    tokens: int
    policy: MemoryPolicy
    importance: float = 1.0
    replaces: str | None = None
    thread: str = ""
    agent: str | None = None
    run_id: str | None = None
    trust: int = 2
    vouched: bool = False  # whatever its run has read
    vector: TextVector | None = None
    experience: Experienced | None = None  # of the step whose input it is
    links: tuple[tuple[str, str], ...] = ()  # kinds, and ids of what it is linked with


class Refusal(StrEnum):
    """Why a claim got no step."""

    TAKEN = "taken"  # runs elsewhere under a live lease
    EARLY = "early"  # not before its ready_at
    WAITING = "waiting"  # for its members
    LAPSED = "lapsed"  # the worker that asks has lost its lease
    MISSING = "missing"  # no such row: cleaned up, or the message is forged


@light(frozen=True, slots=True)
class Refused:
    """The claim got no step."""

    reason: Refusal


@light(frozen=True, slots=True)
class Finished:
    """The step has ended, before this claim or by it; its journaled outcome."""

    id: str
    outcome: Outcome
    parent_id: str | None
    aftermath: Aftermath
    token: int  # of its row, as it ended
    task: str
    payload: Mapping[str, Any]


Claim = Claimed | Refused | Finished
