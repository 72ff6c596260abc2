"""Schedules: when runs are to start, of what, and what is told of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from celery_agents.contracts.base import (
    Contract,
    JsonObject,
    Name,
    TrustedJson,
    mistakes,
    read_as,
)
from celery_agents.errors import InvalidPayloadError

#: Seconds of an interval: below one nobody would keep it, above a year the calendar is meant.
_INTERVAL_S = (1.0, 366 * 24 * 3600.0)
#: The last second of the year 9999, as the calendar of Python has it.
_LAST = 253_402_300_799.0
#: Characters of a cron expression: lists of all minutes and days have some three hundred.
_CRON_MAX = 500
#: What becomes of a slot that comes while a run of the schedule is under way.
Overlap = Literal["skip", "queue", "replace", "allow"]
#: What becomes of slots that came while no worker was up.
CatchUp = Literal["latest", "all", "none"]
_KINDS = ("cron", "every_s", "at")
_NAME: TypeAdapter[str] = TypeAdapter(Name)
C = TypeVar("C", bound=Contract)


class ScheduleRule(Contract):
    """When a schedule's slots are, and which of them start a run.

    One of ``cron``, ``every_s`` and ``at`` says when.
    """

    #: Five fields: minute, hour, day of the month, month, day of the week.
    cron: Annotated[str, Field(min_length=1, max_length=_CRON_MAX, strict=True)] | None = None
    #: The zone of ``cron``, as the IANA names it.
    tz: Annotated[str, Field(min_length=1, max_length=60, strict=True)] = "UTC"
    #: Seconds from one slot to the next, the first one so long after it was made.
    every_s: Annotated[float, Field(ge=_INTERVAL_S[0], le=_INTERVAL_S[1], strict=True)] | None = (
        None
    )
    #: Its one slot, in seconds since 1970.
    at: Annotated[float, Field(ge=0, le=_LAST, strict=True)] | None = None
    overlap: Overlap = "skip"
    catchup: CatchUp = "latest"

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [kind for kind in _KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            message = f"one of {', '.join(_KINDS)} is needed, and no two"
            raise ValueError(message)
        if self.tz != "UTC" and self.cron is None:
            message = "tz: it is for cron alone"
            raise ValueError(message)
        return self

    @classmethod
    def read(cls, value: Any) -> Self:
        """A rule as a message has it.

        Raises:
            InvalidPayloadError: it is none.
        """
        return _read(cls, value)

    @property
    def timing(self) -> tuple[Any, ...]:
        """All that its slots depend on."""
        return (self.cron, self.tz, self.every_s, self.at)


class ScheduledRun(Contract):
    """The run that a schedule starts: a step as its message would describe it."""

    task: Name
    args: list[TrustedJson] = Field(default_factory=list)
    kwargs: JsonObject = Field(default_factory=dict)
    queue: Name
    priority: Annotated[int, Field(ge=0, le=9, strict=True)]  # 0 is first

    @classmethod
    def read(cls, value: Any) -> Self:
        """The same as a message has it. Raises as :meth:`ScheduleRule.read`."""
        return _read(cls, value)


class StartedRun(Contract):
    """A run that a schedule has started."""

    run_id: str
    #: Its slot, in seconds since 1970; when it was asked for, of one that a person triggered.
    at: float


class ScheduleInfo(Contract):
    """How a schedule stands."""

    name: str
    tenant: str = ""
    rule: ScheduleRule
    #: What it starts.
    task: str
    #: The agent or flow that the run is of; None of a pattern's, or where it is encrypted.
    of: str | None = None
    paused: bool = False
    #: Its next slot; None: there is none any more.
    next_at: float | None = None
    #: Slots that wait for the run that is under way.
    queued: tuple[float, ...] = ()
    #: The last ones, the newest first.
    runs: tuple[StartedRun, ...] = ()
    #: Slots that started no run, since others were under way or no worker was up.
    skipped: int = 0
    #: Why a slot that is due starts no run; it is tried again.
    error: str | None = None


def schedule_of(value: object) -> str:
    """The name of a schedule.

    Raises:
        InvalidPayloadError: it is none.
    """
    return read_as(_NAME, value, "schedule")


def _read(cls: type[C], value: Any) -> C:
    try:
        return cls.model_validate(value)
    except ValidationError as error:
        place, why = mistakes(error, cls)[0]
        where = "" if place == "payload" else f"{place}: "
        told = why.removeprefix("Value error, ")
        raise InvalidPayloadError(f"schedule: {where}{told}") from None
