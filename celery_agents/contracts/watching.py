"""Runs, progress and figures as those see them who watch the service."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from celery_agents.contracts.base import Contract, Id, Name, Tenant, Whole, mistakes, read_as
from celery_agents.contracts.outcome import State, Usage
from celery_agents.errors import InvalidPayloadError

#: Runs of one page at the most.
PAGE_MAX = 1_000
#: Seconds for which something that should move has not, when it counts as stuck.
STUCK_S = 60.0

C = TypeVar("C", bound=Contract)


def _read(contract: type[C], given: Mapping[str, Any]) -> C:
    try:
        return contract.model_validate(given)
    except ValidationError as error:
        place, wrong = mistakes(error, contract)[0]
        raise InvalidPayloadError(f"{place}: {wrong}") from None


#: Newest first, or dearest first.
Order = Literal["time", "cost"]


class RunFilter(Contract):
    """The runs that are looked for: all conditions hold."""

    state: State | None = None
    #: Some step of it asks this agent.
    agent: Name | None = None
    tenant: Tenant | None = None
    #: It began at most so many seconds ago.
    since_s: Annotated[float, Field(gt=0, strict=True)] | None = None
    #: It ended without success, cancelled ones aside.
    failed: bool = False
    #: It waits for a person.
    waiting: bool = False
    #: Something in it should have gone on for a minute: see ``why`` of each.
    stuck: bool = False
    order: Order = "time"
    limit: Annotated[int, Field(ge=1, le=PAGE_MAX), Whole] = 100
    #: ``more`` of the page before.
    after: str | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Read conditions.

        Raises:
            InvalidPayloadError: one is wrong; it says which.
        """
        return _read(cls, given)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.failed and self.state not in (None, State.FAILED, State.DEAD):
            raise ValueError(f"a run that is {self.state} did not fail")
        return self


class RunInfo(Contract):
    """A run as lists show it."""

    id: str
    task: str
    agent: str | None = None
    tenant: str = ""
    state: State
    #: Seconds since 1970.
    created_at: float
    finished_at: float | None = None
    #: The cost of all its steps; None while it is open.
    usage: Usage | None = None
    #: Kind and message of its error, redacted.
    error: str | None = None
    #: The reason for which it waits, or is stuck.
    why: str | None = None


class RunPage(Contract):
    """Some runs, and where the next page begins."""

    runs: tuple[RunInfo, ...]
    #: For ``after``; None: these were the last ones.
    more: str | None = None


class MemberProgress(Contract):
    """How far a step is with its members, those of a map say."""

    step_id: str
    state: State
    #: Members that it has so far: with waves, of this one and of those before.
    total: int
    succeeded: int = 0
    failed: int = 0
    running: int = 0
    skipped: int = 0
    #: Since it began.
    elapsed_s: float = 0.0

    @property
    def done(self) -> int:
        """Members that have ended."""
        return self.succeeded + self.failed + self.skipped

    @property
    def rate(self) -> float:
        """Members that ended in a second, on the mean."""
        return self.done / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds that the others take at this rate; None where none has ended yet."""
        return (self.total - self.done) / self.rate if self.done else None

    def told(self) -> dict[str, Any]:
        """All of it as JSON, with what follows from it."""
        left = None if self.left_s is None else round(self.left_s, 3)
        return {
            **self.model_dump(mode="json"),
            "done": self.done,
            "rate": round(self.rate, 3),
            "left_s": left,
        }


#: Statistics go back so far at the most.
SINCE_MAX_S = 366 * 86_400.0
#: By agent (or pattern), by tenant, or all together; and always by state.
Grouping = Literal["agent", "tenant", "all"]


class StatsWanted(Contract):
    """The steps of which statistics are asked for."""

    #: Those that ended in the last seconds, in whole minutes; of more than six hours in whole ones.
    since_s: Annotated[float, Field(gt=0, le=SINCE_MAX_S, strict=True)] = 3_600.0
    by: Grouping = "agent"
    #: An agent, or the task of a pattern.
    agent: Name | None = None
    tenant: Tenant | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Read what is asked for.

        Raises:
            InvalidPayloadError: some of it is wrong; it says which.
        """
        return _read(cls, given)


class StepStats(Contract):
    """Steps that ended in one way within a time, in numbers."""

    #: The agent, the task of a pattern, or the tenant; "" of all, and of nobody in particular.
    name: str
    state: State
    count: int
    #: Of those that began, from their first claim to their end. Percentiles are at most 2 % off.
    mean_s: float | None = None
    deviation_s: float | None = None
    min_s: float | None = None
    max_s: float | None = None
    median_s: float | None = None
    p95_s: float | None = None
    p99_s: float | None = None
    #: How many ended with an error of which kind.
    errors: dict[str, int] = Field(default_factory=dict)
    #: A pattern's cost is that of its members, and stands there.
    usage: Usage = Usage()


class Stats(Contract):
    """Statistics of steps by how they ended."""

    #: Seconds since 1970: the whole minutes or hours that are counted.
    since: float
    until: float
    #: Runs that began later may not be in it yet.
    counted_until: float
    rows: tuple[StepStats, ...] = ()


class ServingWorker(Contract):
    """A process that takes steps."""

    name: str
    host: str
    pid: int
    started_at: float
    #: Below 0 it is gone: so long ago its lease ended.
    lease_left_s: float
    #: Steps that it has claimed and not ended: the slots in use.
    running: int
    #: So many it can run at a time; None: it does not say.
    slots: int | None = None
    #: Bytes of memory and processors (1.0: one whole) in use at its last heartbeat; None: the same.
    memory_bytes: int | None = None
    cores: float | None = None


class QueueState(Contract):
    """Messages of a queue that no worker has taken."""

    name: str
    #: By priority, 0 first; those of tenants aside.
    queued: dict[int, int]


class Cluster(Contract):
    """The service as a whole, now."""

    workers: tuple[ServingWorker, ...] = ()
    queues: tuple[QueueState, ...] = ()
    #: Steps by what they wait for: a worker, a later time, a person, that their result is stored.
    ready: int = 0
    later: int = 0
    asking: int = 0
    unsettled: int = 0
    running: int = 0
    #: Of all workers that are up: ``running`` of them are in use.
    slots: int = 0
    #: Since the oldest step that is ready could have been taken.
    oldest_ready_s: float | None = None
    #: Since somebody was first asked who has not answered.
    oldest_asking_s: float | None = None
    dead_letters: int = 0


_CURSOR: TypeAdapter[tuple[float, str]] = TypeAdapter(
    tuple[Annotated[float, Field(allow_inf_nan=False)], Id]
)


def cursor_of(value: float, run_id: str) -> str:
    """The place behind a run in a list that is ordered by this value."""
    return base64.urlsafe_b64encode(json.dumps([value, run_id]).encode()).decode()


def read_cursor(text: str) -> tuple[float, str]:
    """The value and the id of :func:`cursor_of`.

    Raises:
        InvalidPayloadError: it is no such place.
    """
    try:
        found = json.loads(base64.urlsafe_b64decode(text))
    except (ValueError, RecursionError):
        raise InvalidPayloadError("after: it is `more` of the page before.") from None
    return read_as(_CURSOR, tuple(found) if isinstance(found, list) else found, "after")
