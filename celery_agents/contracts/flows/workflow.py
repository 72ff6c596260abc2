"""Workflows as data: steps, what each waits for, and what of their results the whole gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from celery_agents.contracts.base import (
    Contract,
    JsonObject,
    JsonValue,
    Name,
    TrustedJson,
    Whole,
)
from celery_agents.contracts.flows.task import queue_of
from celery_agents.contracts.verbs import REQUESTS

#: The built-in flow that runs them.
WORKFLOW = "agents.workflow"
#: As many steps as a flow's history has room for, with their ends.
STEPS_MAX = 20_000
_KEY = r"^[^@\x00-\x1f]*[^@\x00-\x1f0-9][^@\x00-\x1f]*$"
#: A key of a step; numbers are the flow's own.
StepKey = Annotated[str, Field(min_length=1, max_length=100, pattern=_KEY, strict=True)]
#: Things of which there are so many, by their names: ``{"gpu": 2}``.
Resources = Annotated[
    dict[Name, Annotated[int, Field(ge=1, le=STEPS_MAX), Whole]], Field(max_length=100)
]
#: Of steps that say nothing else.
PRIORITY = 5
#: Whose results: a step's, by its key, or a list of such.
Source = TrustedJson


def keys_in(source: Any) -> Iterator[str]:
    """The keys in a source, in their order."""
    left = [source]
    while left:
        one = left.pop()
        if isinstance(one, list | tuple):
            left.extend(reversed(one))
        elif one is not None:
            yield one


class WorkflowStep(Contract):
    """A step of a workflow: a turn of an agent, a pattern, a flow, or a task of another app.

    It begins when all that it ``needs`` and ``takes`` have succeeded. The result of what it
    ``takes`` (a key, or a list of keys) is its first argument.
    """

    key: StepKey
    task: Name
    args: tuple[JsonValue, ...] = ()
    kwargs: JsonObject = Field(default_factory=dict)
    queue: Name | None = None
    takes: Source = None
    needs: tuple[StepKey, ...] = ()
    #: How many of which of the workflow's resources it takes while it runs.
    uses: Resources = Field(default_factory=dict)
    #: Of those that wait for the same resource: 0 is first, 9 is last.
    priority: Annotated[int, Field(ge=0, le=9), Whole] = PRIORITY
    #: ``failure``: it runs when one of those has failed instead, and takes the id of the run.
    on: Literal["success", "failure"] = "success"
    #: It takes nothing, also of a failure.
    alone: bool = False
    #: Its own failure is not the workflow's: a callback.
    aside: bool = False

    @property
    def waits_for(self) -> tuple[str, ...]:
        """The keys of the steps that end before it."""
        return tuple(dict.fromkeys((*self.needs, *keys_in(self.takes))))

    @classmethod
    def of(cls, key: str, signature: Mapping[str, Any], **options: Any) -> Self:
        """The step that a signature of one task says; ``options`` are fields of a step.

        Raises:
            InvalidPayloadError: the signature has options that a step has not.
        """
        told = {
            "key": key,
            "task": signature["task"],
            "args": [*(signature.get("args") or ())],
            "kwargs": dict(signature.get("kwargs") or {}),
            "queue": None if signature["task"] in REQUESTS else queue_of(signature),
        }
        return cls.model_validate(told | options)


class Workflow(Contract):
    """Steps in any order; ``result`` says whose results the whole gives (a key, or lists of keys).

    Without one it gives the result of the last step. ``resources``: how many there are of what its
    steps use; one begins once enough of them are free.
    """

    steps: Annotated[tuple[WorkflowStep, ...], Field(max_length=STEPS_MAX)]
    result: Source = None
    resources: Resources = Field(default_factory=dict)

    @model_validator(mode="after")
    def _leads_somewhere(self) -> Self:
        known = {step.key for step in self.steps}
        if len(known) < len(self.steps):
            raise ValueError("two steps have the same key")
        for step in self.steps:
            _known(known, step.takes, f"takes of {step.key}")
            _known(known, list(step.needs), f"needs of {step.key}")
            for name, count in step.uses.items():
                if count > self.resources.get(name, 0):
                    there = self.resources.get(name, 0)
                    raise ValueError(f"uses of {step.key}: {count} of {name}, there are {there}")
        _known(known, self.result, "result")
        if circle := _circle(self.steps):
            raise ValueError(f"steps wait for each other: {', '.join(circle)}")
        return self


def _known(known: set[str], source: Any, what: str) -> None:
    for key in keys_in(source):
        if not isinstance(key, str) or key not in known:
            raise ValueError(f"{what}: there is no step {str(key)[:50]!r}")


def _circle(steps: tuple[WorkflowStep, ...]) -> list[str]:
    """Return the keys of some that can never begin: A. B. Kahn, "Topological sorting", 1962."""
    missing = {step.key: len(step.waits_for) for step in steps}
    after: dict[str, list[str]] = {}
    for step in steps:
        for key in step.waits_for:
            after.setdefault(key, []).append(step.key)
    ready = [key for key, count in missing.items() if not count]
    while ready:
        key = ready.pop()
        del missing[key]
        for other in after.get(key, ()):
            missing[other] -= 1
            if not missing[other]:
                ready.append(other)
    return list(missing)[:5]
