"""Mapping: agents, or a panel of them, over many inputs, and what came of them in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from celery_agents import names
from celery_agents.contracts.ask import StepOptions
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
from celery_agents.contracts.policies import RetryPolicy
from celery_agents.contracts.schema import AnswerSchema
from celery_agents.contracts.teams.solve import Strategy
from celery_agents.errors import InvalidPayloadError
from celery_agents.values import problem

#: The payload limit binds sooner for all but the smallest inputs.
INPUTS_MAX = 100_000
#: Inputs of a page, and pages of a map, whose inputs are too many for one message.
PAGE_MAX, PAGES_MAX = 1_000, 30_000
#: Of one map.
AGENTS_MAX = 1_000
Assign = Literal["round_robin", "least_busy"]
_VERBS = {
    names.ASK: "ask",
    names.FALLBACK: "fallback",
    names.VOTE: "vote",
    names.GATHER: "gather",
}


def put_to(asked: Any) -> dict[str, Any]:
    """The option of a map that says whom each input is put to: an agent, agents, or a panel.

    A panel is a signature, ``agents.vote.s([...])``, or a payload: ``Vote(voters=[...])``.
    """
    if isinstance(asked, (Mapping, StepOptions)):
        return {"each": asked}
    return {"agents" if isinstance(asked, (list, tuple)) else "agent": asked}


def page_in(value: object) -> tuple[list[JsonValue], str]:
    """The inputs of a page, and the digest up to its end, as a message has them.

    Raises:
        InvalidPayloadError: it is none, or its inputs are too many.
    """
    told = value if isinstance(value, dict) else {}
    inputs, digest = told.get("inputs"), told.get("digest")
    if not isinstance(inputs, list) or not 0 < len(inputs) <= PAGE_MAX:
        raise InvalidPayloadError(f"inputs: a list of 1 to {PAGE_MAX:,}.")
    if not isinstance(digest, str):
        raise InvalidPayloadError("digest: a text.")
    if (wrong := problem(inputs)) is not None:
        raise InvalidPayloadError(f"inputs: {wrong}.")
    return inputs, digest


class Map(Pattern):
    """Ask ``agent`` about each of the inputs, each a step of its own.

    Or ``agents``: by ``round_robin`` input n is agent n mod k's, of k agents; by ``least_busy`` an
    agent that ends one gets the next one. Or put each input to a panel, ``each``: a vote, a
    fallback chain, a gathering, or an agent with all options of ``ask``; these are then its own.
    ``on_failure``: ``go_on`` with the others; ``stop`` them at the first that fails, and fail with
    its error. ``max_concurrent``: so many are asked at a time, the next one as soon as one ends.
    ``wave``: so many are asked at once, and the next ones when all of them have ended.
    ``resumes`` names a run of a map that has ended: its inputs are taken, and asked as they were
    but for the options that are given; those that succeeded are not asked again.
    ``retry`` is of each, ``timeout_s`` closes the whole with what is there.
    """

    #: None only in a signature, whose inputs are the previous result.
    input: Annotated[list[JsonValue], Field(max_length=INPUTS_MAX)] | None = None
    #: Inputs of each page of those that were sent before it, under its id, and their digest.
    pages: Annotated[
        tuple[Annotated[int, Field(ge=1, le=PAGE_MAX), Whole], ...], Field(max_length=PAGES_MAX)
    ] = ()
    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$", strict=True)] | None = None
    #: Empty only where a run is resumed: that one's.
    agent: Name = ""
    agents: Annotated[tuple[Name, ...], Field(max_length=AGENTS_MAX)] = ()
    assign: Assign = "round_robin"
    each: Strategy | None = None
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

    @field_validator("each", mode="before")
    @classmethod
    def _of_signature(cls, value: Any) -> Any:
        """Take a signature of Celery's canvas."""
        if not isinstance(value, Mapping) or "task" not in value:
            return value
        verb = _VERBS.get(task) if isinstance(task := value["task"], str) else None
        if verb is None:
            raise ValueError("each input is put to ask, fallback, vote or gather")
        if value.get("args"):
            raise ValueError("it has an input already: those of the map are put to it")
        return {"verb": verb, "options": value.get("kwargs") or {}}

    @model_validator(mode="after")
    def _goes_one_way(self) -> Self:
        asked = [bool(self.agent), bool(self.agents), self.each is not None].count(True)
        if self.resumes is not None and self.input is not None:
            raise ValueError("resumes: the inputs are those of the run that is resumed")
        if self.pages and (self.resumes is not None or self.input is not None):
            raise ValueError("pages: the inputs are those of the pages")
        if not asked and self.resumes is None:
            raise ValueError("agent: it is missing, and no run is resumed")
        if asked > 1:
            raise ValueError("give an agent, agents, or each, and no two of them")
        if (wrong := self.wrong) is not None and (self.resumes is None or self.each is not None):
            raise ValueError(wrong)
        return self

    @property
    def wrong(self) -> str | None:
        """The reason why its options do not go together; of one that resumes, with the earlier's.

        None: they do.
        """
        if self.wave is not None and self.max_concurrent is not None:
            return "give max_concurrent or wave, not both"
        if self.wave is not None and self.pages:
            return "wave: inputs are too many for one message; give max_concurrent"
        if self.assign == "least_busy" and (self.max_concurrent or 0) < max(len(self.agents), 1):
            return "assign least_busy: give max_concurrent, a turn for each agent at the least"
        if self.assign == "least_busy" and not self.agents:
            return "assign least_busy: give agents"
        if self.each is not None and (own := self._of_panel):
            return f"{own}: give it in each, whose options are its own"
        return None

    @property
    def count(self) -> int:
        """The number of its inputs."""
        return sum(self.pages) if self.pages else len(self.input or ())

    @property
    def _of_panel(self) -> str | None:
        """An option that is given here, and belongs to what each input is put to."""
        for name in ("instructions", "choices", "answer_schema", "compensation"):
            if getattr(self, name) is not None:
                return name
        return None if self.retry == RetryPolicy() else "retry"

    @property
    def ballots(self) -> int:
        """The ballots of one input."""
        return 1 if self.each is None else self.each.request.ballots


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
