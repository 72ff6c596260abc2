"""The interface of every kind of agent: one question in, one answer out.

A backend is the kind (a Python function, a model provider, an HTTP service, another app's Celery
task); an agent is a named entry of one kind. Backends run as coroutines on the worker's loop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Protocol

from pydantic import Field

from celery_agents.contracts.base import Contract, JsonValue, TrustedJson
from celery_agents.contracts.outcome import Answer, Usage

__all__ = ["Answer", "Backend", "StepContext", "Turn", "Usage"]


class Turn(Contract):
    """A question to an agent: its input and the form that the answer must have."""

    input: TrustedJson
    #: Instructions of the caller, beside the agent's own.
    instructions: str | None = None
    #: The answer must be one of these options (a ballot).
    choices: Annotated[tuple[str, ...], Field(max_length=1000)] | None = None
    #: The answer must be JSON of this schema.
    answer_schema: dict[str, TrustedJson] | None = None


class StepContext(Protocol):
    """The step in which an agent answers, as the agent sees it."""

    @property
    def step_id(self) -> str:
        """The id of the step."""
        ...

    @property
    def run_id(self) -> str:
        """The id of the run that the step belongs to."""
        ...

    @property
    def attempt(self) -> int:
        """From 1; above 1 when the step was tried before."""
        ...

    @property
    def tries(self) -> int:
        """From 1; as ``attempt``, with the times that it was refused or given back counted too."""
        ...

    async def call(
        self,
        name: str,
        perform: Callable[[str], Awaitable[Answer]] | Callable[..., Any],
        *,
        fingerprint: str = "",
    ) -> Answer:
        """Make one paid or outside act, journaled.

        The *n*-th call of a step has the same idempotency key in each attempt; ``perform``
        receives that key, if it takes an argument. It gives an Answer, or a value that has a JSON
        form, and may be async or not: a plain function runs in a thread. A call that finished in an
        earlier attempt of this step is not made again: its journaled answer is returned.
        ``fingerprint`` (a digest of the request) guards that: when it differs from the journaled
        one the call is made anew.
        """
        ...

    async def progress(self, **fields: JsonValue) -> None:
        """Tell watchers (Flower's events, ``status``) how far the step is. Never fails a step."""
        ...


class Backend(Protocol):
    """One kind of agent, configured."""

    async def answer(self, turn: Turn, step: StepContext) -> Answer:
        """Answer one turn. Raises RetryableError or PermanentError, nothing of an SDK's own."""
        ...

    async def aclose(self) -> None:
        """Free what the backend holds (its SDK client); called once, when the worker stops."""
        ...
