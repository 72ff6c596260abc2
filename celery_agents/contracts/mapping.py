"""Mapping: one agent over many inputs, and what came of them in numbers."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from celery_agents.contracts.base import (
    Contract,
    JsonValue,
    Name,
    Option,
    Seconds,
    TrustedJson,
    Whole,
)
from celery_agents.contracts.compensation import Compensated
from celery_agents.contracts.patterns import Pattern
from celery_agents.contracts.schema import AnswerSchema

#: The payload limit binds sooner for all but the smallest inputs.
INPUTS_MAX = 100_000


class Map(Pattern):
    """Ask ``agent`` about each of the inputs, each a step of its own.

    ``on_failure``: ``go_on`` with the others; ``stop`` them at the first that fails, and fail with
    its error. ``max_concurrent``: so many are asked at a time, the next one as soon as one ends.
    ``wave``: so many are asked at once, and the next ones when all of them have ended.
    ``resumes`` names a run of a map that has ended: its inputs are taken, and asked as they were
    but for the options that are given; those that succeeded are not asked again.
    ``retry`` is of each, ``timeout_s`` closes the whole with what is there.
    """

    #: None only in a signature, whose inputs are the previous result.
    input: Annotated[list[JsonValue], Field(max_length=INPUTS_MAX)] | None = None
    #: Empty only where a run is resumed: that one's.
    agent: Name = ""
    resumes: Name | None = None
    on_failure: Literal["go_on", "stop"] = "go_on"
    max_concurrent: Annotated[int, Field(ge=1, le=INPUTS_MAX), Whole] | None = None
    wave: Annotated[int, Field(ge=1), Whole] | None = None
    instructions: str | None = None
    choices: Annotated[tuple[Option, ...], Field(min_length=1, max_length=1000)] | None = None
    answer_schema: AnswerSchema | None = None
    #: For one input, with its retries.
    member_timeout_s: Seconds | None = None
    compensation: Compensated = None

    @model_validator(mode="after")
    def _goes_one_way(self) -> Self:
        if self.wave is not None and self.max_concurrent is not None:
            raise ValueError("give max_concurrent or wave, not both")
        if not self.agent and self.resumes is None:
            raise ValueError("agent: it is missing, and no run is resumed")
        if self.resumes is not None and self.input is not None:
            raise ValueError("resumes: the inputs are those of the run that is resumed")
        return self


class MapFailure(Contract):
    """An input whose step failed, by its place from 0, and its error."""

    index: int
    kind: str
    message: str


class MapResult(Contract):
    """The results of ``count`` inputs; those ``skipped`` were not asked, or stopped on the way.

    ``results`` has the values in the order of the inputs, with None where there is none. It is
    None itself where they are too big for one message: read them with ``MapRun.results``.
    ``failures`` are the first few.
    """

    count: int
    succeeded: int = 0
    failed: int = 0
    skipped: int = 0
    results: tuple[TrustedJson, ...] | None = None
    failures: tuple[MapFailure, ...] = ()
